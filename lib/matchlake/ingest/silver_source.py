"""The source rows of a merge into a silver table: from new records, or from all records of a key.

A silver table has one row per key: not the last record per partition, and none for a deleted key.
Kafka puts all records of a key into one partition. If they come in the order of their offsets, the
new records are enough. All other keys are recomputed from the whole bronze table: keys in several
partitions, and in streams with deletes also keys that were deleted or have a replayed record.
"""

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from matchlake.ingest.last_records import CREATION, PARTITION, SEVERAL_PARTITIONS
from matchlake.ingest.schema import STATUS, VALID
from matchlake.ingest.silver import REPLAYED, SilverSpec, is_delete

RECOMPUTED = "_recomputed"
"""Whether a row is computed from all records of its key, and so replaces the row of the table."""
_WAS_DELETED = "_was_deleted"
_BEFORE = (*PARTITION, SEVERAL_PARTITIONS)


def merge_source(
    silver: SilverSpec, added: DataFrame, table: DataFrame, bronze: DataFrame
) -> DataFrame:
    """The last records of a merge, one per key, with `_recomputed` and `_deleted`.

    `added` has the records that bronze gained, `table` the silver table before the merge, `bronze`
    all records. One Spark job looks for keys to recompute. If there are none, the result is lazy.
    """
    new, keys = silver.last_records(added), list(silver.silver.keys)
    before = table.select(*keys, F.struct(*_BEFORE).alias("before"))
    both = new.join(before, keys, "left")
    moved = _is_moved(again=CREATION in bronze.columns)
    if silver.stream.has_deletes:
        both = both.join(_deleted_keys(silver, bronze), keys, "left")
        moved = moved | F.col(REPLAYED) | (F.col("before").isNull() & F.col(_WAS_DELETED))
    affected = both.where(F.coalesce(moved, F.lit(False))).select(*keys)  # noqa: FBT003 - a value
    if affected.isEmpty():
        return new.withColumn(RECOMPUTED, F.lit(False))  # noqa: FBT003 - a value
    whole = silver.last_records(bronze.join(affected, keys, "left_semi"))
    rest = new.join(affected, keys, "left_anti").withColumn(RECOMPUTED, F.lit(False))  # noqa: FBT003
    return rest.unionByName(whole.withColumn(RECOMPUTED, F.lit(True)))  # noqa: FBT003 - a value


def _is_moved(*, again: bool) -> Column:
    """Whether a key has records in more than one partition.

    If the topic was created `again`, equal partition numbers may mean different partitions.
    """
    moved: Column = F.lit(again) & F.col("before").isNotNull()
    for name in PARTITION:
        moved = moved | (F.col(name) != F.col(f"before.{name}"))
    before = F.coalesce(F.col(f"before.{SEVERAL_PARTITIONS}"), F.lit(False))  # noqa: FBT003
    return F.col(SEVERAL_PARTITIONS) | before | F.coalesce(moved, F.lit(False))  # noqa: FBT003


def _deleted_keys(silver: SilverSpec, bronze: DataFrame) -> DataFrame:
    """The keys that a record of the bronze table deletes, with `_was_deleted`."""
    deletes = bronze.where((F.col(STATUS.name) == VALID) & is_delete(silver.stream))
    keys = deletes.select(*silver.silver.keys).distinct()
    return keys.withColumn(_WAS_DELETED, F.lit(True))  # noqa: FBT003 - a value
