"""From Kafka's messages to the rows of a stream's bronze table, good and bad together."""

from collections.abc import Iterable, Iterator, Sequence
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from matchlake.ingest.checks import check_columns
from matchlake.ingest.columns import GOOD, QUARANTINED, RAW_HEADERS, RESCUED
from matchlake.ingest.decoders import schema_id
from matchlake.ingest.params import StreamParams
from matchlake.ingest.readers import reader_of
from matchlake.ingest.reasons import Finding
from matchlake.ingest.tables import stream_table
from matchlake.schemas import TableSpec

MESSAGE = ("key", "value", "headers", "partition", "offset", "timestamp")
"""The columns of a message that a row is made of."""
_READ_FROM = ("checkpoint_id", "batch_id")


def parse_messages(
    messages: DataFrame,
    stream: StreamParams,
    passing: Sequence[str] = (),
    batch: tuple[str, int] | None = None,
) -> DataFrame:
    """One row a message, as `stream_table(stream)` has it; lazy, no shuffle.

    Reads key, value (binary), headers, partition, offset and timestamp. checkpoint_id and
    batch_id are those of `batch`, or else there only where they are among the columns `passing`
    through.
    """
    table = stream_table(stream)
    # What is the same in every row need not travel to Python and back.
    same = {
        "topic": F.lit(stream.topic),
        "schema_version": F.lit(stream.schema_version),
        "attempt": F.lit(1),
    }
    if stream.format == "confluent_avro":
        del same["schema_version"]
    number = None
    if batch:
        # The number comes from Python: as a literal it would stand in the code that Spark makes
        # of the plan, and have it compiled and warmed up anew for each batch.
        same["checkpoint_id"], number = F.lit(batch[0]), batch[1]
    absent = {name for name in _READ_FROM if not batch and name not in passing}
    columns = [column for column in table.columns if column.name not in absent]
    # Nor may a list: Spark asks each row on its way for the size of its columns, 5 us for a list.
    text = RAW_HEADERS._replace(type="STRING")
    travelling = TableSpec(
        table.name,
        table.comment,
        tuple(text if c == RAW_HEADERS else c for c in columns if c.name not in same),
    )
    sent = messages.select(*MESSAGE, *passing).withColumn("headers", F.to_json("headers"))
    rows = sent.mapInArrow(
        partial(parse_batches, stream=stream, passing=passing, number=number), travelling.struct()
    )
    same[text.name] = F.from_json(text.name, RAW_HEADERS.type)
    return rows.withColumns(same).select([column.name for column in columns])


def parse_batches(
    batches: Iterable[pa.RecordBatch],
    stream: StreamParams,
    passing: Sequence[str] = (),
    number: int | None = None,
) -> Iterator[pa.RecordBatch]:
    """The rows of `parse_messages`, without what is the same in all, batch by batch."""
    reader = reader_of(stream)
    for batch in batches:
        values = batch.column("value")
        found, findings = reader.read(values)
        columns = check_columns(
            stream.columns,
            found,
            findings,
            lambda row, name: reader.why_null(values, row, name),  # noqa: B023
        )
        if stream.undeclared == "rescue":
            kept = {row: text for row, text in reader.rescued.items() if row not in findings}
            texts = pa.array(map(kept.get, range(batch.num_rows)), pa.string())
            columns[RESCUED.name] = texts
        rows = _rows(batch, columns, findings)
        if stream.format == "confluent_avro":
            rows["schema_version"] = pa.array(map(schema_id, values.to_pylist()), pa.int32())
        if number is not None:
            rows["batch_id"] = pa.array(np.full(batch.num_rows, number, np.int64))
        yield pa.RecordBatch.from_pydict(rows | {name: batch.column(name) for name in passing})


def _rows(
    batch: pa.RecordBatch, columns: dict[str, pa.Array], findings: dict[int, Finding]
) -> dict[str, pa.Array]:
    bad = np.zeros(batch.num_rows, bool)
    bad[list(findings)] = True
    flags = pa.array(bad)
    raw = {
        f"raw_{name}": pc.if_else(
            flags, batch.column(name), pa.scalar(None, batch.column(name).type)
        )
        for name in ("key", "value", "headers")
    }
    return {
        "status": pc.if_else(flags, QUARANTINED, GOOD),
        **columns,
        "partition": batch.column("partition"),
        "offset": batch.column("offset"),
        "kafka_timestamp": batch.column("timestamp"),
        **refusals(findings, batch.num_rows),
        **raw,
        "value_bytes": pc.binary_length(batch.column("value")).cast(pa.int32()),
    }


def refusals(findings: dict[int, Finding], count: int) -> dict[str, pa.Array]:
    """The columns reason and detail of `count` rows, null where there is no finding."""
    rows = sorted(findings)
    places = np.zeros(count, np.int64)
    places[rows] = np.arange(len(rows))
    absent = np.ones(count, bool)
    absent[rows] = False
    indices = pa.array(places, mask=absent)
    return {
        name: pa.array([str(findings[row][part]) for row in rows], pa.string()).take(indices)
        for part, name in enumerate(("reason", "detail"))
    }
