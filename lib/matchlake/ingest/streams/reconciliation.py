"""The conditions under which batch log and table agree, as Spark columns. Reads nothing."""

from collections.abc import Sequence
from functools import reduce
from operator import and_, or_
from typing import NamedTuple

from pyspark.sql import Column, DataFrame, Row
from pyspark.sql import functions as F
from pyspark.sql.window import Window

from matchlake.ingest.streams.audit_table import KEYS

BY = KEYS[1:]
"""The keys within one stream: checkpoint, batch, partition."""
STATUSES = ("read", "valid", "quarantined", "erased")
COMPARED = (*STATUSES, "distinct", "lowest", "highest")
"""The counts that a comparison needs."""
COUNTED = (*COMPARED, "bytes", "late", "first_event", "last_event")
"""The counts that an entry of the log needs."""

Batch = tuple[int, int]
"""A checkpoint and the number of a batch in it."""


class CountedBatches(NamedTuple):
    """The counts of all batches with the numbers `first` to `last`, at one version of the table."""

    first: int
    last: int
    counts: list[Row]

    @property
    def includes(self) -> Column:
        """Whether a row is in one of these batches."""
        return F.col("batch_id").between(self.first, self.last)

    @property
    def excludes(self) -> Column:
        """Whether a row is in none of these batches, in a form that lets Delta skip files."""
        number = F.col("batch_id")
        return number.isNull() | (number < self.first) | (number > self.last)


class LogState(NamedTuple):
    """The state of the batch log before an update."""

    last: Batch | None
    """The newest batch."""
    unsettled: set[Batch]
    """The batches with offsets that have neither a row nor a gap."""
    version: int
    """The newest version of the table in the log."""


def compared(entered: DataFrame, counted: DataFrame, names: Sequence[str]) -> DataFrame:
    """Joins rows of the log with the `found` counts of these names; either may be null. Lazy."""
    counts = counted.select(*BY, F.struct(*names).alias("found"))
    return entered.join(counts, list(BY), "full_outer")


def linked(entered: DataFrame) -> DataFrame:
    """Rows of the log, each with the end offset of the batch `before` it. Lazy."""
    order = Window.partitionBy(topic_of_rows(), "partition").orderBy("first_offset", "end_offset")
    return entered.withColumn("before", F.lag("end_offset").over(order))


def topic_of_rows() -> Column:
    """The id of the topic of a batch; its checkpoint, if the broker has no topic ids."""
    return F.coalesce("topic_id", F.col("checkpoint_id").cast("string"))


def among(batches: set[Batch]) -> Column:
    """Whether a row is between the first and the last of the batches of its checkpoint."""
    numbers: dict[int, list[int]] = {}
    for checkpoint, batch in batches:
        numbers.setdefault(checkpoint, []).append(batch)
    each = (
        (F.col("checkpoint_id") == checkpoint) & F.col("batch_id").between(min(of_it), max(of_it))
        for checkpoint, of_it in numbers.items()
    )
    return reduce(or_, each, F.lit(False))  # noqa: FBT003 - a condition, not a flag


def size_of_gaps() -> Column:
    """The number of offsets of a batch in gaps."""
    size = "aggregate(gaps, 0L, (sum, gap) -> sum + gap.end_offset - gap.first_offset)"
    return F.coalesce(F.expr(size), F.lit(0))


def is_unsettled() -> Column:
    """Whether, by the log alone, offsets of a batch have neither a row nor a gap."""
    return F.col("read") + size_of_gaps() != F.col("end_offset") - F.col("first_offset")


def is_unlinked() -> Column:
    """Whether a batch does not begin where the batch before it ended."""
    return F.col("first_offset") != F.col("before")


def unlinked_message(row: Row) -> str:
    """The message for a batch that does not link up."""
    return (
        f"partition {row.partition}: batch {row.batch_id} of checkpoint {row.checkpoint_id} begins "
        f"at offset {row.first_offset}, but the one before it ended at {row.before}"
    )


def differs() -> Column:
    """Whether the log and the found counts of a batch do not agree."""
    counts = {name: F.coalesce(F.col("found")[name], F.lit(0)) for name in (*STATUSES, "distinct")}
    first, end = F.col("first_offset"), F.col("end_offset")
    inside = (F.col("found")["lowest"] >= first) & (F.col("found")["highest"] < end)
    agrees = [
        *(counts[name] == F.col(name) for name in STATUSES),
        counts["read"] == counts["distinct"],
        counts["read"] + size_of_gaps() == end - first,
        F.coalesce(inside, counts["read"] == 0),
    ]
    return ~F.coalesce(reduce(and_, agrees), F.lit(False))  # noqa: FBT003 - a condition, not a flag
