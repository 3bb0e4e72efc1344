"""Interactions with skewed degrees, for the tests of scale."""

import numpy as np
import numpy.typing as npt

Triples = tuple[npt.NDArray[np.int32], npt.NDArray[np.int32], npt.NDArray[np.float32]]


def skewed_pairs(interactions: int, shape: tuple[int, int], seed: int = 0) -> Triples:
    """Distinct pairs, about as many as asked for: lognormal users, items by Zipf's law.

    Every user and every item has one interaction at least.
    """
    rng = np.random.default_rng(seed)
    users, items = shape
    active = np.cumsum(rng.lognormal(0, 1, users))
    popular = np.cumsum(1 / np.arange(1, items + 1) ** 0.9)
    rest = interactions - users - items
    user = np.searchsorted(active, rng.random(rest) * active[-1])
    item = np.searchsorted(popular, rng.random(rest) * popular[-1])
    user = np.concatenate([user, np.arange(users), rng.integers(0, users, items)])
    item = np.concatenate([item, rng.integers(0, items, users), np.arange(items)])
    user, item = np.divmod(np.unique(user * items + item), items)
    values = rng.integers(1, 6, len(user)).astype(np.float32)
    return user.astype(np.int32), item.astype(np.int32), values
