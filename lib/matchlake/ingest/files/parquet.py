"""Reads Parquet files by their own types, because the files of a source may differ.

Only the declared columns are read, so the other columns of a file may have any type.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import cast

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import (
    ArrayType,
    BinaryType,
    BooleanType,
    ByteType,
    DataType,
    DateType,
    DecimalType,
    DoubleType,
    FloatType,
    IntegerType,
    LongType,
    NullType,
    ShortType,
    StringType,
    StructField,
    StructType,
    TimestampNTZType,
    TimestampType,
)

from matchlake.ingest.columns import Columns
from matchlake.ingest.files.corruption import FAILED
from matchlake.ingest.files.discovery import LakeFile
from matchlake.ingest.files.parquet_footer import (
    MILLISECONDS,
    NANOSECONDS,
    NULL_ITEMS,
    STORED_AS,
    footer_schema,
)
from matchlake.ingest.parse.paths import path_of
from matchlake.schemas import quote_identifier

_PLAIN = (
    *(BinaryType, BooleanType, ByteType, DateType, DecimalType, DoubleType, FloatType),
    *(IntegerType, LongType, ShortType, StringType, TimestampNTZType, TimestampType),
)
"""The types that Arrow passes to Python unchanged."""
_MICROS = {
    NANOSECONDS: "{0} div 1000 - IF({0} % 1000 < 0, 1, 0)",
    # Milliseconds that overflow as microseconds become the largest bigint, which no column allows.
    MILLISECONDS: "IF(abs({0} / 1000) >= 9e12, 9223372036854775807L, {0} * 1000)",
}
"""SQL that converts a number to microseconds since 1970, by the unit of the number."""
_OPTIONS = {"datetimeRebaseMode": "CORRECTED", "int96RebaseMode": "CORRECTED"}
"""Dates before 1582 stay as stored, unless the file names the Julian calendar."""


def declared_schema(
    spark: SparkSession, file: LakeFile, schema: StructType, columns: Columns
) -> StructType:
    """The declared fields of a file with the fields `schema`.

    In some files a list that is empty, or whose items are all null, has no item type:
    Spark reads the items as integers. The type is then read from the footer of the file.
    """
    declared = declared_fields(schema, columns)
    paths = [path_of(name, c) for name, c in columns.items() if c.type == "array<string>"]
    integers = ArrayType(IntegerType())
    if all(_field_at(declared, path).dataType != integers for path in paths):
        return declared
    try:
        return schema_by_footer(spark, file, columns)
    except ValueError:
        return declared


def file_schema(spark: SparkSession, file: LakeFile) -> StructType:
    """All fields of a file; raises the error of Spark if the file has no readable footer."""
    try:
        return spark.read.parquet(file.path).schema
    except FAILED as error:
        try:
            return footer_schema(spark, file.path, file.size)
        except (ValueError, *FAILED):
            raise error from None


def schema_by_footer(spark: SparkSession, file: LakeFile, columns: Columns) -> StructType:
    """The declared fields of a file, in which timestamps may be numbers."""
    return declared_fields(footer_schema(spark, file.path, file.size), columns)


def names_of(schema: StructType, within: str = "") -> Iterator[str]:
    """The names of all fields; those within a struct after its name and a dot."""
    for field in schema:
        yield within + field.name
        if isinstance(field.dataType, StructType):
            yield from names_of(field.dataType, f"{within}{field.name}.")


def ambiguous_names(schema: StructType, columns: Columns) -> list[str]:
    """The fields with a declared name, if the file has several that differ only by case."""
    names = list(names_of(schema))
    declared = {".".join(path_of(name, column)).lower() for name, column in columns.items()}
    folded = [name.lower() for name in names]
    return [
        name
        for name, lower in zip(names, folded, strict=True)
        if folded.count(lower) > 1 and any(f"{each}.".startswith(f"{lower}.") for each in declared)
    ]


def declared_fields(schema: StructType, columns: Columns) -> StructType:
    """The fields that are the source of a declared column, nested as in the file."""
    paths = [path_of(name, column) for name, column in columns.items()]
    return _pruned(schema, paths)


def read_parquet(spark: SparkSession, files: Sequence[LakeFile], schema: StructType) -> DataFrame:
    """The rows of files that all have the fields of `schema`. Lazy."""
    paths = [file.path for file in files]
    return spark.read.schema(schema).options(**_OPTIONS).parquet(*paths)


def plain_fields(schema: StructType, columns: Columns) -> dict[str, Column]:
    """The declared columns in types that Arrow carries.

    A value of any other type becomes a struct of its type's name and its text, which no declared
    type takes. So such a value is rejected, and shown.
    """
    return {
        name: _plain(path_of(name, column), schema).alias(name) for name, column in columns.items()
    }


def _plain(path: Sequence[str], schema: StructType) -> Column:
    field, text = _field_at(schema, path), ".".join(map(quote_identifier, path))
    value, stored_as = F.col(text), (field.metadata or {}).get(STORED_AS)
    if stored_as in _MICROS:
        return F.expr(f"timestamp_micros({_MICROS[stored_as].format(text)})")
    if stored_as == NULL_ITEMS:
        return value.cast("array<string>")
    if isinstance(field.dataType, NullType):
        return F.lit(None).cast("string")
    if stored_as is None and _is_plain(field.dataType):
        return value
    kind = stored_as or field.dataType.simpleString()
    shown = F.hex(value) if isinstance(field.dataType, BinaryType) else value.cast("string")
    return F.when(value.isNotNull(), F.struct(shown.alias(kind)))


def _field_at(schema: StructType, path: Sequence[str]) -> StructField:
    field = schema[path[0]]
    return _field_at(cast("StructType", field.dataType), path[1:]) if path[1:] else field


def _is_plain(type_: DataType) -> bool:
    if isinstance(type_, ArrayType):
        return isinstance(type_.elementType, StringType)
    return isinstance(type_, _PLAIN)


def _pruned(schema: StructType, paths: Iterable[Sequence[str]]) -> StructType:
    inside: dict[str, list[Sequence[str]]] = {}
    for path in paths:
        inside.setdefault(path[0], []).append(path[1:])
    fields = []
    for field in schema:
        rest = inside.get(field.name)
        if rest is None:
            continue
        type_ = field.dataType
        if isinstance(type_, StructType) and all(rest):
            type_ = _pruned(type_, rest)
        fields.append(StructField(field.name, type_, metadata=field.metadata))
    return StructType(fields)
