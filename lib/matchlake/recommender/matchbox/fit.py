"""`fit_matchbox`: Bayesian matrix factorization with side features, on Spark."""

import logging

from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import ArrayType, FloatType

from matchlake.engine.packing import Array, unpack
from matchlake.errors import InputError
from matchlake.recommender.als.params import AlsParams
from matchlake.recommender.checkpoint import Cut, keep_locally
from matchlake.recommender.columns import require_columns
from matchlake.recommender.interactions import SHOWN, VALUE, Survey, survey
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
from matchlake.recommender.matchbox.params import MatchboxParams
from matchlake.recommender.matchbox.sampler.link_matrix import DENSE_UP_TO
from matchlake.recommender.matchbox.sampler.ratings import DAY, ITEM, USER
from matchlake.recommender.matchbox.single_task import DATE, KIND, RATING_KIND, Task
from matchlake.recommender.matchbox.single_task_output import PROBLEM, REPORT, state_schema
from matchlake.schemas import EVENT_TIME, ITEM_ID, RATING, USER_ID

_log = logging.getLogger(__name__)


def fit_matchbox(
    ratings: DataFrame,
    user_features: DataFrame | None,
    item_features: DataFrame | None,
    params: MatchboxParams,
    *,
    encoders: Encoders | None = None,
    cut: Cut = keep_locally,
) -> MatchboxModel:
    """Learns a posterior from `user_id`, `item_id` and `rating`, with features of either side.

    Spark actions: one over the ratings for what cannot be fitted (two with dates); one for each
    side's encoder that is not fitted yet; in one task the cut, which is the fit, and one for its
    report; distributed, some for ids, blocks and features, then a cut and a small read each half
    of a sweep, a cut each kept sample, and two a side at the end.

    Args:
        ratings: One row a (user, item); `event_time` too with `params.dates`.
        user_features: One row a user, by `user_id`, with columns of any kind the encoders take;
            None for no features. Users without ratings may be there: the model knows them.
        item_features: Likewise by `item_id`.
        params: What to fit; see `MatchboxParams`.
        encoders: How columns become features; by default by their types, see `Encoders`.
        cut: Computes and keeps a frame; a job gives one that writes to storage.

    Raises:
        SchemaError: Columns are missing, or of types that encoders cannot take.
        InputError: Null ids, dates or ratings, a (user, item) that comes twice, ratings that are
            all equal, an id with two feature rows or, where features are given, with none. The
            message shows some of the rows.
    """
    prepared = _prepare(ratings, params)
    size = survey(prepared.select(USER_ID, ITEM_ID, VALUE), AlsParams(feedback="explicit"))
    users = None if user_features is None else fit_encoder(user_features, USER_ID, encoders, USER)
    items = None if item_features is None else fit_encoder(item_features, ITEM_ID, encoders, ITEM)
    vectors = (
        None if user_features is None or users is None else encode(user_features, USER_ID, users),
        None if item_features is None or items is None else encode(item_features, ITEM_ID, items),
    )
    fitted = FittedEncoders(users, items)
    if _schedule(size, params) == "one-task":
        return _in_one_task(prepared, vectors, params, (fitted, cut))
    _refuse_wide(fitted, params)
    found = fit_blocks(Input(prepared.drop(DATE), vectors, sources_of(fitted), size), params, cut)
    return _model(found.users, found.items, None, found.report, (params, fitted))


def _refuse_wide(encoders: FittedEncoders, params: MatchboxParams) -> None:
    """Blocks add up X'X, which has to be small; one task can do without it."""
    given = max(len(encoder.outputs()) if encoder else 0 for encoder in encoders)
    most = given + (params.history_limit if params.history else 0)
    if most > DENSE_UP_TO:
        raise InputError(
            f"A side may have {most} features, history included; the distributed schedule takes "
            f"{DENSE_UP_TO}. Lower history_limit or keep fewer categories, or force "
            "schedule='one-task' on a machine with memory for it."
        )


def task_bytes(size: Survey, params: MatchboxParams) -> int:
    """An estimate from above of the memory of a fit in one task."""
    rows = size.users + size.items
    kept = 12 * rows * params.samples * params.columns
    return (
        size.interactions * (160 + 16 * params.history)
        + kept
        + 32 * min(params.history_limit, DENSE_UP_TO) ** 2
    )


def _schedule(size: Survey, params: MatchboxParams) -> str:
    need, limit = task_bytes(size, params) >> 20, params.task_memory_mb
    chosen = params.schedule
    if chosen == "auto":
        chosen = "one-task" if need <= limit else "distributed"
    _log.info(
        "%d ratings, about %d users and %d items: %d MiB in one task, limit %d; schedule %s",
        *(size.interactions, size.users, size.items, need, limit, chosen),
    )
    return chosen


def _prepare(ratings: DataFrame, params: MatchboxParams) -> DataFrame:
    """`user_id`, `item_id`, `value` (float) and `day`, days since 1970; an action with dates."""
    timed = (EVENT_TIME,) if params.dates else ()
    require_columns(ratings, (USER_ID, ITEM_ID, RATING, *timed), "the ratings")
    day = F.unix_date(F.to_date(EVENT_TIME)) if params.dates else F.lit(0)
    prepared = ratings.select(
        USER_ID, ITEM_ID, F.col(RATING).cast("float").alias(VALUE), day.alias(DATE)
    )
    if params.dates:
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
    context: tuple[FittedEncoders, Cut],
) -> MatchboxModel:
    encoders, cut = context
    rows = prepared.withColumn(KIND, F.lit(RATING_KIND))
    rows = rows.withColumn(VECTOR, F.lit(None).cast(ArrayType(FloatType())))
    for side in (USER, ITEM):
        part = vectors[side]
        if part is not None:
            part = part.withColumn(KIND, F.lit(side))
            rows = rows.unionByName(part, allowMissingColumns=True)
    task = Task(params, sources_of(encoders))
    schema = state_schema(prepared.schema[USER_ID].dataType, prepared.schema[ITEM_ID].dataType)
    state = cut(rows.repartition(1).mapInArrow(task, schema))
    report = _report(state)
    users, items = state.where(F.col("side") == USER), state.where(F.col("side") == ITEM)
    days = state.where(F.col("side") == DAY).select(USER_ID, "day", "factors", "biases")
    return _model(users, items, days if params.dates else None, report, (params, encoders))


def _model(
    users: DataFrame,
    items: DataFrame,
    days: DataFrame | None,
    report: dict[str, Array],
    choices: tuple[MatchboxParams, FittedEncoders],
) -> MatchboxModel:
    columns = ("factors", "biases", "compact", "observed")
    model = MatchboxModel(
        users=users.select(USER_ID, F.col("idx").alias("user_idx"), *columns, "response"),
        items=items.select(ITEM_ID, F.col("idx").alias("item_idx"), *columns),
        days=days,
        report=report,
        params=choices[0],
        encoders=choices[1],
    )
    for found in model.mixing():
        _log.info(
            "%s: mean %.4g, R-hat %.3f, %.0f effective samples",
            *(found.name, found.mean, found.r_hat, found.effective),
        )
    return model


def _report(state: DataFrame) -> dict[str, Array]:
    rows = state.where(F.col("side") >= REPORT).select("side", "idx", "data").collect()
    for row in rows:
        if row["side"] == PROBLEM:
            raise InputError(bytes(row["data"]).decode())
    rows.sort(key=lambda row: int(row["idx"]))
    return unpack([bytes(row["data"]) for row in rows])
