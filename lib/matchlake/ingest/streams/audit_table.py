"""The table of the batch log, and the counts of the rows of a batch."""

from enum import StrEnum

from pyspark.sql import Column as SparkColumn
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from matchlake.ingest.params import StreamParams
from matchlake.ingest.schema import ERASED, ERROR_CODE, QUARANTINED, STATUS, VALID
from matchlake.schemas import Column, TableSpec

KEYS = ("stream", "checkpoint_id", "batch_id", "partition")
_TIMES = ("0002-01-01", "9999-12-30")
"""The range of times that Python can hold in every zone."""


class Gap(StrEnum):
    """The cause of an offset without a row."""

    RETENTION = "retention"
    """The broker had removed the record before it was read."""
    COMPACTION = "compaction"
    """The broker keeps only the last record per key."""
    TRANSACTION = "transaction"
    """The offset marks the end of a transaction, or belongs to an aborted one."""
    ACCEPTED = "accepted"
    """The row was lost later, and --accept-data-loss accepted the loss."""


_COLUMNS = (
    Column("stream", "STRING", "Name of the stream in conf", nullable=False),
    Column("checkpoint_id", "BIGINT", "Checkpoint of the query that read it", nullable=False),
    Column("batch_id", "BIGINT", "Number of the batch in that checkpoint", nullable=False),
    Column("partition", "INT", "Kafka partition", nullable=False),
    Column("topic", "STRING", "Kafka topic", nullable=False),
    Column("topic_id", "STRING", "Id of the topic; a topic that is created again has another one"),
    Column("first_offset", "BIGINT", "First offset of the batch", nullable=False),
    Column("end_offset", "BIGINT", "Offset after the last one of the batch", nullable=False),
    Column("read", "BIGINT", "Rows of the batch", nullable=False),
    Column("valid", "BIGINT", "Valid rows", nullable=False),
    Column("quarantined", "BIGINT", "Quarantined rows", nullable=False),
    Column("erased", "BIGINT", "Erased rows: only the position is left", nullable=False),
    Column(
        "error_codes",
        "ARRAY<STRUCT<error_code: STRING, records: BIGINT>>",
        "Number of quarantined rows per error code",
    ),
    Column(
        "rules",
        "ARRAY<STRUCT<rule: STRING, action: STRING, records: BIGINT>>",
        "Number of rows that break a rule, per rule and action",
    ),
    Column(
        "gaps",
        "ARRAY<STRUCT<cause: STRING, first_offset: BIGINT, end_offset: BIGINT>>",
        f"Offsets without a row, and the cause: {', '.join(Gap)}",
    ),
    Column("bytes", "BIGINT", "Bytes of the values as received", nullable=False),
    Column("first_event", "TIMESTAMP", "Time of the earliest event, UTC"),
    Column("last_event", "TIMESTAMP", "Time of the latest event, UTC"),
    Column(
        "late",
        "BIGINT",
        "Events that reached Kafka after lateness_threshold_seconds; null: not set",
    ),
    Column(
        "table_version",
        "BIGINT",
        "Version of the table with the batch; null: the batch is an accepted gap",
    ),
    Column("committed_at", "TIMESTAMP", "Time of the commit, UTC"),
    Column("seconds", "DOUBLE", "Seconds from the start of the batch to its commit"),
)


def batch_log_table(name: str) -> TableSpec:
    """The batch log: one row per batch and partition."""
    comment = "The offsets of each batch of each stream, with its counts of rows and gaps."
    return TableSpec(
        name, comment, _COLUMNS, keys=KEYS, user_columns=(), written_by="ingest_events"
    )


def count_rows(rows: DataFrame, stream: StreamParams) -> DataFrame:
    """Counts the rows per checkpoint_id, batch_id and partition. Lazy, one small shuffle.

    Adds read, valid, quarantined, erased, bytes, first_event, last_event, late, the `lowest` and
    `highest` offset, and the `distinct` number of offsets. That number is exact: each offset is
    one bit of a word of 64, and rows are grouped by words. The first and the last event leave out
    times that Python cannot hold, such as 0001-01-01, which means none in some languages.
    """
    event = F.col(stream.event_time) if stream.event_time else F.lit(None).cast("timestamp")
    held = F.when(event.between(*(F.lit(day).cast("timestamp") for day in _TIMES)), event)
    bit = F.call_function("shiftleft", F.lit(1).cast("bigint"), (F.col("offset") % 64).cast("int"))
    by = ("checkpoint_id", "batch_id", "partition")
    words = rows.groupBy(*by, F.expr("offset DIV 64").alias("word")).agg(
        F.count(F.lit(1)).alias("read"),
        *(
            F.count_if(F.col(STATUS.name) == status).alias(status)
            for status in (VALID, QUARANTINED, ERASED)
        ),
        F.sum("value_bytes").alias("bytes"),
        F.min(held).alias("first_event"),
        F.max(held).alias("last_event"),
        F.count_if(is_late(event, stream)).alias("late"),
        F.min("offset").alias("lowest"),
        F.max("offset").alias("highest"),
        F.bit_count(F.bit_or(bit)).cast("bigint").alias("distinct"),
    )
    sums = ("read", VALID, QUARANTINED, ERASED, "bytes", "late", "distinct")
    return words.groupBy(*by).agg(
        *(F.sum(name).alias(name) for name in sums),
        *(F.min(name).alias(name) for name in ("first_event", "lowest")),
        *(F.max(name).alias(name) for name in ("last_event", "highest")),
    )


def count_error_codes(rows: DataFrame) -> DataFrame:
    """checkpoint_id, batch_id, partition, error_code, records of the quarantined rows. Lazy."""
    quarantined = rows.where(F.col(STATUS.name) == QUARANTINED)
    code = F.col(ERROR_CODE.name).alias("error_code")
    by = ("checkpoint_id", "batch_id", "partition", code)
    return quarantined.groupBy(*by).agg(F.count(F.lit(1)).alias("records"))


def is_late(event: SparkColumn, stream: StreamParams) -> SparkColumn:
    """Whether a record reached Kafka later after its `event` than the stream allows."""
    if stream.lateness_threshold_seconds is None:
        return F.lit(False)  # noqa: FBT003 - a condition, not a flag
    arrived = F.col("kafka_timestamp").cast("double")
    return event.cast("double") < arrived - F.lit(stream.lateness_threshold_seconds)
