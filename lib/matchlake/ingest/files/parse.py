"""From the rows of lake files to typed rows, good and bad, and to the last one of each key."""

import re
from collections.abc import Iterable, Iterator, Sequence
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import Column as SparkColumn
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from matchlake.ingest.files.params import LakeSource
from matchlake.ingest.params import Columns
from matchlake.ingest.parse.json import JsonReader
from matchlake.ingest.parse.messages import refusals
from matchlake.ingest.parse.validation import WhyNull, check_columns
from matchlake.ingest.reasons import Finding, Reason
from matchlake.ingest.schema import GOOD, QUARANTINED, REFUSAL, STATUS
from matchlake.ingest.tables import declared_columns
from matchlake.schemas import Column, quote_identifier

CORRUPT = "_corrupt_row"
"""Where the CSV reader puts the text of a row that has not as many fields as the header."""
VALUE = "value"
"""Where the reader of JSON puts a line."""

_PLACE = (
    Column("row_text", "STRING", "The row as text"),
    Column("file", "STRING", "File that holds the row"),
    Column("_block", "BIGINT", "Where in the file the block begins that holds the row"),
    Column("_number", "BIGINT", "Grows from row to row within a block"),
)
# No file's own column may be called so: they are names of matchlake's.
_STATUS = "_status"
_LINE = "_line"
_FILE, _BLOCK, _NUMBER = (column.name for column in _PLACE[1:])


def parse_rows(rows: DataFrame, source: LakeSource) -> DataFrame:
    """The declared columns, _status, reason, detail, row_text, file, _block, _number; lazy.

    Reads what Spark's reader of the format gives: `VALUE`, a line, for JSON; the fields as text
    and `CORRUPT` for CSV; typed columns for Parquet. Columns of `folders` are read from the
    file's path. file, _block and _number order the rows as the files do, files by name.
    """
    status = STATUS._replace(name=_STATUS)
    columns = (*declared_columns(source.columns), status, *REFUSAL, *_PLACE)
    return _placed(rows, source).mapInArrow(
        partial(_parse, source=source), ", ".join(column.ddl for column in columns)
    )


def last_of_each(rows: DataFrame, source: LakeSource) -> DataFrame:
    """The declared columns of the good rows, of each key the last in the order of the files."""
    good = rows.where(F.col(_STATUS) == GOOD)
    last = F.max_by(F.struct(*source.columns), F.struct(_FILE, _BLOCK, _NUMBER))
    return good.groupBy(*source.keys).agg(last.alias("last")).select("last.*")


def count_rows(rows: DataFrame) -> DataFrame:
    """Of each `file` with rows: `rows`, `good` and `quarantined`."""
    return rows.groupBy(_FILE).agg(
        F.count(F.lit(1)).alias("rows"),
        F.count_if(F.col(_STATUS) == GOOD).alias("good"),
        F.count_if(F.col(_STATUS) == QUARANTINED).alias("quarantined"),
    )


def refused_rows(rows: DataFrame, name: str, loaded_at: str) -> DataFrame:
    """The bad rows as `lake_quarantine` holds them; `loaded_at` is ISO 8601 text."""
    bad = rows.where(F.col(_STATUS) == QUARANTINED)
    when = F.lit(loaded_at).cast("timestamp")
    return bad.withColumns({"source": F.lit(name), "loaded_at": when})


def _placed(rows: DataFrame, source: LakeSource) -> DataFrame:
    place = (
        F.col("_metadata.file_path").alias(_FILE),
        F.col("_metadata.file_block_start").alias(_BLOCK),
        F.monotonically_increasing_id().alias(_NUMBER),
    )
    folders = [_folder(source.columns[name].path or name).alias(name) for name in source.folders]
    if source.format == "json":
        line = F.concat(VALUE, F.lit("\n")).cast("binary").alias(_LINE)
        return rows.select(line, *folders, F.col(VALUE).alias("row_text"), *place)
    fields = [_field(source, name).alias(name) for name in source.in_rows]
    if source.format == "csv":
        reading = source.reading
        dialect = {"sep": reading.separator, "quote": reading.quote, "escape": reading.escape}
        text = F.coalesce(F.col(CORRUPT), F.to_csv(F.struct(*fields), dialect))
        return rows.select(*fields, *folders, F.col(CORRUPT), text.alias("row_text"), *place)
    text = F.to_json(F.struct(*fields))
    return rows.select(*fields, *folders, text.alias("row_text"), *place)


def _field(source: LakeSource, name: str) -> SparkColumn:
    """Where a column's value is: a dot leads into a struct of Parquet, and is a letter in CSV."""
    path = source.columns[name].path or name
    return F.col(quote_identifier(path) if source.format == "csv" else path)


def _folder(name: str) -> SparkColumn:
    """What the folder `name=...` of a row's file says, as text; null where there is none."""
    said = F.regexp_extract("_metadata.file_path", f"/{re.escape(name)}=([^/]*)/", 1)
    for _ in range(2):  # the path is written as a URL, and the folder's name in it once more
        said = F.try_url_decode(F.replace(said, F.lit("+"), F.lit("%2B")))
    nothing = said.isin("", "__HIVE_DEFAULT_PARTITION__")
    return F.when(~nothing, said)


def _parse(batches: Iterable[pa.RecordBatch], source: LakeSource) -> Iterator[pa.RecordBatch]:
    reader = JsonReader(source.in_rows)
    for batch in batches:
        if source.format == "json":
            lines = batch.column(_LINE)
            found, findings = reader.read(lines)
            why_null: WhyNull = partial(_why_null, reader, lines, source.folders)
        else:
            found, findings = _fields(batch, source.in_rows)
            why_null = _null
        found = {**found, **{name: batch.column(name) for name in source.folders}}
        typed = check_columns(source.columns, found, findings, why_null)
        yield _result(batch, typed, findings)


def _why_null(
    reader: JsonReader, lines: pa.Array, folders: Sequence[str], row: int, name: str
) -> Reason:
    return Reason.MISSING_FIELD if name in folders else reader.why_null(lines, row, name)


def _fields(
    batch: pa.RecordBatch, columns: Columns
) -> tuple[dict[str, pa.Array], dict[int, Finding]]:
    findings = {}
    if CORRUPT in batch.schema.names:
        torn = batch.column(CORRUPT).is_valid().to_numpy(zero_copy_only=False)
        told = f"has not the {len(columns)} fields of the header"
        findings = {int(row): Finding(Reason.MALFORMED_ROW, told) for row in np.flatnonzero(torn)}
    return {name: batch.column(name) for name in columns}, findings


def _null(_row: int, _name: str) -> Reason:
    return Reason.NULL_FIELD


def _result(
    batch: pa.RecordBatch, typed: dict[str, pa.Array], findings: dict[int, Finding]
) -> pa.RecordBatch:
    bad = np.zeros(batch.num_rows, bool)
    bad[list(findings)] = True
    place: Sequence[str] = [column.name for column in _PLACE]
    return pa.RecordBatch.from_pydict(
        {
            **typed,
            _STATUS: pc.if_else(pa.array(bad), QUARANTINED, GOOD),
            **refusals(findings, batch.num_rows),
            **{name: batch.column(name) for name in place},
        }
    )
