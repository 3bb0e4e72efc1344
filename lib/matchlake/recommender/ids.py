"""Dense indices of keys: 0, 1, 2, ... in the order of the keys, for any partitioning."""

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from matchlake.recommender.checkpoint import Checkpointer

_PLACE_BITS = 33
"""The number of bits below the partition number in `monotonically_increasing_id`."""


def dense_ids(frame: DataFrame, key: str, checkpoint: Checkpointer) -> tuple[DataFrame, int]:
    """Returns the distinct values of `key` with their index in sorted order (`idx`), and the count.

    See `number_rows` for its actions.
    """
    return number_rows(frame.select(key).distinct(), key, checkpoint)


def number_rows(rows: DataFrame, key: str, checkpoint: Checkpointer) -> tuple[DataFrame, int]:
    """Adds the index in the order of the distinct keys (`idx`, long); returns rows and count.

    It sorts all partitions and checkpoints the result (one action). Then it counts the rows of each
    partition (a small action), which give the offsets of the partitions.
    """
    numbered = checkpoint(rows.sort(key).withColumn("_place", F.monotonically_increasing_id()))
    part = F.shiftrightunsigned("_place", _PLACE_BITS)
    sizes = numbered.groupBy(part.alias("part")).count().collect()
    counts: dict[int, int] = {row["part"]: row["count"] for row in sizes}
    offsets, total = [], 0
    for partition in range(max(counts, default=-1) + 1):
        offsets.append(F.lit(total).cast("long"))
        total += counts.get(partition, 0)
    within = F.col("_place").bitwiseAND(F.lit((1 << _PLACE_BITS) - 1))
    if not offsets:
        return numbered.select(*rows.columns, F.col("_place").alias("idx")), 0
    offset = F.element_at(F.array(*offsets), (part + 1).cast("int"))
    return numbered.select(*rows.columns, (within + offset).alias("idx")), total
