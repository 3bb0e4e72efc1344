"""From Kafka's messages to the rows of a stream's bronze table, good and bad together."""

from collections.abc import Iterable, Iterator
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from matchlake.ingest.checks import check_columns
from matchlake.ingest.columns import GOOD, QUARANTINED
from matchlake.ingest.json_values import JsonReader
from matchlake.ingest.params import StreamParams
from matchlake.ingest.reasons import Finding
from matchlake.ingest.tables import stream_table
from matchlake.schemas import TableSpec

_MESSAGE = ("key", "value", "partition", "offset", "timestamp")


def parse_messages(messages: DataFrame, stream: StreamParams) -> DataFrame:
    """One row a message, with the columns of `stream_table(stream)`; lazy, no shuffle.

    Reads key, value (binary), partition, offset and timestamp.
    """
    table = stream_table(stream)
    # The topic is the same in every row: it need not travel to Python and back.
    travelling = TableSpec(
        table.name, table.comment, tuple(c for c in table.columns if c.name != "topic")
    )
    rows = messages.select(*_MESSAGE).mapInArrow(
        partial(parse_batches, stream=stream), travelling.struct()
    )
    return rows.withColumn("topic", F.lit(stream.topic)).select(table.column_names)


def parse_batches(
    batches: Iterable[pa.RecordBatch], stream: StreamParams
) -> Iterator[pa.RecordBatch]:
    """The rows of `parse_messages`, without topic, batch by batch."""
    reader = JsonReader(stream.columns)
    for batch in batches:
        values = batch.column("value")
        found, findings = reader.read(values)
        columns = check_columns(
            stream.columns,
            found,
            findings,
            lambda row, name: reader.why_null(values, row, name),  # noqa: B023
        )
        yield _rows(batch, columns, findings)


def _rows(
    batch: pa.RecordBatch, columns: dict[str, pa.Array], findings: dict[int, Finding]
) -> pa.RecordBatch:
    bad = np.zeros(batch.num_rows, bool)
    bad[list(findings)] = True
    flags = pa.array(bad)
    raw = {
        f"raw_{name}": pc.if_else(
            flags, batch.column(name), pa.scalar(None, batch.column(name).type)
        )
        for name in ("key", "value")
    }
    return pa.RecordBatch.from_pydict(
        {
            "status": pc.if_else(flags, QUARANTINED, GOOD),
            **columns,
            "partition": batch.column("partition"),
            "offset": batch.column("offset"),
            "kafka_timestamp": batch.column("timestamp"),
            **refusals(findings, batch.num_rows),
            **raw,
        }
    )


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
