"""Checks that the topic still holds the records that the table was written from.

A broker can lose the end of a log: an unclean leader election truncates it, and new records take
the offsets of lost ones. A broker without topic ids hides a topic that was created again. In both
cases the offsets fit, but they mean other records. So the last row of each partition is compared
with the record that the broker has at its offset.
"""

from pyspark.sql import functions as F

from matchlake.ingest.streams.audit import BatchLog
from matchlake.io.kafka import Client, RecordMark, TopicState, records_at

LastRows = dict[int, tuple[int, RecordMark]]
"""The offset and the record of the last row, by partition."""


def last_rows(batch_log: BatchLog, checkpoint: int) -> LastRows:
    """The last row of each partition of a checkpoint. Two small Spark jobs.

    Reads only the batches that the batch log names as the last ones with rows.
    """
    logged = batch_log.rows().where((F.col("checkpoint_id") == checkpoint) & (F.col("read") > 0))
    newest = logged.groupBy("partition").agg(F.max("batch_id").alias("batch_id")).collect()
    if not newest:
        return {}
    record = F.struct(
        "offset", F.unix_millis("kafka_timestamp").alias("timestamp"), F.col("value_bytes")
    )
    table = batch_log.lakehouse.read(batch_log.stream.table)
    batches = sorted({row.batch_id for row in newest})
    rows = table.where((F.col("checkpoint_id") == checkpoint) & F.col("batch_id").isin(batches))
    last = rows.groupBy("partition").agg(F.max_by(record, "offset").alias("last")).collect()
    return {
        row.partition: (row.last.offset, RecordMark(row.last.timestamp, row.last.value_bytes))
        for row in last
    }


def other_record(
    client: Client, topic: str, rows: LastRows, state: TopicState
) -> tuple[int, int] | None:
    """The partition and offset of a row if the broker has another record at this offset; else None.

    A record that retention or compaction has removed cannot be compared.
    """
    held = {
        part: at
        for part, (at, _) in rows.items()
        if state.earliest.get(part, 0) <= at < state.latest.get(part, 0)
    }
    present = records_at(client, topic, held) if held else {}
    for part, record in present.items():
        if record != rows[part][1]:
            return part, held[part]
    return None
