"""A fitted feature set: plain data in a fixed order, with the same results in every engine."""

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, ValidationError

from matchlake.errors import ModelError, SchemaError
from matchlake.features.fitted import Array, Output
from matchlake.features.index_layouts import index_stages, indexed_outputs, sparse_stages
from matchlake.features.kinds import Fitted
from matchlake.features.numpy_blocks import Matrix
from matchlake.features.numpy_features import NumpyFeatures, SparseRows
from matchlake.formulas.sql import SPARK, Dialect, find_dialect
from matchlake.params import Params, first_problem

if TYPE_CHECKING:
    import pandas as pd
    from pyspark.sql import DataFrame

Layout = Literal["wide", "index", "sparse"]


class FeatureModel(Params):
    """The result of `fit_features`; `to_json` and `from_json` keep all of it."""

    schema_version: Literal[1] = 1
    """The version of this data's schema; a later release that changes the schema raises it."""
    name: str
    """The feature set's name."""
    version: int = Field(1, ge=1)
    """The number of fits of the set that differed from the fit before."""
    rows: int
    """Rows of the table at fit."""
    keys: tuple[str, ...] = ()
    """Columns that pass through unchanged."""
    features: tuple[Fitted, ...]

    @classmethod
    def from_json(cls, text: str) -> "FeatureModel":
        """The model that `to_json` wrote; raises ModelError for any other text."""
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            raise ModelError(
                f"This is not a feature model of schema version 1: {first_problem(error)}."
            ) from None

    def to_json(self) -> str:
        """The whole model as JSON with short lines."""
        return self.model_dump_json(indent=1, exclude_none=True)

    def outputs(self) -> list[Output]:
        """The output columns in their order, without the keys."""
        return [output for fitted in self.features for output in fitted.outputs()]

    def columns(self) -> list[str]:
        """The table's columns that a transform reads."""
        return list(dict.fromkeys([*self.keys, *(fitted.column for fitted in self.features)]))

    def transform(self, frame: "DataFrame", layout: Layout = "wide") -> "DataFrame":
        """The keys and the features of every row of `frame`. Lazy.

        `wide` gives the columns of `outputs`: DOUBLE, or INT for indicators and buckets. `sparse`
        gives one column `features`: a struct of indices in rising order, which count through
        `indexed_outputs`, and of their values. `index` gives the numbers as in `wide`, and per
        other feature one column with the index of its one: INT, null for none; for lists
        ARRAY<INT> in rising order.

        Raises SchemaError if `frame` lacks a column, or has one of another type than at fit. A
        value that an option refuses fails the action that reads it.
        """
        self._check(frame.columns)
        self._check_types(dict(frame.dtypes))
        for stage in self.sql_stages(SPARK, layout):
            frame = frame.selectExpr(*stage)
        return frame

    def to_sql(self, relation: str, dialect: str = "spark", layout: Layout = "wide") -> str:
        """A query with the result of `transform`, over `relation`: any SQL that FROM takes.

        `dialect` is spark or duckdb.
        """
        return query_of(self.sql_stages(find_dialect(dialect), layout), relation)

    def sql_stages(self, dialect: Dialect, layout: Layout = "wide") -> list[list[str]]:
        """Select lists, each over the one before; all of them contain the keys."""
        inputs = [f.sql_inputs(dialect) for f in self.features]
        stages = [dict(pair for texts in inputs for pair in texts.items())]
        if layout == "sparse":
            stages += sparse_stages(self.features, dialect)
        elif layout == "index":
            stages += index_stages(self.features, dialect)
        else:
            outputs = [f.sql_outputs(dialect) for f in self.features]
            stages.append(dict(pair for texts in outputs for pair in texts.items()))
        keys = [dialect.identifier(key) for key in self.keys]
        return [[*keys, *named(stage.items(), dialect)] for stage in stages]

    def indexed_outputs(self) -> list[Output]:
        """The output columns in the order of their indices: of all numbers, then of all others."""
        return indexed_outputs(self.features)

    def count_unknown(self, frame: "DataFrame") -> "DataFrame":
        """Counts the values of each feature that the fit has not seen, whatever its options. Lazy.

        One row: rows, FEATURE.null, for numbers FEATURE.below_min and FEATURE.above_max of the
        range at fit, for categories FEATURE.unknown_category.
        """
        self._check(frame.columns)
        self._check_types(dict(frame.dtypes))
        return frame.selectExpr(*self.sql_counts(SPARK))

    def counts_at_fit(self) -> dict[str, int] | None:
        """The result of `count_unknown` for the rows of the fit, without a pass over them.

        None if the statistics of the fit do not tell it.
        """
        counts = {"rows": self.rows}
        for fitted in self.features:
            found = fitted.counts_at_fit()
            if found is None:
                return None
            counts |= {f"{fitted.name}.{name}": rows for name, rows in found.items()}
        return counts

    def sql_counts(self, dialect: Dialect) -> list[str]:
        """The select list of `count_unknown`, over the table."""
        counts = {"rows": "count(1)"}
        for fitted in self.features:
            for name, condition in fitted.sql_unknown(dialect).items():
                counts[f"{fitted.name}.{name}"] = f"count_if({condition})"
        return named(counts.items(), dialect)

    def transform_numpy(self, columns: Mapping[str, Any]) -> Matrix:
        """The result of `transform` as doubles with NaN for null, without Spark.

        Columns of equal length give a matrix (rows, output columns). Single values, with a list or
        an array for a list column, give the vector of that one row. The first column without lists
        decides: an array is a column. If all columns hold lists, an array is a column unless it
        has a single value in it; an empty array is a column, so a row without categories must be
        an empty list. Raises SchemaError if a column is missing, InputError for a value that an
        option refuses.
        """
        if self._numpy.are_columns(columns):
            return self._numpy.transform(columns)
        return self._numpy.transform_row(columns)

    def sparse_numpy(self, columns: Mapping[str, Any]) -> SparseRows:
        """The sparse layout as compressed sparse rows, from arrays of equal length."""
        return self._numpy.sparse(columns)

    def transform_pandas(
        self, frame: "pd.DataFrame", layout: Literal["wide", "index"] = "wide"
    ) -> "pd.DataFrame":
        """The result of `transform` as a pandas frame with the index of `frame`.

        Numbers and buckets are float64 with NaN for null, indicators int32, indices Int32.
        """
        self._check(list(frame.columns))
        columns = {name: frame[name] for name in self._numpy.columns}
        if layout == "index":
            return self._with_keys(frame, self._numpy.indices(columns))
        matrix = self._numpy.transform(columns)
        features = {
            output.name: matrix[:, i].astype("float64" if output.role == "number" else "int32")
            for i, output in enumerate(self.outputs())
        }
        return self._with_keys(frame, features)

    def inverse_transform(self, frame: "DataFrame") -> "DataFrame":
        """The keys, and the source columns from the feature columns of `frame`. Lazy.

        Numbers are doubles. Categories have their column's type, and are null if they have no
        column of their own. With `drop: first` a row of zeros is the first category, even if it
        was a null or an unknown value; lists come back without that category. Of several features
        of one source column the first with an inverse counts; a column without one is left out.
        """
        columns: dict[str, str] = {}
        for fitted in self.features:
            text = fitted.sql_inverse()
            if text is not None:
                columns.setdefault(fitted.column, text)
        keys = [SPARK.identifier(key) for key in self.keys]
        return frame.selectExpr(*keys, *named(columns.items(), SPARK))

    def inverse_transform_pandas(self, frame: "pd.DataFrame") -> "pd.DataFrame":
        """The same for a frame from `transform_pandas`; categories come back as text."""
        columns = {output.name: frame[output.name].to_numpy() for output in self.outputs()}
        sources: dict[str, Array] = {}
        for fitted in self.features:
            if fitted.column not in sources:
                values = fitted.inverse(columns, len(frame))
                if values is not None:
                    sources[fitted.column] = values
        return self._with_keys(frame, sources)

    @cached_property
    def numpy(self) -> NumpyFeatures:
        """The features compiled for NumPy; a copy with other features compiles its own."""
        return NumpyFeatures(self.features)

    @property
    def _numpy(self) -> NumpyFeatures:
        if self.numpy.features is not self.features:
            del self.__dict__["numpy"]
        return self.numpy

    def _with_keys(self, frame: "pd.DataFrame", columns: Mapping[str, Any]) -> "pd.DataFrame":
        """The keys and `columns`, joined by position: the index of `frame` may repeat a value."""
        keys = frame[list(self.keys)].reset_index(drop=True)
        import pandas as pd  # noqa: PLC0415 - a second, and commands load this module

        return keys.join(pd.DataFrame(columns, index=keys.index)).set_axis(frame.index)

    def _check(self, available: Iterable[str]) -> None:
        missing = [column for column in self.columns() if column not in set(available)]
        if missing:
            raise SchemaError.missing(f"the frame of feature set {self.name}", missing, available)

    def _check_types(self, found: Mapping[str, str]) -> None:
        changed = [
            f"{fitted.column} is {found[fitted.column]}, was {fitted.type} at fit"
            for fitted in self.features
            if not fitted.accepts(found[fitted.column])
        ]
        if changed:
            raise SchemaError(
                f"Feature set {self.name} was fitted on other types: {', '.join(changed)}. "
                "Cast the columns, or fit the set again."
            )


def query_of(stages: Sequence[Sequence[str]], relation: str) -> str:
    """A query with the result of the select lists `stages`, the first of them over `relation`."""
    *before, last = stages
    queries = []
    for number, stage in enumerate(before, 1):
        listed = ",\n    ".join(stage)
        queries.append(f"step_{number} AS (\n  SELECT\n    {listed}\n  FROM {relation}\n)")
        relation = f"step_{number}"
    listed = ",\n  ".join(last)
    return f"WITH {', '.join(queries)}\nSELECT\n  {listed}\nFROM {relation}"


def named(texts: Iterable[tuple[str, str]], dialect: Dialect) -> list[str]:
    """Select list entries from pairs of a column's name and its SQL."""
    return [f"{text} AS {dialect.identifier(name)}" for name, text in texts]
