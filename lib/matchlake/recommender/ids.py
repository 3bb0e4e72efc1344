"""Dense indices for business keys, 0, 1, 2 in the order of the keys, however partitioned."""

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from matchlake.recommender.checkpoint import Cut

_PLACES = 33
"""Bits below the partition number in `monotonically_increasing_id`."""


def dense_ids(frame: DataFrame, key: str, cut: Cut) -> tuple[DataFrame, int]:
    """All distinct values of `key` with their place in sorted order (`idx`, long), and how many.

    Sorts once over all partitions and cuts the result (an action), then counts the rows of each
    partition (a second, small one): the offsets of the partitions follow.
    """
    ordered = frame.select(key).distinct().sort(key)
    numbered = cut(ordered.withColumn("_place", F.monotonically_increasing_id()))
    part = F.shiftrightunsigned("_place", _PLACES)
    rows = numbered.groupBy(part.alias("part")).count().collect()
    counts: dict[int, int] = {row["part"]: row["count"] for row in rows}
    offsets, total = [], 0
    for partition in range(max(counts, default=-1) + 1):
        offsets.append(F.lit(total).cast("long"))
        total += counts.get(partition, 0)
    within = F.col("_place").bitwiseAND(F.lit((1 << _PLACES) - 1))
    if not offsets:
        return numbered.select(key, F.col("_place").alias("idx")), 0
    offset = F.element_at(F.array(*offsets), (part + 1).cast("int"))
    return numbered.select(key, (within + offset).alias("idx")), total
