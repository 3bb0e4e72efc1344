"""`fit_ease` fits a linear item-item model, which is accurate on small catalogues."""

from typing import TYPE_CHECKING, Any, overload

import pyarrow as pa
import pyarrow.compute as pc

from matchlake.engine.frames import Rows, is_spark
from matchlake.recommender.checkpoint import Checkpointer, local_checkpoint
from matchlake.recommender.linear.ease_task import Task, require_room
from matchlake.recommender.linear.numpy_model import NumpyLinearModel, load_numpy
from matchlake.recommender.linear.pairs import pack_rows
from matchlake.recommender.linear.params import EASE, EaseParams
from matchlake.recommender.protocol import FitContext, ModelParts, TrainingInputs
from matchlake.recommender.sides import ITEM, USER

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

    from matchlake.recommender.linear.model import EaseModel


@overload
def fit_ease(  # type: ignore[overload-overlap]
    interactions: "DataFrame",
    params: EaseParams = EASE,
    *,
    checkpoint: Checkpointer = local_checkpoint,
) -> "EaseModel": ...


@overload
def fit_ease(interactions: Rows, params: EaseParams = EASE) -> NumpyLinearModel: ...


def fit_ease(
    interactions: Any,
    params: EaseParams = EASE,
    *,
    checkpoint: Checkpointer = local_checkpoint,
) -> Any:
    """Learns the weights of every item for every other item in closed form (Steck 2019).

    With G = X'X + regularization * I and P its inverse, weight(j, i) = -P_ji / P_ii, and 0 from an
    item to itself. `dropout` and `max_self_weight` give the extensions EDLAE and RDLAE; see
    `ease_weights` for the formulas. It reads `user_id`, `item_id` and the `value_column`; rows with
    nulls are ignored, and repeated pairs are summed. A Spark frame gives an `EaseModel`; a pandas,
    Polars or Arrow table, or a sparse matrix of SciPy, gives a `NumpyLinearModel`, and needs no
    Spark.

    On Spark, one task holds the dense matrix. The fit starts a checkpoint of the interactions and a
    checkpoint of the model, each with a small action. Raises InputError if there are more than
    `max_items` items.
    """
    if is_spark(interactions):
        from matchlake.recommender.linear.ease_on_spark import fit_on_spark  # noqa: PLC0415

        return fit_on_spark(interactions, params, checkpoint)
    return _fit_table(interactions, params)


def fit(inputs: TrainingInputs, params: EaseParams, context: FitContext) -> "EaseModel":
    """Calls `fit_ease`; the registry names this function."""
    return fit_ease(inputs.interactions, params, checkpoint=context.checkpoint)


def _fit_table(interactions: Any, params: EaseParams) -> NumpyLinearModel:
    packed, stats = pack_rows(interactions, params.value_column)
    require_room(stats, params)
    state = pa.Table.from_batches(list(Task(params)(iter(packed.combine_chunks().to_batches()))))
    users, items = (state.filter(pc.equal(state["side"], side)) for side in (USER, ITEM))
    return load_numpy(ModelParts(users, items, params))
