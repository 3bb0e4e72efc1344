"""`fit_ease` on Spark: one task holds the dense matrix."""

from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import (
    ArrayType,
    DataType,
    FloatType,
    IntegerType,
    LongType,
    StructField,
    StructType,
)

from matchlake.recommender.baselines.ease_model import EaseModel
from matchlake.recommender.baselines.ease_task import (
    ITEM_COLUMNS,
    USER_COLUMNS,
    Task,
    require_room,
)
from matchlake.recommender.baselines.params import EaseParams
from matchlake.recommender.checkpoint import Checkpointer
from matchlake.recommender.columns import require_columns
from matchlake.recommender.interaction_spec import InteractionSpec
from matchlake.recommender.interaction_stats import VALUE
from matchlake.recommender.interactions import prepare
from matchlake.recommender.packed_frame import pack_pairs
from matchlake.recommender.sides import INDICES, ITEM, KEYS, USER
from matchlake.schemas import ITEM_ID, USER_ID


def fit_on_spark(
    interactions: DataFrame, params: EaseParams, checkpoint: Checkpointer
) -> EaseModel:
    """`fit_ease` on a Spark frame; see there."""
    column = params.value_column
    columns = (USER_ID, ITEM_ID) if column is None else (USER_ID, ITEM_ID, column)
    require_columns(interactions, columns, "interactions")
    known = interactions.dropna(subset=list(columns))
    if column is None:
        known, column = (
            known.select(USER_ID, ITEM_ID).distinct().withColumn(VALUE, F.lit(1.0)),
            VALUE,
        )
    spec = InteractionSpec(column, centered=False, duplicates="sum")
    pairs, stats = pack_pairs(prepare(known, spec), spec, checkpoint)
    require_room(stats, params)
    kinds = pairs.schema[USER_ID].dataType, pairs.schema[ITEM_ID].dataType
    rows = pairs.frame.repartition(1).mapInArrow(Task(params), _schema(kinds))
    state = checkpoint(rows)
    counts: dict[int, int] = {
        row["side"]: row["count"] for row in state.groupBy("side").count().collect()
    }
    users, items = (
        state.where(F.col("side") == side)
        .withColumnRenamed("idx", INDICES[side])
        .select(KEYS[side], INDICES[side], *names)
        for side, names in ((USER, USER_COLUMNS), (ITEM, ITEM_COLUMNS))
    )
    return EaseModel(users, items, params, (counts[USER], counts[ITEM]))


def _schema(kinds: tuple[DataType, DataType]) -> StructType:
    floats = ArrayType(FloatType())
    return StructType(
        [
            StructField("side", IntegerType()),
            StructField(USER_ID, kinds[USER]),
            StructField(ITEM_ID, kinds[ITEM]),
            StructField("idx", LongType()),
            StructField("n_interactions", LongType()),
            StructField("history", ArrayType(IntegerType())),
            StructField("values", floats),
            StructField("weights", floats),
        ]
    )
