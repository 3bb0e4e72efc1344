"""The body of an EASE fit: packed interactions in, histories and weights out, without Spark."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
import pyarrow as pa

from matchlake.engine.arrow import list_array, matrix_lists
from matchlake.engine.csr import Csr, csr_from_pairs
from matchlake.errors import InputError
from matchlake.recommender.baselines.kernels import Doubles, Floats, add_rows, rows_of
from matchlake.recommender.baselines.params import EaseParams
from matchlake.recommender.interaction_stats import VALUE, InteractionStats
from matchlake.recommender.packed_interactions import dense_places, unpack_pairs
from matchlake.recommender.sides import ITEM, KEYS, USER
from matchlake.schemas import ITEM_ID, USER_ID

USER_COLUMNS = ("n_interactions", "history", "values")
ITEM_COLUMNS = ("n_interactions", "weights")
_BATCH_BYTES = 16 << 20


def require_room(stats: InteractionStats, params: EaseParams) -> None:
    """Raises InputError if there are more than `max_items` items."""
    if stats.items > params.max_items:
        raise InputError(
            f"interactions have {stats.items} items, but max_items is {params.max_items}: EASE "
            "inverts a dense items x items matrix. Leave out rare items, "
            f"raise max_items if a task has {24 * stats.items**2 / 1e9:.1f} GB, or fit als."
        )


@dataclass(frozen=True)
class Task:
    """Interactions in, users' histories and items' weights out."""

    params: EaseParams

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """All rows of the fit in; the rows of users, then of items, out."""
        pairs = unpack_pairs(pa.Table.from_batches(list(batches))["data"])
        users, items = dense_places(pairs[USER_ID]), dense_places(pairs[ITEM_ID])
        shape = len(users.ids), len(items.ids)
        rows = csr_from_pairs(users.places, items.places, np.asarray(pairs[VALUE]), shape)
        ids = users.ids, items.ids
        for begin in range(0, shape[USER], _BATCH_BYTES // 1024):
            part = slice(begin, min(begin + _BATCH_BYTES // 1024, shape[USER]))
            bounds = rows.indptr[part.start : part.stop + 1]
            entries = slice(bounds[0], bounds[-1])
            yield _batch(
                USER,
                ids,
                part,
                np.diff(bounds),
                {
                    "history": list_array(bounds - bounds[0], rows.columns[entries]),
                    "values": list_array(bounds - bounds[0], rows.values[entries]),
                },
            )
        weights = ease_weights(rows, self.params)
        counts = np.bincount(rows.columns, minlength=shape[ITEM])
        step = max(1, _BATCH_BYTES // (4 * shape[ITEM]))
        for begin in range(0, shape[ITEM], step):
            part = slice(begin, min(begin + step, shape[ITEM]))
            yield _batch(ITEM, ids, part, counts[part], {"weights": matrix_lists(weights[part])})


def _batch(
    side: int, ids: tuple[pa.Array, pa.Array], part: slice, counts: Any, lists: dict[str, pa.Array]
) -> pa.RecordBatch:
    """Rows `part` of one side; absent columns are null."""
    size = part.stop - part.start
    kinds = {"history": pa.int32(), "values": pa.float32(), "weights": pa.float32()}
    nulls = {name: pa.nulls(size, pa.list_(kind)) for name, kind in kinds.items()}
    return pa.RecordBatch.from_pydict(
        {
            "side": pa.array(np.full(size, side, np.int32)),
            **{
                KEYS[n]: ids[n][part.start : part.stop]
                if n == side
                else pa.nulls(size, ids[n].type)
                for n in (USER, ITEM)
            },
            "idx": pa.array(np.arange(part.start, part.stop)),
            "n_interactions": pa.array(np.asarray(counts, np.int64)),
            **nulls,
            **lists,
        }
    )


def ease_weights(users: Csr, params: EaseParams) -> Floats:
    """Weights (items, items): row j holds the weights from item j to every item.

    With G = X'X, the penalties L = regularization + dropout / (1 - dropout) * diag(G), and C the
    inverse of G + diag(L), weight(j, i) = [j = i] - C_ji * s_i. The scale s_i makes the weight of
    item i for itself, 1 - C_ii * s_i, `max_self_weight`, or less if it is less by itself (s_i =
    L_i). Sources: Steck 2019 (EASE), Steck 2020 (EDLAE), Moon et al. 2023 (RDLAE).
    """
    gram = _gram(users)
    diagonal = np.diag_indices_from(gram)
    penalties = params.regularization + params.dropout / (1 - params.dropout) * gram[diagonal]
    gram[diagonal] += penalties
    inverse = np.linalg.inv(gram)
    own = inverse[diagonal]
    most = params.max_self_weight
    bounded = (most == 0.0) | (1 - own * penalties > most)
    scales = np.where(bounded, (1 - most) / own, penalties)
    inverse *= -scales
    inverse[diagonal] = np.where(bounded, most, 1 - own * scales)
    return inverse.astype(np.float32)


def _gram(users: Csr) -> Doubles:
    items = users.transpose()
    gram = np.zeros((users.width, users.width))

    def fill(target: int) -> None:
        own = slice(items.indptr[target], items.indptr[target + 1])
        add_rows(items.columns[own], items.values[own], rows_of(users), gram[target])

    with ThreadPoolExecutor(numba.config.NUMBA_NUM_THREADS) as pool:
        list(pool.map(fill, range(users.width)))
    return gram
