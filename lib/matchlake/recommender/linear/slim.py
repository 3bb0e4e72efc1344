"""`fit_slim`: sparse item-item weights, for catalogues of any size."""

from typing import TYPE_CHECKING, Any, overload

import numba
import numpy as np
import pyarrow as pa

from matchlake.engine.frames import Rows, is_spark
from matchlake.recommender.checkpoint import Checkpointer, local_checkpoint
from matchlake.recommender.linear.numpy_model import NumpyLinearModel, load_numpy
from matchlake.recommender.linear.pairs import (
    item_counts,
    matrix_of_packed,
    pack_rows,
    side_columns,
    user_batches,
)
from matchlake.recommender.linear.params import SLIM, SlimParams
from matchlake.recommender.linear.slim_solver import slim_weights
from matchlake.recommender.linear.slim_task import weight_columns
from matchlake.recommender.protocol import FitContext, ModelParts, TrainingInputs
from matchlake.recommender.sides import ITEM

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

    from matchlake.recommender.linear.model import SlimModel


@overload
def fit_slim(  # type: ignore[overload-overlap]
    interactions: "DataFrame",
    params: SlimParams = SLIM,
    *,
    checkpoint: Checkpointer = local_checkpoint,
) -> "SlimModel": ...


@overload
def fit_slim(interactions: Rows, params: SlimParams = SLIM) -> NumpyLinearModel: ...


def fit_slim(
    interactions: Any,
    params: SlimParams = SLIM,
    *,
    checkpoint: Checkpointer = local_checkpoint,
) -> Any:
    """Learns sparse item-item weights by coordinate descent (SLIM).

    See `slim_weights` for the objective (Ning and Karypis 2011). It reads `user_id`, `item_id` and
    the `value_column`; rows with nulls are ignored, and repeated pairs are summed. A Spark frame
    gives a `SlimModel`; a pandas, Polars or Arrow table, or a sparse matrix of SciPy, gives a
    `NumpyLinearModel`, and needs no Spark. The weights are equal for any number of partitions and
    threads.

    On Spark, one task numbers the ids. Then every task gets all interactions and fits some of the
    items. The fit starts three checkpoints: of the interactions, of the numbered interactions and
    of the items; and two small actions. Raises InputError for values that are not finite.
    """
    if is_spark(interactions):
        from matchlake.recommender.linear.slim_on_spark import fit_on_spark  # noqa: PLC0415

        return fit_on_spark(interactions, params, checkpoint)
    packed, _ = pack_rows(interactions, params.value_column)
    matrix = matrix_of_packed(packed["data"])
    targets = np.arange(matrix.rows.width, dtype=np.int32)
    threads = params.threads or numba.config.NUMBA_NUM_THREADS
    weights = slim_weights(matrix.rows, params, targets, threads)
    users = pa.concat_tables([pa.table(columns) for columns in user_batches(matrix)])
    part = slice(0, len(targets))
    columns = side_columns(matrix, ITEM, part, item_counts(matrix))
    items = pa.table(columns | weight_columns(weights))
    return load_numpy(ModelParts(users, items, params))


def fit(inputs: TrainingInputs, params: SlimParams, context: FitContext) -> "SlimModel":
    """Calls `fit_slim`; the registry names this function."""
    return fit_slim(inputs.interactions, params, checkpoint=context.checkpoint)
