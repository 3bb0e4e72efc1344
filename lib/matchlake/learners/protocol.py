"""The interface of learners: training data in, a head out."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from matchlake.errors import InputError
from matchlake.formulas.heads import Head, Task
from matchlake.params import Params

if TYPE_CHECKING:
    import pandas as pd
    from pyspark.sql import DataFrame

Matrix = npt.NDArray[np.float64]
OnProgress = Callable[[str, float], None]
"""Reports the name of a step or a measure, and its value."""


@dataclass(frozen=True)
class TrainingData:
    """The rows of a training: feature columns as doubles with NaN for null, and their labels."""

    matrix: Matrix
    """The features (rows, columns)."""
    columns: tuple[str, ...]
    """The names of the feature columns."""
    label: npt.NDArray[Any] | None = None
    """One label per row: a number; for classes a string, an integer or a boolean."""
    weights: npt.NDArray[np.float64] | None = None
    """The weight of each row; None: all rows have equal weight."""

    def __post_init__(self) -> None:
        shape = self.matrix.shape
        if len(shape) != 2 or shape[1] != len(self.columns):  # noqa: PLR2004
            raise InputError(f"The matrix is {shape}, and there are {len(self.columns)} columns.")
        for name in ("label", "weights"):
            values = getattr(self, name)
            if values is not None and len(values) != shape[0]:
                raise InputError(f"{name} has {len(values)} values for {shape[0]} rows.")

    @property
    def rows(self) -> int:
        """The number of rows."""
        return len(self.matrix)


@dataclass(frozen=True)
class TrainingFrame:
    """Training rows that stay in Spark, for learners that fit on a cluster."""

    frame: "DataFrame"
    """The feature columns as doubles, and the label: a string for classes, a double for numbers."""
    columns: tuple[str, ...]
    """The names of the feature columns."""
    label: str
    """The name of the label's column."""
    saved_trees: Callable[[Any], "pd.DataFrame"]
    """Gives the nodes of a fitted model of pyspark.ml; see `io.spark_models`."""


class Trainer(Protocol):
    """A function that fits a model to rows and returns its head."""

    def __call__(
        self,
        data: TrainingData,
        params: Params,
        task: Task,
        seed: int,
        on_progress: OnProgress | None,
    ) -> Head:
        """Fits and returns the head; raises InputError for data that the model cannot use."""


class ClusterTrainer(Protocol):
    """A function that fits a model to rows that stay in Spark."""

    def __call__(
        self,
        rows: TrainingFrame,
        params: Params,
        task: Task,
        seed: int,
        labels: tuple[str, ...] | None,
    ) -> Head:
        """Fits and returns the head.

        `labels` are the classes. Raises InputError as `Trainer` does.
        """


def label_text(value: Any) -> str:
    """Returns a class label as a string, as Spark casts it."""
    if isinstance(value, bool | np.bool_):
        return "true" if value else "false"
    return str(value)


def targets_of(
    data: TrainingData, task: Task
) -> tuple[npt.NDArray[Any] | None, tuple[str, ...] | None]:
    """Returns the targets of a fit: numbers and None, or class codes and the class names.

    A clustering has neither: returns None and None.
    """
    if task == "clustering" or data.label is None:
        return None, None
    if task == "regression":
        return data.label.astype(np.float64), None
    return class_codes(data.label)


def class_codes(label: npt.NDArray[Any]) -> tuple[npt.NDArray[Any], tuple[str, ...]]:
    """Returns the code of each label, and the class names in the order of their codes."""
    values, codes = np.unique(label, return_inverse=True)
    return codes, tuple(label_text(value) for value in values)
