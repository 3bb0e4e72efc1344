"""`fit_matchbox` on Spark, in one task or distributed."""

from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import (
    ArrayType,
    BinaryType,
    DataType,
    FloatType,
    IntegerType,
    LongType,
    StructField,
    StructType,
)

from matchlake.errors import InputError
from matchlake.recommender.checkpoint import Checkpointer
from matchlake.recommender.columns import require_columns
from matchlake.recommender.execution import choose_execution
from matchlake.recommender.interaction_spec import InteractionSpec
from matchlake.recommender.interaction_stats import SHOWN, VALUE, InteractionStats
from matchlake.recommender.interactions import summarize
from matchlake.recommender.matchbox.convergence import note_convergence
from matchlake.recommender.matchbox.distributed.fit import Input, fit_blocks
from matchlake.recommender.matchbox.encoders import Encoders, FittedEncoders, sources_of
from matchlake.recommender.matchbox.encoding import encode, fit_encoder
from matchlake.recommender.matchbox.model import MatchboxModel
from matchlake.recommender.matchbox.params import MatchboxParams
from matchlake.recommender.matchbox.report import PosteriorReport
from matchlake.recommender.matchbox.sampler.link_matrix import DENSE_UP_TO
from matchlake.recommender.matchbox.sampler.ratings import DAY
from matchlake.recommender.matchbox.single_task import (
    DATE,
    KIND,
    RATING_KIND,
    VECTOR,
    Task,
    undated,
)
from matchlake.recommender.matchbox.single_task_output import PROBLEM, REPORT
from matchlake.recommender.sides import ITEM, USER
from matchlake.schemas import EVENT_TIME, ITEM_ID, RATING, USER_ID


def fit_on_spark(
    ratings: DataFrame,
    features: tuple[DataFrame | None, DataFrame | None],
    params: MatchboxParams,
    encoders: Encoders | None,
    checkpoint: Checkpointer,
) -> MatchboxModel:
    """Implements `fit_matchbox` on Spark frames."""
    user_features, item_features = features
    prepared = _prepare(ratings, params)
    stats = summarize(prepared.select(USER_ID, ITEM_ID, VALUE), InteractionSpec())
    users = None if user_features is None else fit_encoder(user_features, USER_ID, encoders, USER)
    items = None if item_features is None else fit_encoder(item_features, ITEM_ID, encoders, ITEM)
    vectors = (
        None if user_features is None or users is None else encode(user_features, USER_ID, users),
        None if item_features is None or items is None else encode(item_features, ITEM_ID, items),
    )
    fitted = FittedEncoders(users, items)
    needed = task_bytes(stats, params)
    if choose_execution(params.execution, stats, needed, params.task_memory_mb) == "single_task":
        return _in_one_task(prepared, vectors, params, (fitted, checkpoint))
    _refuse_wide(fitted, params)
    inputs = Input(prepared.drop(DATE), vectors, sources_of(fitted), stats)
    gathered = fit_blocks(inputs, params, checkpoint)
    return _model(gathered.users, gathered.items, None, gathered.report, (params, fitted))


def _refuse_wide(encoders: FittedEncoders, params: MatchboxParams) -> None:
    """Refuses too many features: blocks add up X'X, which must be small; one task needs no X'X."""
    encoded = max(len(encoder.outputs()) if encoder else 0 for encoder in encoders)
    total = encoded + (params.max_history_features if params.history_features else 0)
    if total > DENSE_UP_TO:
        raise InputError(
            f"Distributed execution allows at most {DENSE_UP_TO} features per side, including "
            f"history features; a side may have {total}. Lower max_history_features, keep fewer "
            "categories, or set execution='single_task'."
        )


def task_bytes(size: InteractionStats, params: MatchboxParams) -> int:
    """Returns an upper estimate of the memory of a fit in one task."""
    rows = size.users + size.items
    samples = 12 * rows * params.samples * params.columns
    return (
        size.interactions * (160 + 16 * params.history_features)
        + samples
        + 32 * min(params.max_history_features, DENSE_UP_TO) ** 2
    )


