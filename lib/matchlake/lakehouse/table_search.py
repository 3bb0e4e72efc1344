"""Counts the rows of a table that hold the id of a user, per column."""

import re
from collections.abc import Collection
from functools import reduce
from operator import or_

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import (
    ArrayType,
    BinaryType,
    DataType,
    DoubleType,
    FloatType,
    MapType,
    StringType,
    StructType,
)

from matchlake.lakehouse.file_search import SHORTEST
from matchlake.schemas import quote_identifier

_ID = "_id_of_the_user"
_PATTERNS = _IN_TEXT, _IN_BYTES = "_pattern_in_text", "_pattern_in_bytes"
_BYTES = "ISO-8859-1"
"""Decodes any bytes, one character per byte."""
_WORD = "[A-Za-z0-9_-]"


def rows_with_user(rows: DataFrame, user: str, user_columns: Collection[str]) -> dict[str, int]:
    """The number of rows with the id per column, without columns that have none. One Spark job.

    Columns named in `user_columns` are compared as text. In other columns an id of at least
    SHORTEST characters is searched within texts and bytes, also in structs, arrays and maps.
    """
    conditions = {
        field.name: condition
        for field in rows.schema
        if (condition := _condition(field.name, field.dataType, user, user_columns)) is not None
    }
    if not conditions:
        return {}
    # The id comes from a frame, because a plan would show a literal.
    spark, schema = rows.sparkSession, ", ".join(f"{name} string" for name in (_ID, *_PATTERNS))
    named = rows.crossJoin(spark.createDataFrame([(user, *_patterns(user))], schema))
    counts = [F.count_if(each).alias(str(at)) for at, each in enumerate(conditions.values())]
    found = named.agg(*counts).collect()[0]
    return {name: found[at] for at, name in enumerate(conditions) if found[at]}


def _condition(
    name: str, kind: DataType, user: str, user_columns: Collection[str]
) -> Column | None:
    column = F.col(quote_identifier(name))
    if name in user_columns:
        if isinstance(kind, ArrayType):
            return F.array_contains(column.cast("array<string>"), F.col(_ID))
        if isinstance(kind, FloatType | DoubleType):
            return column == F.col(_ID).try_cast("double")
        if not isinstance(kind, StructType | MapType):
            return column.cast("string") == F.col(_ID)
    return _contains(column, kind) if len(user) >= SHORTEST else None


def _patterns(user: str) -> list[str]:
    """The id as a whole word, in a text and in bytes that are decoded by _BYTES."""
    texts = (user, user.encode().decode(_BYTES))
    return [f"(?<!{_WORD}){re.escape(text)}(?!{_WORD})" for text in texts]


def _contains(column: Column, kind: DataType) -> Column | None:
    """Whether a text, bytes, or a value within a struct, array or map has the id as a word."""
    if isinstance(kind, StringType):
        return F.regexp_like(column, F.col(_IN_TEXT))
    if isinstance(kind, BinaryType):
        return F.regexp_like(F.decode(column, _BYTES), F.col(_IN_BYTES))
    if isinstance(kind, StructType):
        parts = [_contains(column.getField(each.name), each.dataType) for each in kind]
        known = [F.coalesce(part, F.lit(False)) for part in parts if part is not None]  # noqa: FBT003 - a value
        return reduce(or_, known) if known else None
    if isinstance(kind, ArrayType | MapType):
        return F.regexp_like(F.to_json(column), F.col(_IN_TEXT))
    return None
