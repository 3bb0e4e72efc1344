"""`fit_matchbox` fits Bayesian matrix factorization with side features."""

from typing import TYPE_CHECKING, Any, overload

from matchlake.engine.frames import Rows, is_spark, require_spark
from matchlake.recommender.checkpoint import Checkpointer, local_checkpoint
from matchlake.recommender.matchbox.encoders import Encoders
from matchlake.recommender.matchbox.fit_table import fit_table
from matchlake.recommender.matchbox.numpy_model import NumpyMatchboxModel
from matchlake.recommender.matchbox.params import DEFAULTS, MatchboxParams
from matchlake.recommender.protocol import FitContext, TrainingInputs

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

    from matchlake.recommender.matchbox.model import MatchboxModel


@overload
def fit_matchbox(  # type: ignore[overload-overlap]
    ratings: "DataFrame",
    *,
    user_features: "DataFrame | None" = None,
    item_features: "DataFrame | None" = None,
    params: MatchboxParams = DEFAULTS,
    encoders: Encoders | None = None,
    checkpoint: Checkpointer = local_checkpoint,
) -> "MatchboxModel": ...


@overload
def fit_matchbox(
    ratings: Rows,
    *,
    user_features: Rows | None = None,
    item_features: Rows | None = None,
    params: MatchboxParams = DEFAULTS,
    encoders: Encoders | None = None,
) -> NumpyMatchboxModel: ...


def fit_matchbox(
    ratings: Any,
    *,
    user_features: Any = None,
    item_features: Any = None,
    params: MatchboxParams = DEFAULTS,
    encoders: Encoders | None = None,
    checkpoint: Checkpointer = local_checkpoint,
) -> Any:
    """Learns a posterior from `user_id`, `item_id` and `rating`, with features of either side.

    Spark frames give a `MatchboxModel`. Pandas, Polars or Arrow tables, or a sparse matrix of
    SciPy, give a `NumpyMatchboxModel`, and need no Spark; such a fit equals a fit in one task.

    Spark actions: one over the ratings for invalid rows (two with day effects); one per encoder
    that is not fitted yet. In one task: the checkpoint, which runs the fit, and one for its report.
    Distributed: some for ids, blocks and features; a checkpoint and a small read per half sweep; a
    checkpoint per kept sample; two per side at the end.

    Args:
        ratings: One row per (user, item); `event_time` too with `params.day_effects`. The ids of a
            sparse matrix are its row and column numbers, and its values are the ratings.
        user_features: One row per user, by `user_id`, with columns of any type that the encoders
            support. By these features the model also knows users without ratings.
        item_features: Likewise, by `item_id`.
        params: What to fit; see `MatchboxParams`.
        encoders: How columns become features; by default by their types, see `Encoders`.
        checkpoint: On Spark, computes and keeps a frame; jobs pass a checkpoint that writes to
            storage.

    Raises:
        SchemaError: Columns are missing, or have types that encoders do not support.
        InputError: `ratings` is not a table, or has null ids, dates or ratings, repeated pairs, or
            only equal ratings. An id has two feature rows or, if features are given, none. The
            message shows some rows.
    """
    features = user_features, item_features
    if is_spark(ratings):
        from matchlake.recommender.matchbox.fit_on_spark import fit_on_spark  # noqa: PLC0415

        require_spark(user_features, "user_features")
        require_spark(item_features, "item_features")
        return fit_on_spark(ratings, features, params, encoders, checkpoint)
    return fit_table(ratings, features, params, encoders)


def fit(inputs: TrainingInputs, params: MatchboxParams, context: FitContext) -> "MatchboxModel":
    """Calls `fit_matchbox` for the registry; it does not resume, and ignores the callback."""
    return fit_matchbox(
        inputs.interactions,
        user_features=inputs.user_features,
        item_features=inputs.item_features,
        params=params,
        encoders=Encoders(*inputs.encoders),
        checkpoint=context.checkpoint,
    )
