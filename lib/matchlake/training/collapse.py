"""Finds fits that learned nothing: scores are infinite or zero, or all users get the same list."""

import logging
import math
from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

from matchlake.errors import FitError
from matchlake.recommender.protocol import Recommender
from matchlake.recommender.sides import USER
from matchlake.schemas import ITEM_ID, RANK, SCORE, USER_ID

_log = logging.getLogger(__name__)

SAMPLE, FEWEST = 200, 20
"""The number of users whose lists are compared. With fewer than FEWEST users, equal lists mean
nothing."""
_LENGTH = 10
_SMALLEST_SCORE, _MOST_EQUAL = 1e-4, 0.95
_SAME_FOR_ALL = ("popularity", "bias")


class Listed(NamedTuple):
    """An item of a user's recommendation list."""

    user: object
    rank: int
    item: object
    score: float


def require_learned(model: Recommender) -> None:
    """Raises FitError if the fit of `model` has collapsed, with the cause and what to change.

    Looks at the lists of a sample of users, in one Spark job. Baselines pass, because they have one
    list for all users. If a model predicts ratings, equal lists are only a warning.
    """
    if model.algorithm in _SAME_FOR_ALL:
        return
    users = model.known(USER).where("n_interactions > 0").select(USER_ID).limit(SAMPLE)
    lists = model.recommend_items(users, _LENGTH).select(USER_ID, RANK, ITEM_ID, SCORE)
    problem = collapse_of(Listed(*row) for row in lists.collect())
    if problem is None:
        return
    message = f"the fit of {model.algorithm} has collapsed: {problem}"
    if model.predicts_ratings and "same list" in problem:
        _log.warning("%s", message)
        return
    raise FitError(message)


def collapse_of(rows: Iterable[Listed]) -> str | None:
    """Returns what is wrong with the lists of a sample of users; None if nothing is wrong."""
    rows = list(rows)
    if any(not math.isfinite(row.score) for row in rows):
        return (
            "some scores are infinite or NaN. Weights or ratings are too large: scale "
            "train.weight, or "
            "raise the regularization."
        )
    largest = max((abs(row.score) for row in rows), default=math.inf)
    if largest < _SMALLEST_SCORE:
        return (
            f"the largest score is {largest:.1g}, so all items have nearly the same score. The "
            "regularization is too strong for the weights: lower it, or leave regularization, "
            "alpha and unobserved_weight at null, which fits them to the data."
        )
    lists: dict[object, list[tuple[int, object]]] = {}
    for row in rows:
        lists.setdefault(row.user, []).append((row.rank, row.item))
    counts = Counter(tuple(item for _, item in sorted(each, key=_rank)) for each in lists.values())
    share = counts.most_common(1)[0][1] / len(lists) if lists else 0.0
    if len(lists) < FEWEST or share < _MOST_EQUAL:
        return None
    return (
        f"{share:.0%} of {len(lists)} users have the same list, so the model learned only "
        "popularity. Lower the regularization, raise the rank, or leave the parameters at their "
        "defaults; if users have few interactions, train on more interactions."
    )


def _rank(entry: tuple[int, object]) -> int:
    return entry[0]
