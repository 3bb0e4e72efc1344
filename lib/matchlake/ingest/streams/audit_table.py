"""The ledger of ingested batches: its columns, and how a batch's rows are counted."""

from enum import StrEnum

from pyspark.sql import Column as SparkColumn
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from matchlake.ingest.params import StreamParams
from matchlake.ingest.schema import ERASED, GOOD, QUARANTINED
from matchlake.schemas import Column, TableSpec

KEYS = ("stream", "checkpoint_id", "batch_id", "partition")
_TIMES = ("0002-01-01", "9999-12-30")
"""Between these a time can be held by Python, in every zone."""


class Gap(StrEnum):
    """Why an offset that a batch was to read has no row."""

    RETENTION = "retention"
    """The broker had removed it before it was read."""
    COMPACTION = "compaction"
    """The broker keeps the last record of each key only."""
    TRANSACTION = "transaction"
    """It marks the end of a producer's transaction, or belongs to one that was given up."""
    ADOPTED = "adopted"
    """The row was lost later, and the loss accepted with --adopt."""


_COLUMNS = (
    Column("stream", "STRING", "Name of the stream in conf", nullable=False),
    Column("checkpoint_id", "BIGINT", "Checkpoint of the query that read it", nullable=False),
    Column("batch_id", "BIGINT", "Number of the batch in that checkpoint", nullable=False),
    Column("partition", "INT", "Kafka partition", nullable=False),
    Column("topic", "STRING", "Kafka topic", nullable=False),
    Column("topic_id", "STRING", "Id of the topic; another one when it is made anew"),
    Column("first_offset", "BIGINT", "First offset that was to be read", nullable=False),
    Column("end_offset", "BIGINT", "Offset after the last that was to be read", nullable=False),
    Column("read", "BIGINT", "Rows of the batch", nullable=False),
    Column("good", "BIGINT", "Those that are good", nullable=False),
    Column("quarantined", "BIGINT", "Those that are quarantined", nullable=False),
    Column("erased", "BIGINT", "Those of which only the position is left", nullable=False),
    Column(
        "reasons",
        "ARRAY<STRUCT<reason: STRING, records: BIGINT>>",
        "How many are quarantined for each reason, by reason",
    ),
    Column(
        "gaps",
        "ARRAY<STRUCT<reason: STRING, first_offset: BIGINT, end_offset: BIGINT>>",
        f"Offsets without a row, and why: {', '.join(Gap)}",
    ),
    Column("bytes", "BIGINT", "Bytes of the values as they came", nullable=False),
    Column("first_event", "TIMESTAMP", "Time of the earliest event, UTC"),
    Column("last_event", "TIMESTAMP", "Time of the latest event, UTC"),
    Column("late", "BIGINT", "Events older than late_after when Kafka took them; null: not set"),
    Column("table_version", "BIGINT", "Version of the table that the batch made"),
    Column("committed_at", "TIMESTAMP", "When the batch was committed, UTC"),
    Column("seconds", "DOUBLE", "From the batch's begin to its commit"),
)


def ledger_table(name: str) -> TableSpec:
    """The ledger: one row for each batch and partition."""
    comment = "What each batch of each stream was to read from Kafka, and what became of it."
    return TableSpec(name, comment, _COLUMNS, keys=KEYS, written_by="ingest_events")


def count_rows(rows: DataFrame, stream: StreamParams) -> DataFrame:
    """Counts the rows of each checkpoint_id, batch_id and partition; lazy, one small shuffle.

    Adds read, good, quarantined, erased, bytes, first_event, last_event, late, `lowest` and
    `highest` offset, and `distinct`, how many offsets there are: exact, because each offset is a
    bit of a word, and words are small enough to be grouped by. The first and the last event leave
    out times that Python cannot hold, such as 0001-01-01, which in some languages stands for none.
    """
    event = F.col(stream.event_time) if stream.event_time else F.lit(None).cast("timestamp")
    held = F.when(event.between(*(F.lit(day).cast("timestamp") for day in _TIMES)), event)
    bit = F.call_function("shiftleft", F.lit(1).cast("bigint"), (F.col("offset") % 64).cast("int"))
    by = ("checkpoint_id", "batch_id", "partition")
    words = rows.groupBy(*by, F.expr("offset DIV 64").alias("word")).agg(
        F.count(F.lit(1)).alias("read"),
        *(
            F.count_if(F.col("status") == status).alias(status)
            for status in (GOOD, QUARANTINED, ERASED)
        ),
        F.sum("value_bytes").alias("bytes"),
        F.min(held).alias("first_event"),
        F.max(held).alias("last_event"),
        F.count_if(is_late(event, stream)).alias("late"),
        F.min("offset").alias("lowest"),
        F.max("offset").alias("highest"),
        F.bit_count(F.bit_or(bit)).cast("bigint").alias("distinct"),
    )
    sums = ("read", GOOD, QUARANTINED, ERASED, "bytes", "late", "distinct")
    return words.groupBy(*by).agg(
        *(F.sum(name).alias(name) for name in sums),
        *(F.min(name).alias(name) for name in ("first_event", "lowest")),
        *(F.max(name).alias(name) for name in ("last_event", "highest")),
    )


def count_reasons(rows: DataFrame) -> DataFrame:
    """checkpoint_id, batch_id, partition, reason, records of the quarantined rows; lazy."""
    refused = rows.where(F.col("status") == QUARANTINED)
    by = ("checkpoint_id", "batch_id", "partition", "reason")
    return refused.groupBy(*by).agg(F.count(F.lit(1)).alias("records"))


def is_late(event: SparkColumn, stream: StreamParams) -> SparkColumn:
    """Whether Kafka took a record later after its `event` than the stream allows."""
    if stream.late_after is None:
        return F.lit(False)  # noqa: FBT003 - a condition, not a flag
    arrived = F.col("kafka_timestamp").cast("double")
    return event.cast("double") < arrived - F.lit(stream.late_after)
