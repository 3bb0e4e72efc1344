"""Chooses the weights of models by their ranking on a validation part."""

import itertools
import logging
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from matchlake.engine.csr import Ints
from matchlake.errors import InputError
from matchlake.recommender.blend.params import BlendParams
from matchlake.recommender.tables import codes_of
from matchlake.schemas import ITEM_ID, RANK, USER_ID

_log = logging.getLogger(__name__)

Doubles = npt.NDArray[np.float64]


def choose_weights(
    lists: Sequence[pa.Table], truth: pa.Table, params: BlendParams
) -> tuple[float, ...]:
    """Returns one weight per model, from its lists (`user_id`, `rank`, `item_id`).

    `truth` has the pairs (`user_id`, `item_id`) of the validation part. All lists are for the same
    users. The weights with the highest NDCG at `params.k` win; if several are equal, the most even
    weights. Raises InputError if no user has both a list and a pair.
    """
    require_measurable(truth.num_rows and sum(table.num_rows for table in lists))
    sizes = [table.num_rows for table in (*lists, truth)]
    ends = np.cumsum([0, *sizes])
    # casts ids, because models may return 64-bit ids for 32-bit ids
    tables = [*(table.select(truth.column_names).cast(truth.schema) for table in lists), truth]
    whole = pa.concat_tables(tables)
    users, items = (codes_of(whole[name])[0] for name in (USER_ID, ITEM_ID))
    pairs = users * (int(items.max(initial=0)) + 1) + items
    listed = np.unique(pairs[: ends[-2]])
    parts = np.zeros((len(lists), len(listed)))
    for number, table in enumerate(lists):
        rows = np.searchsorted(listed, pairs[ends[number] : ends[number + 1]])
        ranks = np.asarray(table[RANK], np.float64)
        parts[number, rows] = 1.0 / (params.rank_constant + ranks)
    true = np.unique(pairs[ends[-2] :])
    width = int(items.max(initial=0)) + 1
    measured = _Measured(listed, true, width, params.k)
    tried = sorted(_simplex(len(lists), params.steps), key=lambda each: sum(w * w for w in each))
    figures = [measured.ndcg(np.asarray(each) @ parts) for each in tried]
    best = int(np.argmax(figures))
    _log.info("weights %s: NDCG at %d is %.4f", tried[best], params.k, figures[best])
    return tried[best]


def require_measurable(rows: int) -> None:
    """Raises InputError if there are no `rows`."""
    if not rows:
        raise InputError(
            "Nothing can be measured on the validation part of the blend: no user has both a "
            "list and "
            "an interaction there. Raise validation_fraction, or fit a blend to more interactions."
        )


def _simplex(count: int, steps: int) -> Iterator[tuple[float, ...]]:
    """Yields all weights that are multiples of 1 / steps and add up to 1."""
    for bars in itertools.combinations(range(steps + count - 1), count - 1):
        marks = [-1, *bars, steps + count - 1]
        yield tuple((b - a - 1) / steps for a, b in itertools.pairwise(marks))


class _Measured:
    """The pairs of the lists, which of them are true, and the best possible DCG of each user."""

    def __init__(self, listed: Ints, true: Ints, width: int, k: int) -> None:
        self._owners, self._hits = listed // width, np.isin(listed, true)
        self._k, users = k, np.unique(true // width)
        discounts = np.concatenate([[0.0], np.cumsum(1 / np.log2(np.arange(k) + 2))])
        counts = np.bincount(np.searchsorted(users, true // width))
        place = np.searchsorted(users, self._owners)
        place = np.minimum(place, len(users) - 1)
        self._measured = users[place] == self._owners
        self._ideal = discounts[np.minimum(counts, k)][place]
        self._users = len(users)

    def ndcg(self, scores: Doubles) -> float:
        """Returns the mean NDCG over the users of the truth; users without a list have 0."""
        order = np.lexsort((-scores, self._owners))
        owners = self._owners[order]
        place = np.arange(len(order)) - np.searchsorted(owners, owners)
        gained = (place < self._k) & self._hits[order] & self._measured[order]
        gains = 1 / np.log2(place[gained] + 2) / self._ideal[order][gained]
        return float(gains.sum() / self._users)
