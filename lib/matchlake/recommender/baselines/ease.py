"""EASE: the linear item-item model that is hard to beat on small catalogues."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numba
import numpy as np
import pyarrow as pa
from pydantic import Field
from pyspark.sql import DataFrame

from matchlake.engine.arrow import list_array
from matchlake.engine.csr import Csr
from matchlake.errors import InputError
from matchlake.recommender.baselines.histories import (
    COLUMNS,
    ITEM_IDX,
    STRENGTHS,
    csr_of,
    histories,
)
from matchlake.recommender.baselines.item_scores import TARGETS, WEIGHTS
from matchlake.recommender.baselines.item_weights import ItemWeightModel, ItemWeightParams
from matchlake.recommender.baselines.kernels import Doubles, Floats, add_rows, rows_of
from matchlake.recommender.checkpoint import Cut, keep_locally

_SCHEMA = f"{ITEM_IDX} int, {TARGETS} array<int>, {WEIGHTS} array<float>"

_BATCH_BYTES = 16 << 20


class EaseParams(ItemWeightParams):
    """How strongly EASE holds back, and how many items it may have."""

    regularization: float = Field(250.0, gt=0)
    """Ridge penalty on the weights, in units of squared strength: users, without a strength."""
    max_items: int = Field(10_000, ge=1, le=40_000)
    """More items than this are refused: the fit takes 24 bytes times their square, 2.4 GB."""
    tasks: int = Field(2, ge=1)
    """Tasks among which users are scored; every one gets all weights, 4 bytes an item squared."""


def fit_ease(
    interactions: DataFrame, params: EaseParams | None = None, *, cut: Cut = keep_locally
) -> ItemWeightModel:
    """Learns the weights of every item for every other in closed form (Steck 2019).

    With G = X'X + regularization * I and P its inverse, weight(j, i) = -P_ji / P_ii, and 0 from
    an item to itself. Reads `user_id`, `item_id` and the `value_column`. One task holds the dense
    matrix. Starts what `cut` starts, for ids, items, users and weights, and a count. Raises
    InputError where there are more than `max_items` items.
    """
    params = params or EaseParams()
    data = histories(interactions, params.value_column, cut)
    if data.size > params.max_items:
        raise InputError(
            f"interactions have {data.size} items, EASE takes {params.max_items} at most "
            f"(max_items), since it inverts a dense items x items matrix. Leave out rare items, "
            f"raise max_items where a task has {24 * data.size**2 / 1e9:.1f} GB, or fit item-kNN."
        )
    rows = data.users.select(COLUMNS, STRENGTHS).repartition(1)
    weights = cut(rows.mapInArrow(_Ease(data.size, params.regularization), _SCHEMA))
    return ItemWeightModel(data.users, data.items, weights, data.size, params)


@dataclass(frozen=True)
class _Ease:
    """The body of the one task: histories in, every item's weights out."""

    size: int
    regularization: float

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        users = csr_of(pa.Table.from_batches(list(batches)), COLUMNS, STRENGTHS, self.size)
        weights = ease_weights(users, self.regularization)
        step = max(1, _BATCH_BYTES // (4 * self.size))
        for start in range(0, self.size, step):
            part = weights[start : start + step]
            bounds = np.arange(0, part.size + 1, self.size, dtype=np.int64)
            items = np.arange(start, start + len(part), dtype=np.int32)
            columns = [
                pa.array(items),
                pa.nulls(len(part), pa.list_(pa.int32())),
                list_array(bounds, part.ravel()),
            ]
            yield pa.RecordBatch.from_arrays(columns, names=[ITEM_IDX, TARGETS, WEIGHTS])


def ease_weights(users: Csr, regularization: float) -> Floats:
    """Weights (items, items): row j holds those from item j to every item."""
    inverse = np.linalg.inv(_gram(users, regularization))
    diagonal = inverse.diagonal().copy()
    inverse /= -diagonal
    np.fill_diagonal(inverse, 0.0)
    return inverse.astype(np.float32)


def _gram(users: Csr, regularization: float) -> Doubles:
    items = users.transpose()
    gram = np.zeros((users.width, users.width))

    def fill(target: int) -> None:
        who = slice(items.indptr[target], items.indptr[target + 1])
        add_rows(items.columns[who], items.values[who], rows_of(users), gram[target])

    with ThreadPoolExecutor(numba.config.NUMBA_NUM_THREADS) as pool:
        list(pool.map(fill, range(users.width)))
    gram[np.diag_indices_from(gram)] += regularization
    return gram
