"""The task of an EASE fit: reads packed interactions, returns histories and weights."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numba
import numpy as np
import pyarrow as pa

from matchlake.engine.arrow import matrix_lists
from matchlake.engine.csr import Csr
from matchlake.errors import InputError
from matchlake.recommender.interaction_stats import InteractionStats
from matchlake.recommender.linear.kernels import Doubles, Floats, add_rows, rows_of
from matchlake.recommender.linear.pairs import (
    filled,
    id_kinds,
    item_counts,
    matrix_of_packed,
    side_columns,
    user_batches,
)
from matchlake.recommender.linear.params import EaseParams
from matchlake.recommender.sides import ITEM

ITEM_COLUMNS = ("n_interactions", "weights")
_BATCH_BYTES = 16 << 20


def require_room(stats: InteractionStats, params: EaseParams) -> None:
    """Raises InputError if there are more than `max_items` items."""
    if stats.items > params.max_items:
        raise InputError(
            f"interactions have {stats.items} items, but max_items is {params.max_items}: EASE "
            "inverts a dense items x items matrix. Remove rare items, raise max_items if a task "
            f"has {24 * stats.items**2 / 1e9:.1f} GB, or fit slim."
        )


@dataclass(frozen=True)
class Task:
    """The function of the task: reads interactions, returns users' histories and items' weights."""

    params: EaseParams

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Reads all rows of the fit; yields the rows of users, then of items."""
        matrix = matrix_of_packed(pa.Table.from_batches(list(batches))["data"])
        kinds = id_kinds(matrix) | {"weights": pa.list_(pa.float32())}
        for columns in user_batches(matrix):
            yield filled(columns, kinds)
        weights, counts = ease_weights(matrix.rows, self.params), item_counts(matrix)
        step = max(1, _BATCH_BYTES // (4 * len(counts)))
        for begin in range(0, len(counts), step):
            part = slice(begin, min(begin + step, len(counts)))
            columns = side_columns(matrix, ITEM, part, counts[part])
            yield filled(columns | {"weights": matrix_lists(weights[part])}, kinds)


def ease_weights(users: Csr, params: EaseParams) -> Floats:
    """Returns weights (items, items); row j has the weights from item j to every item.

    weight(j, i) = [j = i] - C_ji * s_i, where C is the inverse of X'X + diag(L). The penalties are
    L = regularization + dropout / (1 - dropout) * diag(X'X). With s_i = L_i, item i has the weight
    1 - C_ii * s_i for itself. If this exceeds `max_self_weight`, s_i is increased until both are
    equal. Sources: Steck 2019 (EASE), Steck 2020 (EDLAE), Moon et al. 2023 (RDLAE).
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
