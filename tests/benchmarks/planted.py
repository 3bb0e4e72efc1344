"""Interactions with a planted structure, for benchmarks: some are held out to measure quality."""

from dataclasses import dataclass
from pathlib import Path

import numba
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

GROUPS, HELD_OUT_USERS, OWN_TASTE = 50, 30_000, 0.7

_ARRAYS = ("users", "items", "strengths", "ratings")
_HELD_OUT = ("held_users", "held_items", "held_ratings")


@dataclass(frozen=True)
class Planted:
    """Distinct (user, item) pairs with values; each held-out user has one pair held out."""

    users: npt.NDArray[np.int32]
    items: npt.NDArray[np.int32]
    strengths: npt.NDArray[np.float32]
    ratings: npt.NDArray[np.float32]
    shape: tuple[int, int]
    validation: tuple[npt.NDArray[np.int32], npt.NDArray[np.int32], npt.NDArray[np.float32]]

    def write(self, folder: Path, value: str) -> None:
        """Parquet with `user_id`, `item_id` (longs) and one value column, in eight files."""
        folder.mkdir(parents=True)
        values = {"weight": self.strengths, "rating": self.ratings}[value]
        order = np.random.default_rng(0).permutation(len(self.users))
        for number, part in enumerate(np.array_split(order, 8)):
            columns = {
                "user_id": self.users[part].astype(np.int64),
                "item_id": self.items[part].astype(np.int64),
                value: values[part].astype(np.float64),
            }
            pq.write_table(pa.table(columns), folder / f"part-{number}.parquet")


def sizes(interactions: int) -> tuple[int, int]:
    """Users and items for so many interactions: those of the tables in the design, and between."""
    users = int(60_000 * (interactions / 4.43e6) ** 0.55)
    return users, users // 5


def planted(interactions: int, shape: tuple[int, int], keep: Path | None) -> Planted:
    """What `plant` gives, from the folder `keep` where an earlier run has left it there."""
    if keep is None:
        return plant(interactions, shape)
    path = keep / f"{interactions}-{shape[0]}-{shape[1]}.npz"
    if not path.exists():
        made = plant(interactions, shape)
        arrays = {name: getattr(made, name) for name in _ARRAYS}
        held = dict(zip(_HELD_OUT, made.validation, strict=True))
        keep.mkdir(parents=True, exist_ok=True)
        np.savez(path, **arrays, **held)
        return made
    found = np.load(path)
    validation = found["held_users"], found["held_items"], found["held_ratings"]
    return Planted(*(found[name] for name in _ARRAYS), shape, validation)


def plant(interactions: int, shape: tuple[int, int], seed: int = 1) -> Planted:
    """Users draw items from their group's taste, or from what is popular with everyone."""
    rng = np.random.default_rng(seed)
    users, items = shape
    activity = np.cumsum(rng.lognormal(0, 1, users))
    popular = rng.zipf(1.7, items).clip(0, 2000) + 3.0
    taste = rng.gamma(0.15, 1, (GROUPS, items)) * popular
    group = rng.integers(0, GROUPS, users)
    cumulative = np.cumsum(np.vstack([taste, popular]), axis=1)
    cumulative /= cumulative[:, -1:]
    taken = np.full(1 << (2 * interactions).bit_length(), -1)
    found = np.sort(_draw(interactions, (activity, group, cumulative), taken, rng))
    del taken
    user, item = (found // items).astype(np.int32), (found % items).astype(np.int32)
    strengths = (1 + rng.poisson(1.0, len(user))).astype(np.float32)
    ratings = _ratings(rng, user, item, shape)
    kept = np.ones(len(user), bool)
    first = np.searchsorted(user, np.arange(users + 1))
    counts = np.diff(first)
    able = rng.permutation(np.flatnonzero(counts >= 10))[:HELD_OUT_USERS]
    out = np.sort(first[able] + rng.integers(0, counts[able]))
    kept[out] = False
    validation = user[out], item[out], ratings[out]
    return Planted(user[kept], item[kept], strengths[kept], ratings[kept], shape, validation)


@numba.njit(cache=True)
def _draw(
    wanted: int,
    tables: tuple[npt.NDArray[np.float64], npt.NDArray[np.int64], npt.NDArray[np.float64]],
    taken: npt.NDArray[np.int64],
    rng: np.random.Generator,
) -> npt.NDArray[np.int64]:
    """Draws pairs until so many are distinct; `taken` is an empty hash table, a power of 2 long."""
    activity, group, cumulative = tables
    found, count = np.empty(wanted, np.int64), 0
    items = cumulative.shape[1]
    while count < wanted:
        user = np.searchsorted(activity, rng.random() * activity[-1])
        row = group[user] if rng.random() < OWN_TASTE else GROUPS
        item = min(np.searchsorted(cumulative[row], rng.random()), items - 1)
        pair = user * items + item
        slot = (pair * 0x9E3779B97F4A7C1 >> 20) & (len(taken) - 1)
        while taken[slot] >= 0 and taken[slot] != pair:
            slot = (slot + 1) & (len(taken) - 1)
        if taken[slot] < 0:
            taken[slot] = pair
            found[count] = pair
            count += 1
    return found


def _ratings(
    rng: np.random.Generator,
    user: npt.NDArray[np.int32],
    item: npt.NDArray[np.int32],
    shape: tuple[int, int],
) -> npt.NDArray[np.float32]:
    """Half-star ratings of a planted model with biases, 8 factors and noise of 0.6."""
    left, right = (rng.normal(0, 0.35, (size, 8)).astype(np.float32) for size in shape)
    biases = [rng.normal(0, 0.35, size).astype(np.float32) for size in shape]
    ratings = np.empty(len(user), np.float32)
    for start in range(0, len(user), 1 << 20):
        u, i = user[start : start + (1 << 20)], item[start : start + (1 << 20)]
        clean = 3.5 + biases[0][u] + biases[1][i] + np.einsum("nk,nk->n", left[u], right[i])
        ratings[start : start + (1 << 20)] = clean + rng.normal(0, 0.6, len(u))
    return np.clip(np.round(2 * ratings) / 2, 0.5, 5.0)
