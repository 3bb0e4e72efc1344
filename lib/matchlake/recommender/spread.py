"""Sends one frame to every partition and another to the partition of each row's query.

What comes together in a partition comes in the order of its kinds, so that a task can settle what
it needs to know before the rows it streams.
"""

from dataclasses import dataclass
from functools import reduce

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import DataType

from matchlake.recommender.packing import spread_keys

_MANY = 64
"""Partitions where `spark.sql.shuffle.partitions` is not a number, as on serverless."""


@dataclass(frozen=True)
class Spread:
    """How many partitions, and the key that leads to each; queries of one type."""

    keys: list[int]
    query_type: DataType

    @property
    def array(self) -> Column:
        """The keys as a column."""
        return F.array(*[F.lit(key) for key in self.keys])

    def gather(self, *frames: DataFrame) -> DataFrame:
        """All frames in one, each row in its partition, by `kind` there; lazy."""
        scene = reduce(lambda a, b: a.unionByName(b, allowMissingColumns=True), frames)
        return scene.repartition(len(self.keys), "part").sortWithinPartitions("kind").drop("part")


def spread_over(queries: DataFrame) -> Spread:
    """As many partitions as the session's shuffles have; `queries` has a column `query`."""
    value = queries.sparkSession.conf.get("spark.sql.shuffle.partitions", "") or ""
    count = int(value) if value.isdigit() else _MANY
    return Spread(spread_keys(count), queries.schema["query"].dataType)


def sent_to_all(frame: DataFrame, spread: Spread, kind: int) -> DataFrame:
    """A copy of `frame` for every partition."""
    return frame.select(
        F.explode(spread.array).alias("part"),
        F.lit(kind).alias("kind"),
        F.lit(None).cast(spread.query_type).alias("query"),
        "*",
    )


def sent_home(frame: DataFrame, spread: Spread, kind: int) -> DataFrame:
    """`frame`, each row bound for the partition of its `query`."""
    number = F.pmod(F.xxhash64("query"), F.lit(len(spread.keys))) + 1
    home = F.element_at(spread.array, number.cast("int"))
    return frame.select(home.alias("part"), F.lit(kind).alias("kind"), "*")