def _prepare(ratings: DataFrame, params: MatchboxParams) -> DataFrame:
    """`user_id`, `item_id`, `value` (float) and `day`, days since 1970; an action with dates."""
    timed = (EVENT_TIME,) if params.day_effects else ()
    require_columns(ratings, (USER_ID, ITEM_ID, RATING, *timed), "the ratings")
    day = F.unix_date(F.to_date(EVENT_TIME)) if params.day_effects else F.lit(0)
    prepared = ratings.select(
        USER_ID, ITEM_ID, F.col(RATING).cast("float").alias(VALUE), day.alias(DATE)
    )
    if params.day_effects:
        without = prepared.where(F.col(DATE).isNull()).limit(SHOWN).collect()
        if without:
            raise undated([(row[USER_ID], row[ITEM_ID]) for row in without])
    return prepared


def _in_one_task(
    prepared: DataFrame,
    vectors: tuple[DataFrame | None, DataFrame | None],
    params: MatchboxParams,
    context: tuple[FittedEncoders, Checkpointer],
) -> MatchboxModel:
    encoders, checkpoint = context
    rows = prepared.withColumn(KIND, F.lit(RATING_KIND))
    rows = rows.withColumn(VECTOR, F.lit(None).cast(ArrayType(FloatType())))
    for side in (USER, ITEM):
        part = vectors[side]
        if part is not None:
            part = part.withColumn(KIND, F.lit(side))
            rows = rows.unionByName(part, allowMissingColumns=True)
    task = Task(params, sources_of(encoders))
    schema = _state_schema(prepared.schema[USER_ID].dataType, prepared.schema[ITEM_ID].dataType)
    state = checkpoint(rows.repartition(1).mapInArrow(task, schema))
    report = _report(state)
    users, items = state.where(F.col("side") == USER), state.where(F.col("side") == ITEM)
    days = state.where(F.col("side") == DAY).select(USER_ID, "day", "factors", "biases")
    return _model(users, items, days if params.day_effects else None, report, (params, encoders))


def _model(
    users: DataFrame,
    items: DataFrame,
    days: DataFrame | None,
    report: PosteriorReport,
    choices: tuple[MatchboxParams, FittedEncoders],
) -> MatchboxModel:
    columns = ("factors", "biases", "low_rank", "n_interactions")
    model = MatchboxModel(
        user_factors=users.select(USER_ID, F.col("idx").alias("user_idx"), *columns, "response"),
        item_factors=items.select(ITEM_ID, F.col("idx").alias("item_idx"), *columns),
        days=days,
        report=report,
        params=choices[0],
        encoders=choices[1],
    )
    note_convergence(model.convergence_diagnostics(), choices[0])
    return model


def _report(state: DataFrame) -> PosteriorReport:
    rows = state.where(F.col("side") >= REPORT).select("side", "idx", "data").collect()
    for row in rows:
        if row["side"] == PROBLEM:
            raise InputError(bytes(row["data"]).decode())
    rows.sort(key=lambda row: int(row["idx"]))
    return PosteriorReport.from_bytes(b"".join(bytes(row["data"]) for row in rows))


def _state_schema(user_type: DataType, item_type: DataType) -> StructType:
    """Columns of the output of a fit's task."""
    floats = ArrayType(FloatType())
    return StructType(
        [
            StructField("side", IntegerType()),
            StructField(USER_ID, user_type),
            StructField(ITEM_ID, item_type),
            StructField("day", IntegerType()),
            StructField("idx", LongType()),
            StructField("factors", floats),
            StructField("biases", floats),
            StructField("low_rank", floats),
            StructField("response", floats),
            StructField("n_interactions", LongType()),
            StructField("data", BinaryType()),
        ]
    )
