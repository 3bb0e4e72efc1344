"""A fitted feature set: plain data with a fixed order, that every engine runs alike."""

from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Annotated, Any, Literal

import pandas as pd
from pydantic import Field, ValidationError
from pyspark.sql import DataFrame

from matchlake.errors import ModelError, SchemaError
from matchlake.features.categories import FittedCategories
from matchlake.features.counters import unknown_counters
from matchlake.features.inverse import inverse_arrays, inverse_sql
from matchlake.features.numbers import FittedNumber
from matchlake.features.numpy_features import Matrix, NumpyFeatures, SparseRows
from matchlake.features.outputs import Output
from matchlake.features.sparse import slot_stages, sparse_slots, sparse_stages
from matchlake.formulas.sql import SPARK, Dialect, find_dialect
from matchlake.params import Params

Layout = Literal["columns", "sparse", "slots"]
Fitted = Annotated[FittedNumber | FittedCategories, Field(discriminator="form")]


class FeatureModel(Params):
    """What `fit_features` learned; `to_json` and `from_json` keep it whole."""

    schema_version: Literal[1] = 1
    """The shape of this data, raised when a later release changes it."""
    name: str
    """The feature set's name."""
    version: int = Field(1, ge=1)
    """Counts the fits of the set that differed from the one before."""
    rows: int
    """Rows it was fitted on."""
    keys: tuple[str, ...] = ()
    features: tuple[Fitted, ...]

    @classmethod
    def from_json(cls, text: str) -> "FeatureModel":
        """The model that `to_json` wrote; raises ModelError for anything else."""
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            first = error.errors(include_input=False, include_url=False)[0]
            place = ".".join(str(part) for part in first["loc"])
            raise ModelError(
                f"This is not a feature model of schema version 1: {place}: {first['msg']}."
            ) from None

    def to_json(self) -> str:
        """The whole model as JSON, one line a few words wide."""
        return self.model_dump_json(indent=1, exclude_none=True)

    def outputs(self) -> list[Output]:
        """The output columns in their order, without the keys."""
        return [output for fitted in self.features for output in fitted.outputs()]

    def columns(self) -> list[str]:
        """The table's columns that a transform reads."""
        return list(dict.fromkeys([*self.keys, *(fitted.column for fitted in self.features)]))

    def transform(self, frame: DataFrame, layout: Layout = "columns") -> DataFrame:
        """The keys and the features of every row of `frame`. Lazy.

        As `columns`, those of `outputs` are DOUBLE, or INT for zeros and ones. As `sparse`, one
        column `features`: a struct of indices, the places in `slots`, rising, and their values.
        As `slots`, numbers are as in `columns`, and each other feature is one column with the
        place of its one: INT, null for none; ARRAY<INT>, rising, for lists.
        Raises SchemaError where `frame` lacks a column, or has one of another type than at fit; a
        value that a policy refuses fails the action that meets it.
        """
        self._check(frame.columns)
        self._check_types(dict(frame.dtypes))
        for stage in self._stages(layout, SPARK):
            frame = frame.selectExpr(*stage)
        return frame

    def to_sql(self, relation: str, dialect: str = "spark", layout: Layout = "columns") -> str:
        """A query over `relation`, SQL that stands in FROM as it is, giving what `transform` gives.

        `dialect` is spark or duckdb.
        """
        *before, last = self._stages(layout, find_dialect(dialect))
        queries = []
        for number, stage in enumerate(before, 1):
            listed = ",\n    ".join(stage)
            queries.append(f"step_{number} AS (\n  SELECT\n    {listed}\n  FROM {relation}\n)")
            relation = f"step_{number}"
        listed = ",\n  ".join(last)
        return f"WITH {', '.join(queries)}\nSELECT\n  {listed}\nFROM {relation}"

    def slots(self) -> list[Output]:
        """What the places of the sparse layout stand for: all numbers, then all categories."""
        return sparse_slots(self.features)

    def count_unknown(self, frame: DataFrame) -> DataFrame:
        """How many values of each feature the fit has not seen, whatever the policies. Lazy.

        One row: rows, FEATURE.null, for numbers FEATURE.below and FEATURE.above the range at fit,
        for categories FEATURE.other.
        """
        self._check(frame.columns)
        self._check_types(dict(frame.dtypes))
        return frame.agg(*unknown_counters(self.features))

    def transform_numpy(self, columns: Mapping[str, Any]) -> Matrix:
        """What `transform` gives, as doubles with NaN for null, without Spark.

        Given columns of equal length by their names, rows x output columns; given single values
        (lists or arrays for list columns), the vector of that one row. The first column that holds
        no lists says which: a column is an array. Where all hold lists, an array is a column
        unless it has a single value in it; none is in an empty one, so that a row without any
        category has to be an empty list. Raises SchemaError where a column is missing, InputError
        for a value that a policy refuses.
        """
        if self._numpy.are_columns(columns):
            return self._numpy.transform(columns)
        return self._numpy.transform_row(columns)

    def sparse_numpy(self, columns: Mapping[str, Any]) -> SparseRows:
        """What the sparse layout gives, as compressed sparse rows, for arrays of equal length."""
        return self._numpy.sparse(columns)

    def transform_pandas(
        self, frame: pd.DataFrame, layout: Literal["columns", "slots"] = "columns"
    ) -> pd.DataFrame:
        """What `transform` gives, as a pandas frame with the index of `frame`.

        Numbers and buckets are float64 with NaN for null, zeros and ones int32, slots Int32.
        """
        self._check(list(frame.columns))
        columns = {name: frame[name] for name in self._numpy.columns}
        if layout == "slots":
            return self._with_keys(frame, self._numpy.slots(columns))
        matrix = self._numpy.transform(columns)
        features = {
            output.name: matrix[:, place].astype("float64" if output.role == "number" else "int32")
            for place, output in enumerate(self.outputs())
        }
        return self._with_keys(frame, features)

    def inverse(self, frame: DataFrame) -> DataFrame:
        """The keys and the source columns that the feature columns of `frame` lead back to. Lazy.

        Numbers are doubles, categories of their column's type and null where they had no column
        of their own; `inverse_sql` says what `drop_first` makes of that. A source column that no
        feature leads back to is left out.
        """
        columns = inverse_sql(self.features).items()
        keys = [SPARK.identifier(key) for key in self.keys]
        return frame.selectExpr(*keys, *_named(columns, SPARK))

    def inverse_pandas(self, frame: pd.DataFrame) -> pd.DataFrame:
        """What `inverse` gives, for a frame that `transform_pandas` gave; categories as text."""
        columns = {output.name: frame[output.name].to_numpy() for output in self.outputs()}
        return self._with_keys(frame, inverse_arrays(self.features, columns, len(frame)))

    @cached_property
    def numpy(self) -> NumpyFeatures:
        """The features compiled for NumPy; a copy of the model with others compiles its own."""
        return NumpyFeatures(self.features)

    @property
    def _numpy(self) -> NumpyFeatures:
        if self.numpy.features is not self.features:
            del self.__dict__["numpy"]
        return self.numpy

    def _with_keys(self, frame: pd.DataFrame, columns: Mapping[str, Any]) -> pd.DataFrame:
        """The keys and `columns` by their place: the index of `frame` may name a row twice."""
        keys = frame[list(self.keys)].reset_index(drop=True)
        return keys.join(pd.DataFrame(columns, index=keys.index)).set_axis(frame.index)

    def _stages(self, layout: Layout, dialect: Dialect) -> list[list[str]]:
        """Select lists, each over the one before; the keys pass through all of them."""
        inputs = [f.sql_inputs(dialect) for f in self.features]
        stages = [dict(pair for texts in inputs for pair in texts.items())]
        if layout == "sparse":
            stages += sparse_stages(self.features, dialect)
        elif layout == "slots":
            stages += slot_stages(self.features, dialect)
        else:
            outputs = [f.sql_outputs(dialect) for f in self.features]
            stages.append(dict(pair for texts in outputs for pair in texts.items()))
        keys = [dialect.identifier(key) for key in self.keys]
        return [[*keys, *_named(stage.items(), dialect)] for stage in stages]

    def _check(self, there: Iterable[str]) -> None:
        missing = [column for column in self.columns() if column not in set(there)]
        if missing:
            raise SchemaError(
                f"Feature set {self.name} reads {', '.join(missing)}, which the frame lacks: "
                f"it has {', '.join(there)}."
            )

    def _check_types(self, found: Mapping[str, str]) -> None:
        changed = [
            f"{fitted.column} is {found[fitted.column]}, at fit {fitted.type}"
            for fitted in self.features
            if not fitted.accepts(found[fitted.column])
        ]
        if changed:
            raise SchemaError(
                f"Feature set {self.name} was fitted on other types: {', '.join(changed)}. "
                "Cast the columns, or fit the set again."
            )


def _named(texts: Iterable[tuple[str, str]], dialect: Dialect) -> list[str]:
    return [f"{text} AS {dialect.identifier(name)}" for name, text in texts]
