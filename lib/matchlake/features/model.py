"""A fitted feature set: plain data with a fixed order, that every engine runs alike."""

from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Annotated, Any, Literal

import numpy as np
import pandas as pd
from pydantic import Field, ValidationError
from pyspark.sql import DataFrame

from matchlake.errors import ModelError, SchemaError
from matchlake.features.categories import FittedCategories
from matchlake.features.inverse import inverse_arrays, inverse_sql
from matchlake.features.numbers import FittedNumber
from matchlake.features.numpy_features import Matrix, NumpyFeatures
from matchlake.features.outputs import Output
from matchlake.features.sql import SPARK, Dialect, find_dialect
from matchlake.params import Params

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

    def transform(self, frame: DataFrame) -> DataFrame:
        """The keys and the feature columns of every row of `frame`. Lazy.

        Feature columns are DOUBLE, or INT for zeros and ones. Raises SchemaError where `frame`
        lacks a column; a value that a policy refuses fails the action that meets it.
        """
        self._check(frame.columns)
        keys = [SPARK.identifier(key) for key in self.keys]
        prepared = frame.selectExpr(*keys, *self._inputs(SPARK))
        return prepared.selectExpr(*keys, *self._outputs(SPARK))

    def to_sql(self, relation: str, dialect: str = "spark") -> str:
        """A query over `relation`, SQL that stands in FROM as it is, giving what `transform` gives.

        `dialect` is spark or duckdb.
        """
        chosen = find_dialect(dialect)
        keys = [chosen.identifier(key) for key in self.keys]
        inputs = ",\n    ".join([*keys, *self._inputs(chosen)])
        outputs = ",\n  ".join([*keys, *self._outputs(chosen)])
        return (
            f"WITH prepared AS (\n  SELECT\n    {inputs}\n  FROM {relation}\n)\n"
            f"SELECT\n  {outputs}\nFROM prepared"
        )

    def transform_numpy(self, columns: Mapping[str, Any]) -> Matrix:
        """What `transform` gives, as doubles with NaN for null, without Spark.

        Given arrays of equal length by the names of the columns, rows x output columns; given
        single values (lists for list columns), the vector of that one row. Raises SchemaError
        where a column is missing, InputError for a value that a policy refuses.
        """
        if any(isinstance(values, np.ndarray) for values in columns.values()):
            return self._numpy.transform(columns)
        return self._numpy.transform_row(columns)

    def transform_pandas(self, frame: pd.DataFrame) -> pd.DataFrame:
        """What `transform` gives, as a pandas frame with the index of `frame`.

        Numbers and buckets are float64 with NaN for null, zeros and ones int32.
        """
        self._check(list(frame.columns))
        matrix = self._numpy.transform({name: frame[name] for name in self._numpy.columns})
        features = {
            output.name: matrix[:, place].astype("float64" if output.role == "number" else "int32")
            for place, output in enumerate(self.outputs())
        }
        keys = frame[list(self.keys)]
        return keys.join(pd.DataFrame(features, index=frame.index))

    def inverse(self, frame: DataFrame) -> DataFrame:
        """The keys and the source columns that the feature columns of `frame` lead back to. Lazy.

        Numbers are doubles, categories of their column's type and null where they had no column
        of their own; a source column that no feature leads back to is left out.
        """
        columns = inverse_sql(self.features).items()
        keys = [SPARK.identifier(key) for key in self.keys]
        return frame.selectExpr(*keys, *_named(columns, SPARK))

    def inverse_pandas(self, frame: pd.DataFrame) -> pd.DataFrame:
        """What `inverse` gives, for a frame that `transform_pandas` gave; categories as text."""
        columns = {output.name: frame[output.name].to_numpy() for output in self.outputs()}
        back = pd.DataFrame(inverse_arrays(self.features, columns), index=frame.index)
        return frame[list(self.keys)].join(back)

    @cached_property
    def numpy(self) -> NumpyFeatures:
        """The features compiled for NumPy; a copy of the model with others compiles its own."""
        return NumpyFeatures(self.features)

    @property
    def _numpy(self) -> NumpyFeatures:
        if self.numpy.features is not self.features:
            del self.__dict__["numpy"]
        return self.numpy

    def _inputs(self, dialect: Dialect) -> list[str]:
        return _named(
            (pair for f in self.features for pair in f.sql_inputs(dialect).items()), dialect
        )

    def _outputs(self, dialect: Dialect) -> list[str]:
        return _named(
            (pair for f in self.features for pair in f.sql_outputs(dialect).items()), dialect
        )

    def _check(self, there: Iterable[str]) -> None:
        missing = [column for column in self.columns() if column not in set(there)]
        if missing:
            raise SchemaError(
                f"Feature set {self.name} reads {', '.join(missing)}, which the frame lacks: "
                f"it has {', '.join(there)}."
            )


def _named(texts: Iterable[tuple[str, str]], dialect: Dialect) -> list[str]:
    return [f"{text} AS {dialect.identifier(name)}" for name, text in texts]
