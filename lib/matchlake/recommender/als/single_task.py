"""Single-task execution: runs some or all iterations of a fit in one Spark task."""

from dataclasses import dataclass

from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import (
    ArrayType,
    DataType,
    DoubleType,
    FloatType,
    IntegerType,
    LongType,
    StructField,
    StructType,
)

from matchlake.recommender.als.model import FactorModel
from matchlake.recommender.als.params import AlsParams
from matchlake.recommender.als.solver import stored_width, work_of_a_column
from matchlake.recommender.als.task import REPEATED, Task
from matchlake.recommender.interaction_stats import InteractionStats, refuse_repeated
from matchlake.recommender.packed_frame import PackedPairs
from matchlake.recommender.progress import Report
from matchlake.recommender.sides import ITEM, KEYS, USER
from matchlake.schemas import ITEM_ID, USER_ID

MINUTE = 3 * 10**11
"""The number of multiplications of a thread in about a minute, in a fit's inner loops."""


def task_bytes(stats: InteractionStats, params: AlsParams) -> int:
    """An upper estimate of the memory of a single-task fit.

    It counts the packed interactions, both sorted copies, ids, both factor matrices and the output.
    """
    rows = stats.users + stats.items
    return stats.interactions * (64 + 3 * 12) + rows * (100 + 12 * stored_width(params))


@dataclass(frozen=True)
class SingleTask:
    """Fits packed `pairs` in one task.

    A state is one frame with rows of trained users and items, and one report per iteration.
    """

    pairs: PackedPairs
    params: AlsParams
    stats: InteractionStats

    def interval(self) -> int:
        """Returns the iterations between checkpoints: all, or about a minute per thread."""
        work = self.stats.interactions * stored_width(self.params) * work_of_a_column(self.params)
        return max(1, min(self.params.iterations, MINUTE // work))

    def begin(self, model: FactorModel | None) -> DataFrame | None:
        """Returns the state that continues `model`; None without a model."""
        if model is None:
            return None
        users = model.user_factors.select(F.lit(USER).alias("side"), USER_ID, "factors", "bias")
        items = model.item_factors.select(F.lit(ITEM).alias("side"), ITEM_ID, "factors", "bias")
        return users.unionByName(items, allowMissingColumns=True)

    def advance(self, state: DataFrame | None, done: int, iterations: int) -> DataFrame:
        """Returns the state after `iterations` further iterations.

        `done` are already done; lazy.
        """
        fields = self.pairs.schema
        rows = self.pairs.frame
        if state is not None:
            trained = state.where(F.col("side") <= ITEM)
            trained = trained.select("side", USER_ID, ITEM_ID, "factors", "bias")
            rows = rows.unionByName(trained, allowMissingColumns=True)
        params = self.params.model_copy(update={"iterations": iterations})
        schema = state_schema(fields[USER_ID].dataType, fields[ITEM_ID].dataType)
        return rows.repartition(1).mapInArrow(Task(params, self.pairs.mean, done), schema)

    def report(self, state: DataFrame) -> Report:
        """Reads iterations, seconds and loss; raises InputError for repeated pairs. One action."""
        rows = state.where(F.col("side") > ITEM).collect()
        rows.sort(key=lambda row: row["idx"] or 0)
        refuse_repeated([(row[USER_ID], row[ITEM_ID]) for row in rows if row["side"] == REPEATED])
        seconds = tuple(row["seconds"] for row in rows)
        last = rows[-1]
        return Report(last["idx"], last["loss"], seconds, (last["users"], last["items"]))

    def factors(self, state: DataFrame, side: int) -> DataFrame:
        """Returns one side's key, `idx`, `factors`, `bias` and `n_interactions`; lazy."""
        columns = (KEYS[side], "idx", "factors", "bias", "n_interactions")
        return state.where(F.col("side") == side).select(*columns)


def state_schema(user_type: DataType, item_type: DataType) -> StructType:
    """Columns of a single-task state."""
    return StructType(
        [
            StructField("side", IntegerType()),
            StructField(USER_ID, user_type),
            StructField(ITEM_ID, item_type),
            StructField("idx", LongType()),
            StructField("factors", ArrayType(FloatType())),
            StructField("bias", FloatType()),
            StructField("n_interactions", LongType()),
            StructField("loss", DoubleType()),
            StructField("seconds", DoubleType()),
            StructField("users", LongType()),
            StructField("items", LongType()),
        ]
    )
