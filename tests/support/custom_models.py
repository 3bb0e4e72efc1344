"""Functions that a user could name as `custom`: one that is right, and others."""

# ruff: noqa: ARG001 - functions of one signature, whatever they use

import sys
import time
from typing import Any

import numpy as np

from matchlake.formulas.heads import CentroidsHead, LinearHead
from matchlake.learners.protocol import TrainingData


def mean_label(data: TrainingData, params: dict[str, Any], seed: int) -> LinearHead:
    """The mean label plus a parameter and the seed, whatever the features are."""
    assert data.label is not None
    return LinearHead(
        columns=data.columns,
        weights=((0.0,) * len(data.columns),),
        intercepts=(float(np.mean(data.label)) + params["more"] + seed,),
    )


def first_class(data: TrainingData, params: dict[str, Any], seed: int) -> LinearHead:
    """A classification with the labels of the parameters; the label has texts."""
    assert data.label is not None
    assert set(data.label) == {"no", "yes"}
    return LinearHead(
        columns=data.columns,
        labels=tuple(params["labels"]),
        link="logit",
        weights=((0.0,) * len(data.columns),),
        intercepts=(-1.0,),
    )


def raises(data: TrainingData, params: dict[str, Any], seed: int) -> None:
    """Fails."""
    raise RuntimeError("the user's own error")


def hangs(data: TrainingData, params: dict[str, Any], seed: int) -> None:
    """Does not return in time."""
    time.sleep(60)


def leaves(data: TrainingData, params: dict[str, Any], seed: int) -> None:
    """Ends the process."""
    sys.exit(3)


def nonsense(data: TrainingData, params: dict[str, Any], seed: int) -> dict[str, int]:
    """Returns no head."""
    return {"weights": 1}


def other_columns(data: TrainingData, params: dict[str, Any], seed: int) -> LinearHead:
    """Returns a head of another shape."""
    return LinearHead(columns=("z",), weights=((1.0,),), intercepts=(0.0,))


def other_task(data: TrainingData, params: dict[str, Any], seed: int) -> CentroidsHead:
    """Returns a head of another task."""
    return CentroidsHead(columns=data.columns, centers=((0.0,) * len(data.columns),))
