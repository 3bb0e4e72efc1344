"""Weighted draws without replacement, for many users at once."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Accept = Callable[[Ints, Ints], Floats]

_ROUNDS = 6
_CELLS = 2**21


def sample_distinct(
    random: np.random.Generator, weights: Floats, need: Ints, accept: Accept | None = None
) -> tuple[Ints, Ints]:
    """Draws `need[u]` different items for each user u, an item's chance being its weight.

    `accept(users, items)`, in (0, 1], multiplies the weights pair by pair. Returns the users
    (ascending) and their items, in the order drawn.

    Drawing with replacement and keeping what is new is the same as drawing without replacement.
    It is fast while few of the items are drawn; what users still lack after a few rounds is drawn
    from all the items they have not.
    """
    users = np.empty(0, np.int64)
    items = np.empty(0, np.int64)
    cumulative = np.cumsum(weights) / weights.sum()
    short = np.flatnonzero(need * 8 <= len(weights))
    for turn in range(_ROUNDS):
        missing = need[short] - np.bincount(users, minlength=len(need))[short]
        drawn = np.repeat(short, (2 * missing + 8) << turn)
        found = np.searchsorted(cumulative, random.random(len(drawn)), side="right")
        found = np.minimum(found, len(weights) - 1)
        if accept is not None:
            kept = random.random(len(drawn)) < accept(drawn, found)
            drawn, found = drawn[kept], found[kept]
        users, items = _first_distinct(
            np.concatenate([users, drawn]), np.concatenate([items, found]), need, len(weights)
        )
        short = short[np.bincount(users, minlength=len(need))[short] < need[short]]
        if not len(short):
            break
    lacking = np.flatnonzero(np.bincount(users, minlength=len(need)) < need)
    for some in np.array_split(lacking, 1 + len(lacking) * len(weights) // _CELLS):
        order = _order(random, weights, some, accept)
        users, items = _first_distinct(
            np.concatenate([users, np.repeat(some, order.shape[1])]),
            np.concatenate([items, order.ravel()]),
            need,
            len(weights),
        )
    return users, items


def _order(
    random: np.random.Generator, weights: Floats, users: Ints, accept: Accept | None
) -> Ints:
    """All items in the order each of `users` draws them, shape (len(users), len(weights))."""
    rates = np.tile(weights, (len(users), 1))
    if accept is not None:
        every = np.tile(np.arange(len(weights)), len(users))
        rates *= accept(np.repeat(users, len(weights)), every).reshape(rates.shape)
    # The first of exponential clocks to ring is each item's with its weight's chance.
    return np.argsort(random.exponential(size=rates.shape) / rates, axis=1)


def _first_distinct(users: Ints, items: Ints, need: Ints, width: int) -> tuple[Ints, Ints]:
    first = np.unique(users * width + items, return_index=True)[1]
    first.sort()
    users, items = users[first], items[first]
    order = np.argsort(users, kind="stable")
    users, items = users[order], items[order]
    place = np.arange(len(users)) - np.searchsorted(users, users)
    kept = place < need[users]
    return users[kept], items[kept]
