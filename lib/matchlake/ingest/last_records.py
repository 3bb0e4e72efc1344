"""The rule that decides which of several records with the same key is the last.

Within a partition the offset decides, and not the clock: Kafka appends, so the higher offset
is later. Between partitions there is no common order, so `kafka_timestamp` decides. It is the time
that the topic keeps: by default the clock of the producer; with `LogAppendTime` that of the broker.

So the rule has two steps: the record with the highest offset of each partition, then the greatest
`kafka_timestamp` among these. A pairwise comparison would not be transitive: with a skewed
clock record A can be before B by offset, B before C by time, and C before A.
The two steps give one result, in whatever order records are read.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from pyspark.sql import Column as SparkColumn
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from matchlake.ingest.streams.audit_table import batch_log_table
from matchlake.io.delta import Lakehouse

CREATION = "_creation"
"""The index of the topic's creation that a record belongs to, if the topic was created again."""
SEVERAL_PARTITIONS = "several_partitions"
PARTITION = ("topic", "partition")
ORDER = ("kafka_timestamp", *PARTITION, "offset")
"""The columns that `last_per_key` reads."""
_LAST = "_last"


class Aggregate(NamedTuple):
    """An aggregate of all records of a key. The same function also combines partial results."""

    function: Callable[[SparkColumn], SparkColumn]
    column: SparkColumn


def last_per_key(
    rows: DataFrame,
    keys: Sequence[str],
    aggregates: Mapping[str, Aggregate] | None = None,
    *,
    first: Sequence[str] = (),
) -> DataFrame:
    """The last row per key, and the named aggregates of its group. Lazy, one shuffle.

    Rows with greater columns `first` are later; the rule of this module decides among equal ones.
    Reads topic, partition, offset and kafka_timestamp, and `_creation` if it is there. Gives the
    columns of `rows`, then `several_partitions`, whether the key is in more than one partition, and
    the aggregates. The result does not depend on the order in which rows are read.
    """
    named = aggregates or {}
    partition = [*([CREATION] if CREATION in rows.columns else []), *PARTITION]
    own = [name for name in partition if name not in keys]
    record = F.struct(*(F.col(f"{_LAST}.{name}") for name in (*first, "kafka_timestamp")))
    # Both steps group by the keys, so one shuffle is enough.
    by_partition = (
        rows.repartition(*(F.col(name) for name in keys))
        .groupBy(*keys, *own)
        .agg(
            F.max_by(F.struct(*rows.columns), F.struct(*first, "offset")).alias(_LAST),
            *(each.function(each.column).alias(name) for name, each in named.items()),
        )
    )
    order = F.struct(record, *(F.col(f"{_LAST}.{name}") for name in partition))
    grouped = by_partition.groupBy(*keys).agg(
        F.max_by(_LAST, order).alias(_LAST),
        (F.count(F.lit(1)) > 1).alias(SEVERAL_PARTITIONS),
        *(each.function(F.col(name)).alias(name) for name, each in named.items()),
    )
    return grouped.select(f"{_LAST}.*", SEVERAL_PARTITIONS, *named)


class Topics(NamedTuple):
    """The creations of a stream's topic: a topic that is created again starts at offset 0."""

    ids: tuple[str, ...] = ()
    """The ids of the topic, in the order of their creation; empty if there is only one id."""
    checkpoints: Mapping[int, int] = {}
    """The index of the topic's id per checkpoint that has read it."""

    def marked(self, bronze: DataFrame) -> DataFrame:
        """The records with `_creation`, if the topic was created more than once. Lazy."""
        if not self.ids:
            return bronze
        pairs = [F.lit(each) for pair in self.checkpoints.items() for each in pair]
        known = F.try_element_at(F.create_map(*pairs), F.col("checkpoint_id"))
        return bronze.withColumn(CREATION, F.coalesce(known, F.lit(len(self.ids) - 1)))


def read_topics(lakehouse: Lakehouse, batch_log: str | None, stream: str) -> Topics:
    """The creations of the topic of a stream, from the batch log. One small Spark job."""
    if batch_log is None or not lakehouse.exists(batch_log_table(batch_log).name):
        return Topics()
    by = F.coalesce("topic_id", F.col("checkpoint_id").cast("string")).alias("id")
    log = lakehouse.read(batch_log).where(F.col("stream") == stream)
    found = log.groupBy("checkpoint_id", by).agg(F.min("committed_at").alias("at"))
    rows = sorted(found.collect(), key=lambda row: (row.at is not None, str(row.at), row.id))
    ids = tuple(dict.fromkeys(row.id for row in rows))
    if len(ids) < 2:  # noqa: PLR2004 - one topic
        return Topics()
    return Topics(ids, {row.checkpoint_id: ids.index(row.id) for row in rows})
