"""`fit_ease` on Spark: one task holds the dense matrix."""

from pyspark.sql import DataFrame
from pyspark.sql.types import ArrayType, FloatType

from matchlake.recommender.checkpoint import Checkpointer
from matchlake.recommender.linear.ease_task import ITEM_COLUMNS, Task, require_room
from matchlake.recommender.linear.model import EaseModel
from matchlake.recommender.linear.pairs import USER_COLUMNS
from matchlake.recommender.linear.pairs_on_spark import (
    pack_frame,
    side_rows,
    side_sizes,
    state_schema,
)
from matchlake.recommender.linear.params import EaseParams
from matchlake.recommender.sides import ITEM, USER


def fit_on_spark(
    interactions: DataFrame, params: EaseParams, checkpoint: Checkpointer
) -> EaseModel:
    """Implements `fit_ease` on a Spark frame."""
    pairs, stats = pack_frame(interactions, params.value_column, checkpoint)
    require_room(stats, params)
    floats = ArrayType(FloatType())
    schema = state_schema(pairs.schema).add("weights", floats)
    state = checkpoint(pairs.frame.repartition(1).mapInArrow(Task(params), schema))
    sizes = side_sizes(state)
    users = side_rows(state, USER, USER_COLUMNS)
    return EaseModel(users, side_rows(state, ITEM, ITEM_COLUMNS), params, sizes)
