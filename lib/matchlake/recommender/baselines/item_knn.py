"""The item-kNN baseline: an item is scored by how like it is to what the user met."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numba
import numpy as np
import pyarrow as pa
from pydantic import Field
from pyspark.sql import DataFrame

from matchlake.engine.arrow import list_array
from matchlake.engine.csr import Csr, csr_from_pairs
from matchlake.recommender.baselines.histories import (
    COLUMNS,
    ITEM_IDX,
    STRENGTHS,
    csr_of,
    histories,
)
from matchlake.recommender.baselines.item_scores import TARGETS, WEIGHTS
from matchlake.recommender.baselines.item_weights import ItemWeightModel, ItemWeightParams
from matchlake.recommender.baselines.kernels import (
    Doubles,
    Positions,
    add_rows,
    largest,
    rows_of,
)
from matchlake.recommender.checkpoint import Cut, keep_locally

_SCHEMA = f"{ITEM_IDX} int, {TARGETS} array<int>, {WEIGHTS} array<float>"

_PIECES = 64


class ItemKnnParams(ItemWeightParams):
    """How items are compared, and how many of them count."""

    neighbours: int = Field(100, ge=1)
    """Most like items that score an item."""
    shrinkage: float = Field(10.0, ge=0)
    """Added to the cosine's denominator: pulls down what rests on few users."""


def fit_item_knn(
    interactions: DataFrame, params: ItemKnnParams | None = None, *, cut: Cut = keep_locally
) -> ItemWeightModel:
    """Compares items by their users: cosine(i, j) = x_i.x_j / (|x_i| |x_j| + shrinkage).

    Reads `user_id`, `item_id` and the `value_column`. Every item keeps its `neighbours` of
    highest, positive cosine, ties by item id (Deshpande and Karypis 2004). One task compares all
    items: 16 bytes an interaction of memory, and as many additions as the squared lengths of the
    histories come to. Starts what `cut` starts, for ids, items, users and weights, and a count.
    """
    params = params or ItemKnnParams()
    data = histories(interactions, params.value_column, cut)
    rows = data.users.select(COLUMNS, STRENGTHS).repartition(1)
    weights = cut(rows.mapInArrow(_Neighbours(data.size, params), _SCHEMA))
    return ItemWeightModel(data.users, data.items, weights, data.size, params)


@dataclass(frozen=True)
class _Neighbours:
    """The body of the one task: histories in, every item's weights out."""

    size: int
    params: ItemKnnParams

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        users = csr_of(pa.Table.from_batches(list(batches)), COLUMNS, STRENGTHS, self.size)
        weights = item_cosines(users, self.params.neighbours, self.params.shrinkage)
        yield pa.RecordBatch.from_arrays(
            [
                pa.array(np.arange(self.size, dtype=np.int32)),
                list_array(weights.indptr, weights.columns),
                list_array(weights.indptr, weights.values),
            ],
            names=[ITEM_IDX, TARGETS, WEIGHTS],
        )


def item_cosines(users: Csr, neighbours: int, shrinkage: float) -> Csr:
    """Shrunk cosines: row j has the items that count j among their `neighbours`, by item."""
    items = users.transpose()
    squares = np.bincount(users.columns, users.values.astype(np.float64) ** 2, users.width)
    norms = np.sqrt(squares)

    def nearest(targets: Positions) -> list[tuple[Positions, Doubles]]:
        return [_nearest(target, users, items, norms, neighbours, shrinkage) for target in targets]

    pieces = np.array_split(np.arange(users.width, dtype=np.int32), min(_PIECES, users.width))
    with ThreadPoolExecutor(numba.config.NUMBA_NUM_THREADS) as pool:
        found = [entry for piece in pool.map(nearest, pieces) for entry in piece]
    targets = np.repeat(np.arange(len(found), dtype=np.int32), [len(near) for near, _ in found])
    starts = np.concatenate([near for near, _ in found])
    cosines = np.concatenate([values for _, values in found]).astype(np.float32)
    return csr_from_pairs(starts, targets, cosines, (users.width, users.width))


def _nearest(
    target: int, users: Csr, items: Csr, norms: Doubles, neighbours: int, shrinkage: float
) -> tuple[Positions, Doubles]:
    products = np.zeros(users.width)
    who = slice(items.indptr[target], items.indptr[target + 1])
    add_rows(items.columns[who], items.values[who], rows_of(users), products)
    lengths = norms * norms[target] + shrinkage
    cosines = np.divide(products, lengths, out=np.zeros_like(products), where=lengths > 0)
    chosen = cosines > 0
    chosen[target] = False
    near = largest(cosines, chosen, neighbours)
    return near, cosines[near]
