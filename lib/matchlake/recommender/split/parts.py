"""Building blocks of splits: draws by hash, ranks within a group, and the split itself."""

from collections.abc import Sequence

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from matchlake.recommender.split.result import Split

PLACE = "_place"
PLACES = "_places"

_IN_TEST = "_in_test"


def draw(seed: int, purpose: str, *ids: str) -> Column:
    """Returns a number in [0, 1) that depends only on seed, purpose and ids.

    It uses the upper 53 bits of a 64-bit hash, the precision of a double.
    """
    hashed = F.xxhash64(F.lit(purpose), F.lit(seed).cast("bigint"), *ids)
    return F.shiftrightunsigned(hashed, 11) * F.lit(2.0**-53)


def split_where(
    interactions: DataFrame, in_test: Column, columns: Sequence[str] | None = None
) -> Split:
    """Splits by `in_test`; a row with null is a training row.

    `columns` are the columns to keep, by default all.
    """
    names = columns or interactions.columns
    marked = interactions.withColumn(_IN_TEST, in_test)
    in_train = F.col(_IN_TEST).isNull() | ~F.col(_IN_TEST)
    return Split(
        train=marked.where(in_train).select(*names), test=marked.where(_IN_TEST).select(*names)
    )


def with_places(
    interactions: DataFrame, within: Sequence[str], order: Sequence[Column]
) -> DataFrame:
    """Adds `_place`, 1 for the first event of its group, and `_places`, the number of events.

    Rows that are equal in `order` share a position, so their sequence does not matter.
    """
    return interactions.withColumn(
        PLACE, F.dense_rank().over(Window.partitionBy(*within).orderBy(*order))
    ).withColumn(PLACES, F.max(PLACE).over(Window.partitionBy(*within)))


def fraction_of(count: Column, fraction: float) -> Column:
    """Returns the fraction of a count, rounded half up to an integer."""
    return F.floor(count * fraction + 0.5)
