"""`ranking_metrics` of tables, without Spark."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from matchlake.engine.csr import Ints
from matchlake.engine.frames import as_given
from matchlake.recommender.metrics.params import RankingParams
from matchlake.recommender.metrics.table_lists import (
    LISTS,
    TRUTH,
    Lists,
    Truth,
    ranked,
    read_lists,
    read_truth,
    true_items,
)
from matchlake.recommender.metrics.table_shape import (
    Figure,
    Flags,
    common_codes,
    figures_table,
    mean_figure,
)
from matchlake.recommender.tables import Doubles, sums_of
from matchlake.schemas import ITEM_ID, USER_ID


def ranking_table(recommendations: Any, truth: Any, params: RankingParams) -> Any:
    """`ranking_metrics` of tables."""
    listed, keys = read_lists(recommendations)
    true, values = read_truth(truth, params)
    both = (listed, LISTS), (true, TRUTH)
    own, users = common_codes(USER_ID, *both)
    theirs, items = common_codes(ITEM_ID, *both)
    lists = ranked(own, theirs, keys, max(params.ks))
    measured = _Measured.of(lists, true_items(users, items, values, params))
    figures = [figure for k in params.ks for figure in measured.figures(k)]
    return as_given(figures_table(figures), recommendations)


class _Hits(NamedTuple):
    """Recommended items that are true, by user, then by place."""

    users: Ints
    places: Ints
    gains: Doubles
    relevant: Flags


class _Measured(NamedTuple):
    """The users of the truth, numbered from 0: relevant items, gains from high to low, hits."""

    n_relevant: Ints
    gain_users: Ints
    gain_places: Ints
    gains: Doubles
    hits: _Hits

    @classmethod
    def of(cls, lists: Lists, truth: Truth) -> "_Measured":
        """Joins the lists and the truth."""
        every, users = np.unique(truth.users, return_inverse=True)
        order = np.lexsort((-truth.gains, users))
        width = int(max(lists.items.max(initial=0), truth.items.max(initial=0))) + 1
        pairs = truth.users * width + truth.items
        wanted = lists.users * width + lists.items
        at = np.minimum(np.searchsorted(pairs, wanted), max(0, len(pairs) - 1))
        found = pairs[at] == wanted if len(pairs) else np.zeros(len(wanted), bool)
        row = at[found]
        hits = _Hits(users[row], lists.places[found], truth.gains[row], truth.relevant[row])
        starts = np.searchsorted(users[order], users[order])
        return cls(
            np.bincount(users[truth.relevant], minlength=len(every)),
            users[order],
            np.arange(len(order)) - starts + 1,
            truth.gains[order],
            hits,
        )

    def figures(self, k: int) -> Iterator[Figure]:
        """Yields the means over the users at one k."""
        relevant, size = self.n_relevant, len(self.n_relevant)
        mine = self.hits.relevant & (self.hits.places <= k)
        users, places = self.hits.users[mine], self.hits.places[mine]
        count = np.bincount(users, minlength=size)
        # if the i-th hit is at position p, i of the first p items are relevant
        numbers = np.arange(len(users)) - np.searchsorted(users, users) + 1
        first = numbers == 1
        with np.errstate(divide="ignore", invalid="ignore"):
            values = {
                "precision": count / k,
                "recall": count / relevant,
                "hit_rate": (count > 0).astype(np.float64),
                "map": sums_of(users, numbers / places, size) / np.minimum(relevant, k),
                "mrr": sums_of(users[first], 1.0 / places[first], size),
            }
        for name, value in values.items():
            yield mean_figure(name, value, relevant > 0, k)
        best, gained = self._discounted(k)
        with np.errstate(divide="ignore", invalid="ignore"):
            yield mean_figure("ndcg", gained / best, best > 0, k)

    def _discounted(self, k: int) -> tuple[Doubles, Doubles]:
        """Returns the discounted gain of the best order of all true items, and of the list."""
        size, short, hit = len(self.n_relevant), self.gain_places <= k, self.hits.places <= k
        best = sums_of(
            self.gain_users[short],
            self.gains[short] / np.log2(self.gain_places[short] + 1),
            size,
        )
        gained = sums_of(
            self.hits.users[hit], self.hits.gains[hit] / np.log2(self.hits.places[hit] + 1), size
        )
        return best, gained
