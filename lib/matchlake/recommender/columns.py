"""Checks the columns of a frame, and converts ids to the type of a model's ids."""

from collections.abc import Iterable, Mapping

from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import DataType, IntegralType, NullType, StringType

from matchlake.errors import SchemaError
from matchlake.recommender.sides import KEYS


def require_columns(frame: DataFrame, names: Iterable[str], what: str) -> None:
    """Raises SchemaError unless `frame`, called `what` in the message, has all of `names`."""
    missing = [name for name in names if name not in frame.columns]
    if missing:
        raise SchemaError.missing(what, missing, frame.columns)


def with_id_types(frame: DataFrame, kinds: Mapping[str, DataType], what: str) -> DataFrame:
    """Converts id columns to the types of a model's ids; for example, integers to strings.

    Raises SchemaError for a missing column, and for ids that cannot be converted exactly.
    """
    require_columns(frame, kinds, what)
    for key, kind in kinds.items():
        given = frame.schema[key].dataType
        if given == kind:
            continue
        exact = isinstance(given, IntegralType) and isinstance(kind, IntegralType | StringType)
        if not exact and not isinstance(given, NullType):
            raise SchemaError(
                f"{key} of {what} has the type {given.simpleString()}, but the ids of this model "
                f"have the type {kind.simpleString()}. Cast the column."
            )
        frame = frame.withColumn(key, F.col(key).cast(kind))
    return frame


def id_types(*frames: DataFrame) -> dict[str, DataType]:
    """Returns the types of the id columns of the rows of users and items."""
    return {key: frame.schema[key].dataType for key, frame in zip(KEYS, frames, strict=True)}
