"""Scoring models: a fitted feature set and a head, with the same results in every engine."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
import numpy.typing as npt
import pandas as pd
from pydantic import Field, ValidationError, model_validator

from matchlake.errors import InputError, ModelError, ParameterError
from matchlake.features.model import FeatureModel, named, query_of
from matchlake.features.onnx_inputs import onnx_inputs
from matchlake.formulas.heads import AnyHead, HeadOutput, Task
from matchlake.formulas.onnx import Graph
from matchlake.formulas.sql import SPARK, Dialect, find_dialect
from matchlake.model_store.score_columns import (
    arrow_outputs,
    onnx_type,
    packed_trees,
    pandas_outputs,
    score_matrix,
)
from matchlake.model_store.scoring_signature import scoring_signature
from matchlake.model_store.served_signature import SIGNATURE
from matchlake.model_store.verified import Verified
from matchlake.params import Params, first_problem

if TYPE_CHECKING:
    import pyarrow as pa
    from pyspark.sql import DataFrame

Array = npt.NDArray[Any]

_MANY = 5000
"""The minimum number of rows for compiled trees; for fewer rows loading the code costs more."""
LARGEST_JSON = 200_000_000
"""The maximum number of characters of a model as JSON."""


class ScoringModel(Params):
    """A feature set and a head. `to_json` and `from_json` keep the whole model.

    The output columns follow the keys of the feature set: `prediction`, for classes also
    `probabilities`, for clusters also `distances`.
    """

    schema_version: Literal[1] = 1
    """The schema version; a release that changes the schema increments it."""
    name: str = Field(min_length=1, max_length=128)
    """The model's name."""
    task: Task
    features: FeatureModel
    head: AnyHead
    verified: Verified | None = None
    """The comparison that verified an export; None in a model that is not an export."""

    @model_validator(mode="after")
    def _check_parts(self) -> Self:
        try:
            made = tuple(output.name for output in self.features.outputs())
            _ = self.features.numpy
        except InputError as error:
            raise ValueError(str(error)) from None
        if self.head.columns != made:
            raise ValueError(
                "the columns of the head must be the output columns of the feature set, in order: "
                f"{', '.join(made)}"
            )
        if self.head.task != self.task:
            raise ValueError(f"the task is {self.task}, but the head is for {self.head.task}")
        taken = {output.name for output in self.head.outputs()} & set(self.features.keys)
        if taken:
            raise ValueError(f"a key has the name of an output column: {', '.join(sorted(taken))}")
        return self

    @classmethod
    def from_json(cls, text: str) -> "ScoringModel":
        """Reads the JSON of `to_json`; raises ModelError for any other string."""
        if len(text) > LARGEST_JSON:
            raise ModelError(
                f"The JSON of a model has {len(text)} characters; at most {LARGEST_JSON} are read."
            )
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            raise ModelError(
                f"This is not a model of schema version 1: {first_problem(error)}. Export the "
                "model again."
            ) from None

    def __reduce__(self) -> tuple[Any, ...]:
        return model_from_json, (self.to_json(),)

    def to_json(self) -> str:
        """The whole model as JSON."""
        return self.model_dump_json(exclude_none=True)

    def outputs(self) -> list[HeadOutput]:
        """The output columns in their order, without the keys."""
        return self.head.outputs()

    def columns(self) -> list[str]:
        """Returns the columns of the table that scoring reads."""
        return self.features.columns()

    def transform(self, frame: "DataFrame") -> "DataFrame":
        """Returns the keys and the outputs of every row of `frame`. Lazy.

        A head with SQL runs without Python. Other heads run in Python workers on Arrow batches.
        Raises SchemaError if `frame` lacks a column, or if a column has another type than at fit. A
        value that an option refuses fails the action that reads it.
        """
        features = self.features.transform(frame)
        if self.head.sql_limit() is not None:
            return self._in_python(features)
        for stage in self._head_stages(SPARK):
            features = features.selectExpr(*stage)
        return features

    def _in_python(self, features: "DataFrame") -> "DataFrame":
        head, keys = self.head, list(self.features.keys)
        kinds = {field.name: field.dataType.simpleString() for field in features.schema}
        listed = [f"{SPARK.identifier(key)} {kinds[key]}" for key in keys]
        listed += [f"{output.name} {output.type}" for output in head.outputs()]

        forest = packed_trees(head)

        def score_batches(batches: "Iterator[pa.RecordBatch]") -> "Iterator[pa.RecordBatch]":
            for batch in batches:
                yield arrow_outputs(head, forest, keys, batch)

        return features.mapInArrow(score_batches, ", ".join(listed))

    def to_sql(self, relation: str, dialect: str = "spark") -> str:
        """Returns a query with the result of `transform`, over `relation`: any SQL after FROM.

        `dialect` is spark or duckdb. Raises ParameterError if the model cannot be written as SQL,
        or is too large for it.
        """
        chosen, reason = find_dialect(dialect), self.head.sql_limit()
        if reason is not None:
            other = "Export it as ONNX, or score" if self.head.onnx_limit() is None else "Score"
            raise ParameterError(
                f"Model {self.name} has no SQL: {reason}. {other} the table with `transform`."
            )
        return query_of([*self.features.sql_stages(chosen), *self._head_stages(chosen)], relation)

    def _head_stages(self, dialect: Dialect) -> list[list[str]]:
        keys = [dialect.identifier(key) for key in self.features.keys]
        stages = self.head.sql_stages(dialect)
        return [[*keys, *named(stage.items(), dialect)] for stage in stages]

    def score_numpy(self, columns: Mapping[str, Any]) -> dict[str, Array]:
        """Returns the outputs by name, without Spark, from columns of equal length or one row.

        In a row without a prediction, numbers are NaN, the label is None, and the cluster is -1.
        Raises SchemaError if a column is missing, InputError for a value that an option refuses.
        """
        return self.score_features(np.atleast_2d(self.features.transform_numpy(columns)))

    def score_features(self, matrix: Array) -> dict[str, Array]:
        """Returns the outputs by name, from encoded rows (rows, features), NaN if missing."""
        forest = packed_trees(self.head) if len(matrix) >= _MANY else None
        return score_matrix(self.head, forest, matrix)

    def transform_pandas(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Returns the result of `transform` as a pandas frame with the index of `frame`.

        A cluster is Int32. A list output is None in a row without a prediction.
        """
        features = self.features.transform_pandas(frame)[list(self.head.columns)]
        scored = self.score_features(features.to_numpy(np.float64, na_value=np.nan))
        keys = frame[list(self.features.keys)].reset_index(drop=True)
        outputs = pd.DataFrame(pandas_outputs(scored), index=keys.index)
        return keys.join(outputs).set_axis(frame.index)

    def to_onnx(self, metadata: Mapping[str, str] | None = None) -> bytes:
        """Returns the model as an ONNX graph in double, including the features.

        A numeric column is an input of its name, double [rows] with NaN for null. A category is an
        input NAME:text, string [rows], or [rows, length] for lists: see `onnx_inputs`. The graph
        has the output `refused` if an option refuses values. The metadata contain the signature,
        with which a server checks requests. Raises ParameterError for a head without a graph.
        """
        reason = self.head.onnx_limit()
        if reason is not None:
            raise ParameterError(
                f"Model {self.name} has no ONNX graph: {reason}. Export it as a folder, or let its "
                "trainer return a GraphHead with the model's ONNX file."
            )
        graph = Graph()
        blocks = [fitted.onnx(graph) for fitted in self.features.features]
        matrix = blocks[0] if len(blocks) == 1 else graph.add("Concat", *blocks, axis=1)
        tensors = self.head.onnx(graph, matrix)
        for output in self.outputs():
            kind, is_list = onnx_type(output.type)
            shape = ["rows", "values"] if is_list else ["rows"]
            graph.output(output.name, tensors[output.name], kind, shape)
        graph.refused_output()
        signature = scoring_signature(self.name, self.task, self.features, self.outputs())
        entries = {SIGNATURE: signature.model_dump_json(exclude_none=True), **(metadata or {})}
        return graph.to_bytes(self.name, entries)

    def onnx_inputs(self, columns: Mapping[str, npt.ArrayLike]) -> dict[str, Array]:
        """Returns the columns of a table as the inputs of the ONNX graph, by name."""
        return onnx_inputs(self.features.features, columns)


def model_from_json(text: str) -> ScoringModel:
    """Calls `ScoringModel.from_json`; pickles refer to this function."""
    return ScoringModel.from_json(text)
