"""`fit_matchbox`: Bayesian matrix factorization with side features, on Spark."""

import logging

from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import ArrayType, FloatType

from matchlake.errors import InputError
from matchlake.recommender.checkpoint import Checkpointer, local_checkpoint
from matchlake.recommender.columns import require_columns
from matchlake.recommender.execution import choose_execution
from matchlake.recommender.interaction_spec import InteractionSpec
from matchlake.recommender.interactions import SHOWN, VALUE, InteractionStats, summarize
from matchlake.recommender.matchbox.convergence import mixing_problem
from matchlake.recommender.matchbox.distributed.fit import Input, fit_blocks
from matchlake.recommender.matchbox.encoding import (
    VECTOR,
    Encoders,
    FittedEncoders,
    encode,
    fit_encoder,
    sources_of,
)
from matchlake.recommender.matchbox.model import MatchboxModel
from matchlake.recommender.matchbox.params import DEFAULTS, MatchboxParams
from matchlake.recommender.matchbox.report import PosteriorReport
from matchlake.recommender.matchbox.sampler.link_matrix import DENSE_UP_TO
from matchlake.recommender.matchbox.sampler.ratings import DAY
from matchlake.recommender.matchbox.single_task import DATE, KIND, RATING_KIND, Task
from matchlake.recommender.matchbox.single_task_output import PROBLEM, REPORT, state_schema
from matchlake.recommender.protocol import FitContext, TrainingInputs
from matchlake.recommender.sides import ITEM, USER
from matchlake.schemas import EVENT_TIME, ITEM_ID, RATING, USER_ID

_log = logging.getLogger(__name__)


def fit_matchbox(
    ratings: DataFrame,
    *,
    user_features: DataFrame | None = None,
    item_features: DataFrame | None = None,
    params: MatchboxParams = DEFAULTS,
    encoders: Encoders | None = None,
    checkpoint: Checkpointer = local_checkpoint,
) -> MatchboxModel:
    """Learns a posterior from `user_id`, `item_id` and `rating`, with features of either side.

    Spark actions: one over the ratings for invalid rows (two with day effects); one per encoder
    that is not fitted yet. In one task: the checkpoint, which is the fit, and one for its report.
    Distributed: some for ids, blocks and features. Then a checkpoint and a small read per half
    sweep, and a checkpoint per kept sample. At the end two per side.

    Args:
        ratings: One row per (user, item); `event_time` too with `params.day_effects`.
        user_features: One row per user, by `user_id`, with columns of any type that the encoders
            take. The model knows users without ratings by these features.
        item_features: Likewise, by `item_id`.
        params: What to fit; see `MatchboxParams`.
        encoders: How columns become features; by default by their types, see `Encoders`.
        checkpoint: Computes and keeps a frame; a job passes one that writes to storage.

    Raises:
        SchemaError: Columns are missing, or of types that encoders cannot take.
        InputError: Null ids, dates or ratings, a repeated (user, item), ratings that are all equal,
            an id with two feature rows or, if features are given, without one. The message shows
            some rows.
    """
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


def fit(inputs: TrainingInputs, params: MatchboxParams, context: FitContext) -> MatchboxModel:
    """`fit_matchbox` for the registry; it neither resumes nor calls back."""
    return fit_matchbox(
        inputs.interactions,
        user_features=inputs.user_features,
        item_features=inputs.item_features,
        params=params,
        encoders=Encoders(*inputs.encoders),
        checkpoint=context.checkpoint,
    )


def _refuse_wide(encoders: FittedEncoders, params: MatchboxParams) -> None:
    """Blocks add up X'X, which has to be small; one task can do without it."""
    encoded = max(len(encoder.outputs()) if encoder else 0 for encoder in encoders)
    total = encoded + (params.max_history_features if params.history_features else 0)
    if total > DENSE_UP_TO:
        raise InputError(
            f"A side may have {total} features, history included; the distributed schedule takes "
            f"{DENSE_UP_TO}. Lower max_history_features or keep fewer categories, or force "
            "schedule='single-task' on a machine with memory for it."
        )


def task_bytes(size: InteractionStats, params: MatchboxParams) -> int:
    """An estimate from above of the memory of a fit in one task."""
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
        undated = prepared.where(F.col(DATE).isNull()).limit(SHOWN).collect()
        if undated:
            shown = [(row[USER_ID], row[ITEM_ID]) for row in undated]
            raise InputError(
                f"Some ratings are without a date, among them {shown}. Drop them, or fit with "
                "dates=False."
            )
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
    schema = state_schema(prepared.schema[USER_ID].dataType, prepared.schema[ITEM_ID].dataType)
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
    diagnostics = model.convergence_diagnostics()
    for diagnostic in diagnostics:
        _log.info(
            "%s: mean %.4g, R-hat %.3f, %.0f effective samples",
            *(diagnostic.name, diagnostic.mean, diagnostic.r_hat, diagnostic.ess),
        )
    problem = mixing_problem(diagnostics, choices[0])
    if problem is not None:
        _log.warning("%s", problem)
    return model


def _report(state: DataFrame) -> PosteriorReport:
    rows = state.where(F.col("side") >= REPORT).select("side", "idx", "data").collect()
    for row in rows:
        if row["side"] == PROBLEM:
            raise InputError(bytes(row["data"]).decode())
    rows.sort(key=lambda row: int(row["idx"]))
    return PosteriorReport.from_bytes(b"".join(bytes(row["data"]) for row in rows))
