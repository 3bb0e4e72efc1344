"""From the rows of lake files to typed rows, good and bad, and to the last one of each key."""

from collections.abc import Iterable, Iterator, Sequence
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from matchlake.ingest.checks import WhyNull, check_columns
from matchlake.ingest.columns import GOOD, QUARANTINED, REFUSAL, STATUS
from matchlake.ingest.json_values import JsonReader
from matchlake.ingest.lake_params import LakeSource
from matchlake.ingest.params import Columns
from matchlake.ingest.reasons import Finding, Reason
from matchlake.ingest.records import refusals
from matchlake.ingest.tables import declared_columns
from matchlake.schemas import Column

CORRUPT = "_corrupt_row"
"""Where the CSV reader puts the text of a row that has not as many fields as the header."""

_PLACE = (
    Column("row_text", "STRING", "The row as text"),
    Column("file", "STRING", "File that holds the row"),
    Column("block", "BIGINT", "Where in the file the block begins that holds the row"),
    Column("number", "BIGINT", "Grows from row to row within a block"),
)
_FILE, _BLOCK, _NUMBER = (column.name for column in _PLACE[1:])


def parse_rows(rows: DataFrame, source: LakeSource) -> DataFrame:
    """The declared columns, status, reason, detail, row_text, and file, block, number; lazy.

    Reads what Spark's reader of the format gives: `value`, a line, for JSON; the fields as text
    and `CORRUPT` for CSV; typed columns for Parquet. file, block and number order the rows as
    the files do, files by name.
    """
    columns = (*declared_columns(source.columns), STATUS, *REFUSAL, *_PLACE)
    return _placed(rows, source).mapInArrow(
        partial(_parse, columns=source.columns, is_json=source.format == "json"),
        ", ".join(column.ddl for column in columns),
    )


def last_of_each(rows: DataFrame, source: LakeSource) -> DataFrame:
    """The declared columns of the good rows, of each key the last in the order of the files."""
    good = rows.where(F.col(STATUS.name) == GOOD)
    last = F.max_by(F.struct(*source.columns), F.struct(_FILE, _BLOCK, _NUMBER))
    return good.groupBy(*source.keys).agg(last.alias("last")).select("last.*")


def count_rows(rows: DataFrame, source: LakeSource) -> DataFrame:
    """One row: `good`, `quarantined`, and `keys`, the distinct keys of the good rows."""
    good = F.col(STATUS.name) == GOOD
    return rows.agg(
        F.count_if(good).alias("good"),
        F.count_if(F.col(STATUS.name) == QUARANTINED).alias("quarantined"),
        F.count_distinct(F.when(good, F.struct(*source.keys))).alias("keys"),
    )


def refused_rows(rows: DataFrame, name: str, loaded_at: str) -> DataFrame:
    """The bad rows as `lake_quarantine` holds them; `loaded_at` is ISO 8601 text."""
    bad = rows.where(F.col(STATUS.name) == QUARANTINED)
    when = F.lit(loaded_at).cast("timestamp")
    return bad.withColumns({"source": F.lit(name), "loaded_at": when})


def _placed(rows: DataFrame, source: LakeSource) -> DataFrame:
    place = (
        F.col("_metadata.file_path").alias(_FILE),
        F.col("_metadata.file_block_start").alias(_BLOCK),
        F.monotonically_increasing_id().alias(_NUMBER),
    )
    if source.format == "json":
        line = F.col("value").cast("binary").alias("value")
        return rows.select(line, F.col("value").alias("row_text"), *place)
    fields = [F.col(c.path or name).alias(name) for name, c in source.columns.items()]
    if source.format == "csv":
        text = F.coalesce(F.col(CORRUPT), F.to_csv(F.struct(*fields), {"sep": source.separator}))
        return rows.select(*fields, F.col(CORRUPT), text.alias("row_text"), *place)
    return rows.select(*fields, F.to_json(F.struct(*fields)).alias("row_text"), *place)


def _parse(
    batches: Iterable[pa.RecordBatch], columns: Columns, *, is_json: bool
) -> Iterator[pa.RecordBatch]:
    reader = JsonReader(columns)
    for batch in batches:
        if is_json:
            values = batch.column("value")
            found, findings = reader.read(values)
            why_null: WhyNull = partial(reader.why_null, values)
        else:
            found, findings = _fields(batch, columns)
            why_null = _null
        typed = check_columns(columns, found, findings, why_null)
        yield _result(batch, typed, findings)


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
            STATUS.name: pc.if_else(pa.array(bad), QUARANTINED, GOOD),
            **refusals(findings, batch.num_rows),
            **{name: batch.column(name) for name in place},
        }
    )
