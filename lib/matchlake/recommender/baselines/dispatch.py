"""`fit_popularity` and `fit_bias`: on Spark frames, or on tables without Spark."""

from typing import TYPE_CHECKING, Any, overload

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from matchlake.engine.csr import Ints
from matchlake.engine.frames import Rows, is_spark
from matchlake.errors import InputError
from matchlake.recommender.baselines.numpy_bias import (
    NumpyBiases,
    NumpyBiasModel,
    NumpyPopularityModel,
    load_numpy,
)
from matchlake.recommender.baselines.params import BIAS, POPULARITY, BiasParams, PopularityParams
from matchlake.recommender.checkpoint import Checkpointer, local_checkpoint
from matchlake.recommender.protocol import FitContext, ModelParts, TrainingInputs
from matchlake.recommender.sides import KEYS
from matchlake.recommender.table_interactions import WHAT
from matchlake.recommender.tables import Doubles, codes_of, numbers, read_interactions, sums_of
from matchlake.schemas import ITEM_ID, RATING, USER_ID

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

    from matchlake.recommender.baselines.bias import BiasModel
    from matchlake.recommender.baselines.popularity import PopularityModel


@overload
def fit_popularity(  # type: ignore[overload-overlap]
    interactions: "DataFrame",
    params: PopularityParams = POPULARITY,
    *,
    checkpoint: Checkpointer = local_checkpoint,
) -> "PopularityModel": ...


@overload
def fit_popularity(
    interactions: Rows, params: PopularityParams = POPULARITY
) -> NumpyPopularityModel: ...


def fit_popularity(
    interactions: Any,
    params: PopularityParams = POPULARITY,
    *,
    checkpoint: Checkpointer = local_checkpoint,
) -> Any:
    """Counts the distinct users of each `item_id` in `interactions`, or sums a column.

    Rows with a null in one of these columns are ignored. A Spark frame gives a `PopularityModel`:
    it starts one checkpoint and one small action each for items and for users. A table of pandas,
    Polars or Arrow, or a sparse matrix, gives a `NumpyPopularityModel` without Spark.
    """
    if is_spark(interactions):
        from matchlake.recommender.baselines import popularity  # noqa: PLC0415 - brings Spark

        return popularity.fit_popularity(interactions, params, checkpoint=checkpoint)
    column = params.value_column
    table = read_interactions(interactions, () if column is None else (column,), WHAT)
    _require_rows(table)
    complete = np.asarray(pc.is_valid(table[USER_ID])) & np.asarray(pc.is_valid(table[ITEM_ID]))
    users, user_ids = codes_of(table[USER_ID])
    values = np.ones(table.num_rows)
    if column is not None:
        values = numbers(table[column], column, WHAT)
    pairs = table.filter(pa.array(complete & ~np.isnan(values)))
    items, item_ids = codes_of(pairs[ITEM_ID])
    met = _distinct(items, codes_of(pairs[USER_ID])[0], len(item_ids))
    scores = met.astype(np.float64)
    if column is not None:
        scores = sums_of(items, numbers(pairs[column], column, WHAT), len(item_ids))
    every = codes_of(table[ITEM_ID])[0]
    sizes = _distinct(users, every, len(user_ids))
    sides = _rows(user_ids, np.zeros(len(user_ids)), sizes, 0), _rows(item_ids, scores, met, 1)
    return load_numpy(ModelParts(*sides, params, values={"mean": 0.0}))


def train_popularity(inputs: TrainingInputs, params: PopularityParams, context: FitContext) -> Any:
    """Calls `fit_popularity`; the registry names this function."""
    return fit_popularity(inputs.interactions, params, checkpoint=context.checkpoint)


@overload
def fit_bias(  # type: ignore[overload-overlap]
    interactions: "DataFrame",
    params: BiasParams = BIAS,
    *,
    checkpoint: Checkpointer = local_checkpoint,
) -> "BiasModel": ...


@overload
def fit_bias(interactions: Rows, params: BiasParams = BIAS) -> NumpyBiasModel: ...


def fit_bias(
    interactions: Any,
    params: BiasParams = BIAS,
    *,
    checkpoint: Checkpointer = local_checkpoint,
) -> Any:
    """Learns biases from `user_id`, `item_id` and `rating`; null ratings are ignored.

    Least squares: sum (rating - mean - user - item)^2 + regularization * sum of squared biases of
    each side. It is solved for one side at a time (Koren and Bell 2011, section 5.2.1). A Spark
    frame gives a `BiasModel`: it starts one job for the mean, and one checkpoint with a small
    action each for items and for users. A table of pandas, Polars or Arrow, or a sparse matrix,
    gives a `NumpyBiasModel` without Spark.
    """
    if is_spark(interactions):
        from matchlake.recommender.baselines import bias  # noqa: PLC0415 - brings Spark

        return bias.fit_bias(interactions, params, checkpoint=checkpoint)
    table = read_interactions(interactions, (RATING,), WHAT)
    _require_rows(table)
    ratings = pa.array(numbers(table[RATING], RATING, WHAT), from_pandas=True)
    table = table.set_column(2, RATING, ratings).drop_null()
    if not table.num_rows:
        raise InputError("interactions have no rating, but a bias model needs at least one.")
    return _fit_bias(table, params)


def train_bias(inputs: TrainingInputs, params: BiasParams, context: FitContext) -> Any:
    """Calls `fit_bias`; the registry names this function."""
    return fit_bias(inputs.interactions, params, checkpoint=context.checkpoint)


def _fit_bias(table: pa.Table, params: BiasParams) -> NumpyBiases:
    (users, user_ids), (items, item_ids) = (codes_of(table[key]) for key in KEYS)
    values = table[RATING].to_numpy()
    mean = float(values.mean())
    rests = values - mean
    counts = np.bincount(users), np.bincount(items)
    weights = counts[0] + params.user_regularization, counts[1] + params.item_regularization
    sizes = len(user_ids), len(item_ids)
    item_bias = sums_of(items, rests, sizes[1]) / weights[1]
    for left in reversed(range(params.iterations)):
        user_bias = sums_of(users, rests - item_bias[items], sizes[0]) / weights[0]
        if left:
            item_bias = sums_of(items, rests - user_bias[users], sizes[1]) / weights[1]
    sides = _rows(user_ids, user_bias, counts[0], 0), _rows(item_ids, item_bias, counts[1], 1)
    return load_numpy(ModelParts(*sides, params, values={"mean": mean}))


def _rows(ids: pa.Array, bias: Doubles, counts: Ints, side: int) -> pa.Table:
    return pa.table(
        {KEYS[side]: ids, "bias": pa.array(bias), "n_interactions": pa.array(counts, pa.int64())}
    )


def _distinct(groups: Ints, values: Ints, size: int) -> Ints:
    """Returns the number of distinct values of each group; ignores null."""
    known = (groups >= 0) & (values >= 0)
    width = int(values.max(initial=0)) + 1
    pairs = np.unique(groups[known] * width + values[known])
    return np.bincount(pairs // width, minlength=size)


def _require_rows(table: pa.Table) -> None:
    if not table.num_rows:
        raise InputError("There are no interactions to fit: the table is empty.")
