"""In what the ledger's rows and the table have to agree, as conditions of Spark. Reads nothing."""

from collections.abc import Sequence
from functools import reduce
from operator import and_, or_
from typing import NamedTuple

from pyspark.sql import Column, DataFrame, Row
from pyspark.sql import functions as F
from pyspark.sql.window import Window

from matchlake.ingest.streams.audit_table import KEYS

BY = KEYS[1:]
"""The keys of a stream's own rows: checkpoint, batch, partition."""
STATUSES = ("read", "good", "quarantined", "erased")
PROVED = (*STATUSES, "distinct", "lowest", "highest")
"""What has to be counted to compare."""
FOUND = (*PROVED, "bytes", "late", "first_event", "last_event")
"""What has to be counted to enter it."""

Batch = tuple[int, int]
"""A checkpoint and the number of a batch in it."""


class Seen(NamedTuple):
    """What a version of the table has of the batches that are numbered `first` to `last`."""

    first: int
    last: int
    counts: list[Row]

    @property
    def has(self) -> Column:
        """Whether a row is of such a batch."""
        return F.col("batch_id").between(self.first, self.last)

    @property
    def has_not(self) -> Column:
        """Whether it is of another batch, or of none; so written that Delta can pass files over."""
        number = F.col("batch_id")
        return number.isNull() | (number < self.first) | (number > self.last)


class Entered(NamedTuple):
    """What the ledger has before it is written to."""

    last: Batch | None
    """The newest batch."""
    unsettled: set[Batch]
    """Those of which offsets have neither a row nor a gap."""
    version: int
    """The greatest version of the table that it knows."""


def compared(entered: DataFrame, counted: DataFrame, names: Sequence[str]) -> DataFrame:
    """Rows of the ledger, each with what is `found`, by these names; each may be null. Lazy."""
    counts = counted.select(*BY, F.struct(*names).alias("found"))
    return entered.join(counts, list(BY), "full_outer")


def linked(entered: DataFrame) -> DataFrame:
    """Rows of the ledger, each with the offset at which the one `before` it ended. Lazy."""
    order = Window.partitionBy(topic_of_rows(), "partition").orderBy("first_offset", "end_offset")
    return entered.withColumn("before", F.lag("end_offset").over(order))


def topic_of_rows() -> Column:
    """The topic that a batch was read from; its checkpoint, where the broker gives topics no id."""
    return F.coalesce("topic_id", F.col("checkpoint_id").cast("string"))


def among(batches: set[Batch]) -> Column:
    """Whether a row is of one of the batches; between the least and the greatest of each."""
    numbers: dict[int, list[int]] = {}
    for checkpoint, batch in batches:
        numbers.setdefault(checkpoint, []).append(batch)
    each = (
        (F.col("checkpoint_id") == checkpoint) & F.col("batch_id").between(min(of_it), max(of_it))
        for checkpoint, of_it in numbers.items()
    )
    return reduce(or_, each, F.lit(False))  # noqa: FBT003 - a condition, not a flag


def size_of_gaps() -> Column:
    """How many offsets of a batch are without a row, for a reason."""
    size = "aggregate(gaps, 0L, (sum, gap) -> sum + gap.end_offset - gap.first_offset)"
    return F.coalesce(F.expr(size), F.lit(0))


def is_unsettled() -> Column:
    """Whether the ledger itself says that offsets of a batch have neither a row nor a gap."""
    return F.col("read") + size_of_gaps() != F.col("end_offset") - F.col("first_offset")


def is_unlinked() -> Column:
    """Whether a batch does not begin at the offset at which the one before it ended."""
    return F.col("first_offset") != F.col("before")


def unlinked_told(row: Row) -> str:
    """Such a batch, in words."""
    return (
        f"partition {row.partition}: batch {row.batch_id} of checkpoint {row.checkpoint_id} begins "
        f"at offset {row.first_offset}, but the one before it ended at {row.before}"
    )


def differs() -> Column:
    """Whether what the ledger says of a batch, and what was found of it, do not agree."""
    found = {name: F.coalesce(F.col("found")[name], F.lit(0)) for name in (*STATUSES, "distinct")}
    first, end = F.col("first_offset"), F.col("end_offset")
    inside = (F.col("found")["lowest"] >= first) & (F.col("found")["highest"] < end)
    agrees = [
        *(found[name] == F.col(name) for name in STATUSES),
        found["read"] == found["distinct"],
        found["read"] + size_of_gaps() == end - first,
        F.coalesce(inside, found["read"] == 0),
    ]
    return ~F.coalesce(reduce(and_, agrees), F.lit(False))  # noqa: FBT003 - a condition, not a flag
