"""Checks before a fit: refuses rows that no model can learn from, with the reason."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from matchlake.errors import InputError
from matchlake.formulas.heads import Task
from matchlake.formulas.heads.links import REFUSED_IN_LABELS
from matchlake.formulas.numpy import rows_with_nan
from matchlake.learners.protocol import TrainingData

FLOAT32_MAX = float(np.finfo(np.float32).max)
_FEWEST_STEPS = 16
"""The minimum number of distinct 32-bit numbers within a standard deviation."""


def check_data(data: TrainingData, task: Task) -> None:
    """Raises InputError if there are no rows, or labels are missing, constant or of one class."""
    if not data.rows:
        raise InputError("There are no training rows. Check the table and the split.")
    if not data.columns:
        raise InputError("There are no features. Declare at least one feature.")
    if task == "clustering":
        return
    if data.label is None:
        raise InputError(f"The task {task} needs a label.")
    missing = int(pd.isna(pd.Series(data.label)).sum())
    if missing:
        raise InputError(
            f"{missing} of {data.rows} training rows have no label. Remove these rows first, for "
            "example in a view."
        )
    if task == "classification":
        _check_classes(data.label)
    else:
        _check_numbers(data.label)


def _check_classes(label: npt.NDArray[Any]) -> None:
    if label.dtype.kind == "f" and (label != np.floor(label)).any():
        raise InputError(
            "The label has fractions, so it is not a class. Choose the task regression, or "
            "convert it to classes."
        )
    classes = pd.unique(pd.Series(label))
    if any(mark in str(each) for each in classes for mark in REFUSED_IN_LABELS):
        raise InputError(
            "A label has the control character 0 or 1, which exports use to mark a missing label."
        )
    if len(classes) == 1:
        raise InputError(
            f"All training rows have the label {classes[0]!r}; a classification needs two or more. "
            "Check the label and the split."
        )


def _check_numbers(label: npt.NDArray[Any]) -> None:
    if label.dtype.kind not in "fiub":
        raise InputError("A regression needs a label of numbers. Set task: classification.")
    values = label.astype(np.float64)
    if not np.isfinite(values).all():
        count = int((~np.isfinite(values)).sum())
        raise InputError(f"{count} training rows have an infinite label. Remove these rows first.")
    if (values == values[0]).all():
        raise InputError(
            f"All training rows have the label {values[0].item()!r}, so there is nothing to learn. "
            "Check the label and the split."
        )


def check_features(data: TrainingData, name: str, *, missing: bool, largest: float) -> None:
    """Raises InputError with the columns whose values the estimator `name` cannot use.

    `missing`: whether the estimator accepts missing values. `largest`: the largest absolute value
    that it accepts.
    """
    absent = rows_with_nan(data.matrix.T)
    if not missing and absent.any():
        raise InputError(
            f"{name} does not accept missing values, but these features have some: "
            f"{_listed(data, absent)}. Give them another handle_null, such as median, or use "
            "HistGradientBoosting."
        )
    with np.errstate(invalid="ignore"):
        beyond = np.asarray((np.abs(data.matrix) > largest).any(axis=0))
    if beyond.any():
        raise InputError(
            f"{name} does not accept infinite values, or absolute values above "
            f"{largest:.3g}, but these features have some: {_listed(data, beyond)}. Scale or clip "
            "them first."
        )


def check_digits(data: TrainingData, task: Task, name: str) -> None:
    """Raises InputError for columns whose values are nearly equal in 32 bits."""
    columns = dict(zip(data.columns, data.matrix.T, strict=True))
    if task == "regression":
        columns["the label"] = np.asarray(data.label, np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        steps = {
            each: values.std() / np.spacing(np.float32(np.abs(values).max()))
            for each, values in columns.items()
            if values.min() < values.max()
        }
    lost = [each for each, count in steps.items() if not count >= _FEWEST_STEPS]
    if lost:
        raise InputError(
            f"{name} computes in 32 bits, which is too coarse for the differences within these "
            f"columns: {', '.join(lost[:10])}. Subtract an offset first: for a feature use the "
            "kind z_score, for the label use a view."
        )


def _listed(data: TrainingData, chosen: npt.NDArray[np.bool_]) -> str:
    names = [name for name, flag in zip(data.columns, chosen, strict=True) if flag]
    more = f" and {len(names) - 10} more" if len(names) > 10 else ""  # noqa: PLR2004
    return ", ".join(names[:10]) + more
