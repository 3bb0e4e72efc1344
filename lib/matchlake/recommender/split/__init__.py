"""Cuts interactions in a training and a test part: lazily, and alike on every run.

Chance comes from a hash of the seed and the ids. So a part depends on nothing but the rows
themselves: not on their order, their partitions or the cluster; both rows of a (user, item) pair
that comes twice fall alike; and a user or item drawn once stays drawn when rows are added. The
price is that a drawn share is an expectation: a tenth of 1,000 users is 100 give or take 9.5.
The same id as a string and as an integer hashes differently. A part that was drawn is cut again,
for validation, with another seed: with the same one the second cut finds nothing.

Where rows have an order (by time, within a user), rows alike in user, item and time are one event
and stay together. Ties in time are broken by the hash, then by item id. A null time is the oldest.
Shares of a count are rounded half up, and every user keeps one event at least for training.
"""

from pyspark.sql import DataFrame

from matchlake.recommender.split.drawn import split_cold_items, split_cold_users, split_random
from matchlake.recommender.split.mixed import split_recommender
from matchlake.recommender.split.params import SplitKind, SplitParams
from matchlake.recommender.split.parts import Split
from matchlake.recommender.split.timed import (
    split_from,
    split_last_n,
    split_time,
    split_user_time,
)

__all__ = [
    "Split",
    "SplitKind",
    "SplitParams",
    "split",
    "split_cold_items",
    "split_cold_users",
    "split_from",
    "split_last_n",
    "split_random",
    "split_recommender",
    "split_time",
    "split_user_time",
]


_BY_SHARE = {
    "random": split_random,
    "user_time": split_user_time,
    "cold_users": split_cold_users,
    "cold_items": split_cold_items,
}


def split(interactions: DataFrame, params: SplitParams) -> Split:
    """Cuts `interactions` (user_id, item_id; event_time for the kinds of time) as `params` say.

    Starts no Spark job. Raises SchemaError when a column is missing.
    """
    if params.kind in _BY_SHARE:
        return _BY_SHARE[params.kind](interactions, params.test_share, seed=params.seed)
    if params.kind == "last_n":
        return split_last_n(interactions, params.last_n, seed=params.seed)
    if params.kind == "recommender":
        return split_recommender(interactions, params)
    if params.cutoff is not None:
        return split_from(interactions, params.cutoff)
    return split_time(interactions, params.test_share)
