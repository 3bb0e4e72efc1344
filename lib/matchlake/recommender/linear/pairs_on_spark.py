"""Reads the interactions of a linear fit on Spark, and the resulting rows of users and items."""

from collections.abc import Sequence

from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import (
    ArrayType,
    FloatType,
    IntegerType,
    LongType,
    StructField,
    StructType,
)

from matchlake.recommender.checkpoint import Checkpointer
from matchlake.recommender.columns import require_columns
from matchlake.recommender.interaction_stats import VALUE, InteractionStats
from matchlake.recommender.interactions import prepare
from matchlake.recommender.linear.pairs import SPEC
from matchlake.recommender.packed_frame import PackedPairs, pack_pairs
from matchlake.recommender.sides import INDICES, ITEM, KEYS, USER
from matchlake.schemas import ITEM_ID, USER_ID


def pack_frame(
    interactions: DataFrame, column: str | None, checkpoint: Checkpointer
) -> tuple[PackedPairs, InteractionStats]:
    """Packs and counts the pairs with the values of `column`, or 1; see `pack_pairs`."""
    columns = (USER_ID, ITEM_ID) if column is None else (USER_ID, ITEM_ID, column)
    require_columns(interactions, columns, "interactions")
    known = interactions.dropna(subset=list(columns))
    if column is None:
        known = known.select(USER_ID, ITEM_ID).distinct().withColumn(VALUE, F.lit(1.0))
    spec = SPEC._replace(value_column=column or VALUE)
    return pack_pairs(prepare(known, spec), spec, checkpoint)


def state_schema(pairs: StructType) -> StructType:
    """The columns of `id_kinds`, with the ids of `pairs`."""
    return StructType(
        [
            StructField("side", IntegerType()),
            StructField(USER_ID, pairs[USER_ID].dataType),
            StructField(ITEM_ID, pairs[ITEM_ID].dataType),
            StructField("idx", LongType()),
            StructField("n_interactions", LongType()),
            StructField("history", ArrayType(IntegerType())),
            StructField("values", ArrayType(FloatType())),
        ]
    )


def side_sizes(state: DataFrame) -> tuple[int, int]:
    """Returns the numbers of users and items; a small action."""
    counts = {row["side"]: row["count"] for row in state.groupBy("side").count().collect()}
    return counts[USER], counts[ITEM]


def side_rows(state: DataFrame, side: int, columns: Sequence[str]) -> DataFrame:
    """The rows of users (side 0) or items (side 1)."""
    rows = state.where(F.col("side") == side).withColumnRenamed("idx", INDICES[side])
    return rows.select(KEYS[side], INDICES[side], *columns)
