"""Reads the schema of a Parquet file with types that Spark does not have, from its footer.

Spark fails on such a file, even if no one needs those columns. Spark reads the bytes here, too,
with the logins of the job.
"""

from collections.abc import Iterable, Iterator

import pyarrow as pa
import pyarrow.parquet as pq
from pyspark.sql import SparkSession
from pyspark.sql import functions as F
from pyspark.sql.pandas.types import from_arrow_type
from pyspark.sql.types import (
    ArrayType,
    BinaryType,
    DataType,
    DecimalType,
    IntegerType,
    LongType,
    MapType,
    ShortType,
    StringType,
    StructField,
    StructType,
    TimestampNTZType,
    TimestampType,
)

STORED_AS = "stored_as"
"""The key of a field's metadata with the type that Spark does not have."""
NANOSECONDS, MILLISECONDS = "nanoseconds", "milliseconds"
"""Timestamps that Spark reads as numbers since 1970: as timestamps, some would overflow."""
NULL_ITEMS = "list of nulls"
"""Lists whose items are all null; Spark reads them as lists of integers."""
_MOST = 2**24
"""The maximum size of a footer, in bytes."""
_SPARK: dict[pa.DataType, DataType] = {
    pa.uint8(): ShortType(),
    pa.uint16(): IntegerType(),
    pa.uint32(): LongType(),
    pa.uint64(): DecimalType(20, 0),
    pa.large_string(): StringType(),
    pa.string_view(): StringType(),
    pa.large_binary(): BinaryType(),
    pa.null(): IntegerType(),
}
_MAX_DIGITS = 38
_UNITS = {"ns": NANOSECONDS, "ms": MILLISECONDS}


def footer_schema(spark: SparkSession, path: str, size: int) -> StructType:
    """The fields of a file as Spark can read them.

    The metadata of a field has `STORED_AS` if Spark can only read its physical type.
    Raises ValueError if the file does not end as a Parquet file does.
    """
    try:
        file = pq.ParquetFile(pa.BufferReader(_end(spark, path, size)))
        found = file.metadata.schema
        int96 = {
            column.path
            for column in map(found.column, range(file.metadata.num_columns))
            if column.physical_type == "INT96"
        }
        return StructType([_field(each, each.name, int96) for each in found.to_arrow_schema()])
    except (pa.ArrowException, TypeError, UnicodeError) as error:
        raise ValueError(f"could not read the footer: {error}") from None


def _end(spark: SparkSession, path: str, size: int) -> bytes:
    """The last bytes of a file, read as text lines, which Spark does not decode."""
    lines = spark.read.option("lineSep", "\n").text(path)
    block, length = F.col("_metadata.file_block_start"), F.col("_metadata.file_block_length")
    last = lines.where(block + length + _MOST > size).select(
        block.alias("block"), F.col("value").cast("binary").alias("line")
    )
    parts = last.mapInArrow(_ends, "block BIGINT, line BINARY").collect()
    return b"\n".join(bytes(part.line) for part in sorted(parts))[-_MOST:]


def _ends(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """The last bytes per block."""
    ends: dict[int, bytearray] = {}
    for batch in batches:
        for block, line in zip(*(column.to_pylist() for column in batch.columns), strict=True):
            end = ends.setdefault(block, bytearray())
            end += (b"\n" if end else b"") + line
            del end[:-_MOST]
    columns = {"block": list(ends), "line": [bytes(end) for end in ends.values()]}
    yield pa.RecordBatch.from_pydict(columns, pa.schema({"block": pa.int64(), "line": pa.binary()}))


def _field(field: pa.Field, path: str, int96: set[str]) -> StructField:
    type_, stored_as = _read_as(field.type, path, int96)
    return StructField(field.name, type_, metadata={STORED_AS: stored_as} if stored_as else None)


def _read_as(type_: pa.DataType, path: str, int96: set[str]) -> tuple[DataType, str | None]:
    """The type that Spark reads, and the name of the logical type if Spark lacks it."""
    while (inner := _inner(type_)) is not None:
        type_ = inner
    if pa.types.is_timestamp(type_):
        if path in int96:
            return TimestampType(), None
        if type_.unit in _UNITS:
            return LongType(), _UNITS[type_.unit]
        return (TimestampType() if type_.tz else TimestampNTZType()), None
    if not type_.num_fields:
        return _single(type_)
    stored_as = NULL_ITEMS if pa.types.is_list(type_) and type_.value_type == pa.null() else None
    return _nested(type_, path, int96), stored_as


def _inner(type_: pa.DataType) -> pa.DataType | None:
    """The storage type of an extension type, or the value type of a dictionary."""
    if isinstance(type_, pa.BaseExtensionType):
        return type_.storage_type
    return type_.value_type if pa.types.is_dictionary(type_) else None


def _nested(type_: pa.DataType, path: str, int96: set[str]) -> DataType:
    if pa.types.is_struct(type_):
        return StructType([_field(each, f"{path}.{each.name}", int96) for each in type_])
    if pa.types.is_map(type_):
        key, value = (_read_as(part, path, int96)[0] for part in (type_.key_type, type_.item_type))
        return MapType(key, value)
    return ArrayType(_read_as(type_.value_type, path, int96)[0])


def _single(type_: pa.DataType) -> tuple[DataType, str | None]:
    if pa.types.is_time32(type_):
        return IntegerType(), str(type_)
    if pa.types.is_time64(type_) or pa.types.is_duration(type_):
        return LongType(), str(type_)
    if pa.types.is_float16(type_):
        return BinaryType(), str(type_)
    if pa.types.is_decimal(type_) and type_.precision > _MAX_DIGITS:
        return BinaryType(), str(type_)
    if pa.types.is_fixed_size_binary(type_):
        return BinaryType(), None
    return _SPARK[type_] if type_ in _SPARK else from_arrow_type(type_), None
