"""The base class of heads: computes scores of a row, and a prediction from the scores.

Each kind of head computes one or more scores per row. A link turns the scores into outputs; all
kinds share the code in `links`. A row has null outputs if a feature is missing or a sum is not a
number.
"""

import math
from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Self

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from matchlake.formulas.heads import links
from matchlake.formulas.sql import Dialect
from matchlake.params import Params

if TYPE_CHECKING:
    from matchlake.formulas.onnx import Graph

Matrix = npt.NDArray[np.float64]
Task = Literal["regression", "classification", "clustering"]
Stage = dict[str, str]
"""SQL expressions by the name of their column."""


class HeadOutput(NamedTuple):
    """One output column of a head."""

    name: str
    type: str
    """The type in Spark's SQL."""
    comment: str


class Head(Params):
    """A fitted model over numeric features. `AnyHead` lists the kinds."""

    columns: tuple[str, ...] = Field(min_length=1)
    """The feature columns that the head reads, in their order."""
    labels: tuple[str, ...] | None = Field(None, min_length=2)
    """The classes of a classification, in the order of their probabilities."""
    decision_threshold: float | None = Field(None, gt=0, lt=1)
    """The second of two labels is predicted if its probability is above this threshold; null:
    0.5."""

    @model_validator(mode="after")
    def _check_names(self) -> Self:
        for what, names in (("columns", self.columns), ("labels", self.labels or ())):
            if len(set(names)) != len(names):
                raise ValueError(f"{what} has a name twice")
        if any(each in label for label in self.labels or () for each in links.REFUSED_IN_LABELS):
            raise ValueError("a label contains the character 0 or 1, which marks a missing label")
        return self

    @model_validator(mode="after")
    def _check_threshold(self) -> Self:
        fits = len(self.labels or ()) == 2 and self.output_link() in ("logit", "identity")  # noqa: PLR2004
        if self.decision_threshold is not None and not fits:
            raise ValueError("a threshold needs two labels, and the link logit or identity")
        return self

    @property
    def task(self) -> Task:
        """The task that the outputs belong to."""
        return "classification" if self.labels else "regression"

    def output_link(self) -> links.Link:
        """The link that turns the scores into outputs."""
        raise NotImplementedError

    def outputs(self) -> list[HeadOutput]:
        """The output columns in their order."""
        return [HeadOutput(*each) for each in links.outputs(self.task, self.labels)]

    def size(self) -> int:
        """The number of terms or nodes."""
        raise NotImplementedError

    def sql_limit(self) -> str | None:
        """Returns why the head has no SQL, as part of a sentence; None if it has SQL."""
        raise NotImplementedError

    def onnx_limit(self) -> str | None:
        """Returns why the head has no ONNX graph, as part of a sentence; None if it has one."""
        return None

    def packages(self) -> tuple[str, ...]:
        """The packages that scoring needs besides those of this project."""
        return ()

    def tolerance(self) -> float:
        """How far a score may differ between engines, relative to the larger of it and 1."""
        return 1e-12

    def scores(self, matrix: Matrix) -> Matrix:
        """Returns the scores (rows, scores) of a matrix (rows, columns), NaN if missing."""
        raise NotImplementedError

    def sql_scores(self, dialect: Dialect) -> list[str]:
        """The scores as SQL over the feature columns."""
        raise NotImplementedError

    def onnx_scores(self, graph: "Graph", matrix: str) -> str:
        """The scores (rows, scores) of the matrix (rows, columns), both by their names."""
        raise NotImplementedError

    def numpy(self, matrix: Matrix) -> dict[str, npt.NDArray[Any]]:
        """The outputs by name, from a matrix (rows, columns) with NaN for a missing feature.

        In a row without a prediction, numbers are NaN, the label is None, and the cluster is -1.
        """
        if matrix.ndim != 2 or matrix.shape[1] != len(self.columns):  # noqa: PLR2004
            raise ValueError(f"the matrix is {matrix.shape}, not (rows, {len(self.columns)})")
        with np.errstate(all="ignore"):
            scores = self.scores(matrix)
        return self.outputs_of(scores)

    def outputs_of(self, scores: Matrix) -> dict[str, npt.NDArray[Any]]:
        """The outputs by name, from the scores (rows, scores)."""
        with np.errstate(all="ignore"):
            return links.in_numpy(self.output_link(), self._labels, scores, self._cut)

    def sql_stages(self, dialect: Dialect) -> list[Stage]:
        """Returns select lists; each reads the one before it, the first reads the features."""
        scores = self.sql_scores(dialect)
        return links.in_sql(self.output_link(), self.labels, scores, dialect, self._cut)

    def onnx(self, graph: "Graph", matrix: str) -> Mapping[str, str]:
        """Returns the name of the tensor of each output."""
        scores = self.onnx_scores(graph, matrix)
        return links.in_onnx(self.output_link(), self.labels, scores, graph, self._cut)

    @cached_property
    def _cut(self) -> float | None:
        """Returns the threshold as log odds for the link logit, else as a probability."""
        if self.decision_threshold is None or self.output_link() != "logit":
            return self.decision_threshold
        return math.log(self.decision_threshold / (1 - self.decision_threshold))

    @cached_property
    def _labels(self) -> npt.NDArray[np.object_] | None:
        return None if self.labels is None else np.array([*self.labels, None], dtype=object)
