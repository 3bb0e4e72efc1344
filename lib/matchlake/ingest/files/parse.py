"""Parses rows of lake files into typed rows, valid or not; chooses the last row per key."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import Column as SparkColumn
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from matchlake.ingest.files.csv_texts import decoded, replaced, shown, valid_text
from matchlake.ingest.files.params import LakeSource
from matchlake.ingest.parse.json import JsonReader
from matchlake.ingest.parse.validation import WhyNull, check_columns, error_arrays
from matchlake.ingest.rejections import ErrorCode, Rejection
from matchlake.ingest.schema import ERROR_COLUMNS, QUARANTINED, STATUS, VALID
from matchlake.ingest.tables import declared_columns
from matchlake.schemas import Column

CORRUPT = "_corrupt_row"
"""The column of the CSV reader for the text of a row with a wrong number of fields."""
VALUE = "value"
"""The column of the JSON reader for a line."""

_POSITION = (
    Column("row_text", "STRING", "The row as text"),
    Column("file", "STRING", "File that holds the row"),
    Column("_block", "BIGINT", "Offset in the file of the block with the row"),
    Column("_number", "BIGINT", "Increases from row to row within a block"),
)
# Internal columns: no declared column can have these names.
_LINE = "_line"
_TEXT, _FILE, _BLOCK, _NUMBER = (column.name for column in _POSITION)


def parse_rows(rows: DataFrame, source: LakeSource, fields: Mapping[str, SparkColumn]) -> DataFrame:
    """The declared columns, status, error code and message, row_text and position. Lazy.

    Reads the columns of Spark's reader: the line `VALUE` for JSON; `fields`, by declared name, and
    `CORRUPT` for CSV; `fields` for Parquet. `partition_columns` come from the path of the file.
    The position is file, _block and _number: the order of files by name, then of rows.
    """
    columns = (*declared_columns(source.columns), STATUS, *ERROR_COLUMNS, *_POSITION)
    return _with_position(rows, source, fields).mapInArrow(
        partial(_parse, source=source), ", ".join(column.ddl for column in columns)
    )


def last_of_each(rows: DataFrame, source: LakeSource) -> DataFrame:
    """The columns of the table of the last valid row per key, in the order of the files."""
    valid = rows.where(F.col(STATUS.name) == VALID)
    names = [*source.columns, *(column.name for column in source.rule_set.table_columns)]
    last = F.max_by(F.struct(*names), F.struct(_FILE, _BLOCK, _NUMBER))
    return valid.groupBy(*source.keys).agg(last.alias("last")).select("last.*")


def count_rows(rows: DataFrame) -> DataFrame:
    """The counts `rows`, `valid` and `quarantined` per `file`."""
    return rows.groupBy(_FILE).agg(
        F.count(F.lit(1)).alias("rows"),
        F.count_if(F.col(STATUS.name) == VALID).alias("valid"),
        F.count_if(F.col(STATUS.name) == QUARANTINED).alias("quarantined"),
    )


def rejected_rows(rows: DataFrame, name: str, loaded_at: str) -> DataFrame:
    """The rejected rows with the columns of `lake_quarantine`; `loaded_at` is ISO 8601 text."""
    rejected = rows.where(F.col(STATUS.name) == QUARANTINED)
    when = F.lit(loaded_at).cast("timestamp")
    return rejected.withColumns({"source": F.lit(name), "loaded_at": when})


def _with_position(
    rows: DataFrame, source: LakeSource, fields: Mapping[str, SparkColumn]
) -> DataFrame:
    position = (
        F.col("_metadata.file_path").alias(_FILE),
        F.col("_metadata.file_block_start").alias(_BLOCK),
        F.monotonically_increasing_id().alias(_NUMBER),
    )
    folders = [
        _folder(source.columns[name].path or name).alias(name) for name in source.partition_columns
    ]
    if source.format == "json":
        line = F.concat(VALUE, F.lit("\n")).cast("binary").alias(_LINE)
        return rows.select(line, *folders, F.col(VALUE).alias(_TEXT), *position)
    read = [field.alias(name) for name, field in fields.items()]
    if source.format == "csv":
        text = F.coalesce(F.col(CORRUPT), F.to_csv(F.struct(*read), source.csv.row_options))
        return rows.select(*read, *folders, F.col(CORRUPT), text.alias(_TEXT), *position)
    return rows.select(*read, *folders, F.to_json(F.struct(*read)).alias(_TEXT), *position)


def _folder(name: str) -> SparkColumn:
    """The value of the folder `name=...` in the path of the file, as text; else null."""
    value = F.regexp_extract("_metadata.file_path", f"/{re.escape(name)}=([^/]*)/", 1)
    for _ in range(2):  # the path is a URL, and Spark also encodes folder names in a path
        value = F.try_url_decode(F.replace(value, F.lit("+"), F.lit("%2B")))
    nothing = value.isin("", "__HIVE_DEFAULT_PARTITION__")
    return F.when(~nothing, value)


def _parse(batches: Iterable[pa.RecordBatch], source: LakeSource) -> Iterator[pa.RecordBatch]:
    reader = JsonReader(source.in_rows)
    for batch in batches:
        if source.format == "json":
            lines = batch.column(_LINE)
            values, rejections = reader.read(lines)
            why_null: WhyNull = partial(_why_null, reader, lines, source.partition_columns)
        else:
            values, rejections = _fields(batch, source)
            why_null = _null
        for name in source.partition_columns:
            values[name] = batch.column(name)
            for row in np.flatnonzero(replaced(values[name])):
                message = f"{name}: {values[name][row].as_py()!r} is not UTF-8 text"
                rejections.setdefault(int(row), Rejection(ErrorCode.INVALID_UTF8, message))
        typed = check_columns(source.columns, values, rejections, why_null)
        yield _result(batch, source, typed, rejections)


def _why_null(
    reader: JsonReader, lines: pa.Array, folders: Sequence[str], row: int, name: str
) -> ErrorCode:
    return ErrorCode.MISSING_FIELD if name in folders else reader.why_null(lines, row, name)


def _fields(
    batch: pa.RecordBatch, source: LakeSource
) -> tuple[dict[str, pa.Array], dict[int, Rejection]]:
    values = {name: batch.column(name) for name in source.in_rows}
    if source.format != "csv":
        return values, {}
    torn = batch.column(CORRUPT).is_valid().to_numpy(zero_copy_only=False)
    message = f"the row does not have the {len(values)} fields of the header"
    rejections = {
        int(row): Rejection(ErrorCode.MALFORMED_ROW, message) for row in np.flatnonzero(torn)
    }
    return {name: _decoded(name, values[name], source, rejections) for name in values}, rejections


def _decoded(
    name: str, values: pa.Array, source: LakeSource, rejections: dict[int, Rejection]
) -> pa.Array:
    """Decodes the texts of a CSV column. Adds the rows that fail to the rejections."""
    csv = source.csv
    texts, failed = decoded(values, csv.codec) if csv.codec else (values, replaced(values))
    for row in np.flatnonzero(failed):
        text = values.slice(row, 1) if csv.codec is None else shown(values.slice(row, 1), csv.codec)
        message = f"{name}: {text[0].as_py()!r} has bytes that are not valid in {csv.encoding}"
        rejections.setdefault(int(row), Rejection(ErrorCode.INVALID_ENCODING, message))
    return texts


def _null(_row: int, _name: str) -> ErrorCode:
    return ErrorCode.NULL_FIELD


def _result(
    batch: pa.RecordBatch,
    source: LakeSource,
    typed: dict[str, pa.Array],
    rejections: dict[int, Rejection],
) -> pa.RecordBatch:
    rejected = np.zeros(batch.num_rows, bool)
    rejected[list(rejections)] = True
    codec = source.csv.codec if source.format == "csv" else None
    text = batch.column(_TEXT)
    return pa.RecordBatch.from_pydict(
        {
            **typed,
            STATUS.name: pc.if_else(pa.array(rejected), QUARANTINED, VALID),
            **error_arrays(rejections, batch.num_rows),
            _TEXT: shown(text, codec) if codec else valid_text(text),
            **{name: batch.column(name) for name in (_FILE, _BLOCK, _NUMBER)},
        }
    )
