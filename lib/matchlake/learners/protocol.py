"""What a learner takes and gives: a matrix, its labels, and a head."""

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
"""Takes the name of a step or a measure, and its value."""


@dataclass(frozen=True)
class TrainingData:
    """The rows of a training: feature columns as doubles with NaN for null, and their labels."""

    matrix: Matrix
    """The features (rows, columns)."""
    columns: tuple[str, ...]
    """The names of the feature columns."""
    label: npt.NDArray[Any] | None = None
    """One label per row: a number, or for classes a text, a whole number or a boolean."""
    weights: npt.NDArray[np.float64] | None = None
    """The weight of each row; None: all weigh the same."""

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
    """The rows of a training that stay in Spark, for learners that fit on a cluster."""

    frame: "DataFrame"
    """The feature columns as doubles, and the label: a text for classes, a double for numbers."""
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
        """The head; raises InputError for data or parameters that the model cannot take."""


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
        """The head; `labels` are the classes. Raises InputError as `Trainer` does."""


def label_text(value: Any) -> str:
    """A class label as text, as Spark writes it."""
    if isinstance(value, bool | np.bool_):
        return "true" if value else "false"
    return str(value)


def targets_of(
    data: TrainingData, task: Task
) -> tuple[npt.NDArray[Any] | None, tuple[str, ...] | None]:
    """What a library fits: numbers, or codes with the texts of their classes.

    None and None for a clustering.
    """
    if task == "clustering" or data.label is None:
        return None, None
    if task == "regression":
        return data.label.astype(np.float64), None
    return class_codes(data.label)


def class_codes(label: npt.NDArray[Any]) -> tuple[npt.NDArray[Any], tuple[str, ...]]:
    """The code of each label, and the texts of the classes in the order of their codes."""
    values, codes = np.unique(label, return_inverse=True)
    return codes, tuple(label_text(value) for value in values)
