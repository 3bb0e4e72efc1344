"""`fit_slim` on Spark: every task gets all interactions and fits some of the items."""

from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import ArrayType, BinaryType, FloatType, IntegerType, StructType

from matchlake.engine.broadcast import (
    QUERY,
    TARGET,
    plan_partitions,
    replicate,
    route_by_query,
)
from matchlake.recommender.checkpoint import Checkpointer
from matchlake.recommender.linear.model import SlimModel
from matchlake.recommender.linear.pairs import USER_COLUMNS
from matchlake.recommender.linear.pairs_on_spark import (
    pack_frame,
    side_rows,
    side_sizes,
    state_schema,
)
from matchlake.recommender.linear.params import SlimParams
from matchlake.recommender.linear.slim_task import DATA, Number, Solve
from matchlake.recommender.sides import ITEM, USER
from matchlake.schemas import ITEM_ID

_ITEMS_PER_TASK = 1000
"""Minimum number of items of a task, because each task receives all interactions."""


def fit_on_spark(
    interactions: DataFrame, params: SlimParams, checkpoint: Checkpointer
) -> SlimModel:
    """Implements `fit_slim` on a Spark frame."""
    pairs, _ = pack_frame(interactions, params.value_column, checkpoint)
    schema = state_schema(pairs.schema).add("data", BinaryType())
    state = checkpoint(pairs.frame.repartition(1).mapInArrow(Number(), schema))
    sizes = side_sizes(state)
    queries = side_rows(state, ITEM, ("n_interactions",)).withColumnsRenamed(
        {ITEM_ID: "query", "item_idx": "idx"}
    )
    plan = plan_partitions(queries)
    if len(plan.keys) > (needed := 1 + sizes[ITEM] // _ITEMS_PER_TASK):
        plan = plan_partitions(queries, needed)
    # rows for `stream_queries` need a column `target`, but pieces have no id
    target = F.lit(None).cast("int").alias("target")
    pieces = state.where(F.col("side") == DATA).select("idx", "data", target)
    rows = plan.assemble(
        replicate(pieces, plan, TARGET), route_by_query(queries, plan, QUERY)
    ).mapInArrow(Solve(params), _items_schema(queries.schema))
    items = checkpoint(rows.withColumnsRenamed({"query": ITEM_ID, "idx": "item_idx"}))
    return SlimModel(side_rows(state, USER, USER_COLUMNS), items, params, sizes)


def _items_schema(queries: StructType) -> StructType:
    """The rows of items with their weights."""
    kinds = StructType([queries[name] for name in ("query", "idx", "n_interactions")])
    return kinds.add("sources", ArrayType(IntegerType())).add("weights", ArrayType(FloatType()))
