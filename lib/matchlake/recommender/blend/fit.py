"""`fit_blend`: several models, and the weights of their lists."""

from typing import TYPE_CHECKING, Any, overload

import numpy as np
import pyarrow as pa

from matchlake.engine.frames import Rows, is_spark
from matchlake.engine.xxhash64 import xxhash64
from matchlake.recommender.blend.members import fit_members
from matchlake.recommender.blend.numpy_model import Member, NumpyBlendModel, blend_of
from matchlake.recommender.blend.params import BLEND, BlendParams
from matchlake.recommender.blend.weights import choose_weights, require_measurable
from matchlake.recommender.checkpoint import Checkpointer, local_checkpoint
from matchlake.recommender.protocol import FitContext, TrainingInputs
from matchlake.recommender.split.dispatch import split
from matchlake.recommender.table_interactions import WHAT
from matchlake.recommender.tables import read_interactions
from matchlake.schemas import USER_ID

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

    from matchlake.recommender.blend.model import BlendModel


@overload
def fit_blend(  # type: ignore[overload-overlap]
    interactions: "DataFrame",
    params: BlendParams = BLEND,
    *,
    checkpoint: Checkpointer = local_checkpoint,
) -> "BlendModel": ...


@overload
def fit_blend(interactions: Rows, params: BlendParams = BLEND) -> NumpyBlendModel: ...


def fit_blend(
    interactions: Any,
    params: BlendParams = BLEND,
    *,
    checkpoint: Checkpointer = local_checkpoint,
) -> Any:
    """Fits `params.models`, and the weights that fuse their lists.

    The lists of the models are fused by weighted reciprocal ranks (Cormack et al. 2009): the score
    of an item is the sum over models of weight / (rank_constant + rank). The fit splits off a
    validation part, fits the models to the rest, and chooses the weights by the NDCG on the
    validation part. Then it fits the models again to all interactions.

    It reads the columns of its models, and `event_time` unless `params.split` is `random`. A Spark
    frame gives a `BlendModel`; a table or a sparse matrix gives a `NumpyBlendModel`, without Spark.
    Raises InputError if nothing can be measured on the validation part, and the errors of the fits.

    On Spark it starts the actions of every model's fit twice, and a checkpoint of both parts. One
    job per model collects the lists of up to `params.validation_users` users, and one job their
    pairs. A checkpoint and a small action follow for users, and for items.
    """
    inputs = TrainingInputs(interactions)
    if is_spark(interactions):
        return fit(inputs, params, FitContext(checkpoint))
    return _fit_table(inputs, params)


def fit(inputs: TrainingInputs, params: BlendParams, context: FitContext) -> "BlendModel":
    """Calls `fit_blend` for the registry; features are passed to the models that read them."""
    from matchlake.recommender.blend.fit_on_spark import fit_on_spark  # noqa: PLC0415

    return fit_on_spark(inputs, params, context)


def _fit_table(inputs: TrainingInputs, params: BlendParams) -> NumpyBlendModel:
    train, held = split(inputs.interactions, params.validation)
    truth = read_interactions(held, (), WHAT).drop_null()
    require_measurable(truth.num_rows)
    seen = read_interactions(train, (), WHAT)
    users = pa.table({USER_ID: _drawn(truth[USER_ID].unique(), params)})
    models = fit_members(inputs._replace(interactions=train), params, local_checkpoint)
    lists = [m.recommend_items(users, params.depth, exclude_seen=seen) for m in models.values()]
    measured = truth.join(users, USER_ID, join_type="left semi")
    weights = choose_weights(lists, measured, params)
    models = fit_members(inputs, params, local_checkpoint)
    members = {
        name: Member(model, weight)
        for (name, model), weight in zip(models.items(), weights, strict=True)
    }
    return blend_of(members, params)


def _drawn(users: pa.Array, params: BlendParams) -> pa.Array:
    """Returns the measured users: those with the smallest hashes, as `parts.draw` on Spark."""
    hashes = xxhash64(("user", params.seed), [pa.chunked_array([users])]) >> np.uint64(11)
    return users.take(pa.array(np.argsort(hashes, kind="stable")[: params.validation_users]))
