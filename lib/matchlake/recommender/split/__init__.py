"""Splits interactions into a training and a test part: lazily and reproducibly.

Random draws hash the seed and the ids. So a part depends only on the rows, and not on their order,
their partitions or the cluster. All rows of a (user, item) pair go to the same part. A drawn user
or item stays drawn if rows are added. A drawn fraction is an expectation: a tenth of 1,000 users is
100 with a standard deviation of 9.5. The same id as a string and as an integer hashes differently.
To split a drawn part again, for validation, use another seed: with the same seed the second split
would draw no rows.

In splits with an order (by time, within a user), rows of equal user, item and time are one event
and stay together. Ties in time are broken by the hash, then by item id. A null time is the oldest.
Fractions of a count are rounded half up, and every user keeps at least one event for training.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matchlake.recommender.split.dispatch import split as split
    from matchlake.recommender.split.drawn import split_cold_items as split_cold_items
    from matchlake.recommender.split.drawn import split_cold_users as split_cold_users
    from matchlake.recommender.split.drawn import split_random as split_random
    from matchlake.recommender.split.mixed import split_recommender as split_recommender
    from matchlake.recommender.split.params import SplitKind as SplitKind
    from matchlake.recommender.split.params import SplitParams as SplitParams
    from matchlake.recommender.split.result import Split as Split
    from matchlake.recommender.split.timed import split_from as split_from
    from matchlake.recommender.split.timed import split_last_n as split_last_n
    from matchlake.recommender.split.timed import split_time as split_time
    from matchlake.recommender.split.timed import split_user_time as split_user_time

_MODULES = {
    "dispatch": ("split",),
    "drawn": ("split_cold_items", "split_cold_users", "split_random"),
    "mixed": ("split_recommender",),
    "params": ("SplitKind", "SplitParams"),
    "result": ("Split",),
    "timed": ("split_from", "split_last_n", "split_time", "split_user_time"),
}
_HOMES = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> Any:
    """Imports a name at its first use, so that parameters do not need Spark."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
