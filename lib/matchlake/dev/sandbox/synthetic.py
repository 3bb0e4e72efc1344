"""Synthetic interactions from planted factors: as many as wanted, with the truth known.

A user u meets items in proportion to their Zipf popularity (and, where `taste` is set, to how
they suit u), each item at most once. With planted factors p, q and biases b, an explicit rating is
mean + b_u + b_i + p_u . q_i + noise, and an implicit strength is exp(p_u . q_i + noise).

The rows come in blocks of users, each from a random stream of its own. What a seed gives depends
on the parameters only, not on how many rows are asked for at a time. Memory holds the truth, of
users + items vectors, and one block and chunk.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field, model_validator

from matchlake.dev.sandbox.sampling import sample_distinct
from matchlake.params import Params

_BLOCK_ROWS = 2**18
_DAY = 86_400_000_000
_USERS, _ITEMS, _COUNTS, _BLOCKS = range(4)

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


class SyntheticParams(Params):
    """What to plant, and how much to draw from it."""

    users: int = Field(ge=1)
    items: int = Field(ge=1)
    interactions: int = Field(ge=1)
    """Rows in all, exactly: at least one a user, at most one a user and item."""
    feedback: Literal["explicit", "implicit"] = "explicit"
    rank: int = Field(default=8, ge=1)
    mean: float = 3.5
    bias_std: float = Field(default=0.3, ge=0)
    signal_std: float = Field(default=0.5, ge=0)
    """Standard deviation of p_u . q_i over random pairs."""
    noise_std: float = Field(default=0.5, ge=0)
    """The noise that no model can predict: the least RMSE that can be had."""
    stars: bool = False
    """Explicit ratings rounded to half stars from 0.5 to 5, as people give them."""
    zipf: float = Field(default=1.0, ge=0)
    """The r-th most popular item has weight r^-zipf; 0 makes all alike."""
    activity_spread: float = Field(default=1.0, ge=0, le=10)
    """Spread of the logarithm of how many items a user meets; 0 makes all alike."""
    taste: float = Field(default=0.0, ge=0)
    """How strongly liking decides what is met: an item's weight is multiplied by
    1 / (1 + exp(-taste * affinity / signal_std)). At 0 what is met tells nothing of the factors."""
    seed: int = Field(default=0, ge=0)
    start: datetime = datetime(2024, 1, 1, tzinfo=UTC)
    days: int = Field(default=365, ge=1)
    """Events lie evenly in that many days from `start` on."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if not self.users <= self.interactions <= self.users * self.items:
            raise ValueError(
                f"interactions must be between users ({self.users}) and users * items "
                f"({self.users * self.items}), not {self.interactions}"
            )
        return self


@dataclass(frozen=True)
class Planted:
    """The truth behind a synthetic set; row n of an array belongs to the id `str(n)`."""

    params: SyntheticParams
    user_factors: Floats
    """Shape (users, rank)."""
    item_factors: Floats
    """Shape (items, rank)."""
    user_biases: Floats
    item_biases: Floats
    popularity: Floats
    """An item's share of what is met, before taste; sums to 1."""
    activity: Ints
    """How many items each user meets; sums to the interactions."""

    def affinity(self, users: Ints, items: Ints) -> Floats:
        """p_u . q_i of each pair."""
        pairs = np.einsum("nr,nr->n", self.user_factors[users], self.item_factors[items])
        return np.asarray(pairs, np.float64)

    def expected(self, users: Ints, items: Ints) -> Floats:
        """The rating, or the logarithm of the strength, of each pair without its noise."""
        affinity = self.affinity(users, items)
        if self.params.feedback == "implicit":
            return affinity
        return self.params.mean + self.user_biases[users] + self.item_biases[items] + affinity


def plant(params: SyntheticParams) -> Planted:
    """Draws the truth of `params`; the interactions follow from it."""
    users, items = _stream(params, _USERS), _stream(params, _ITEMS)
    # The variance of a sum of `rank` products of two such numbers is signal_std squared.
    scale = (params.signal_std**2 / params.rank) ** 0.25
    weights = np.arange(1, params.items + 1, dtype=np.float64) ** -params.zipf
    return Planted(
        params=params,
        user_factors=users.normal(0, scale, (params.users, params.rank)),
        item_factors=items.normal(0, scale, (params.items, params.rank)),
        user_biases=users.normal(0, params.bias_std, params.users),
        item_biases=items.normal(0, params.bias_std, params.items),
        popularity=items.permutation(weights / weights.sum()),
        activity=_share_out(params),
    )


def iterate_interactions(planted: Planted, rows: int = 1_000_000) -> Iterator[pa.Table]:
    """The interactions, `rows` at a time, user by user; no (user_id, item_id) comes twice.

    Columns: user_id string, item_id string, rating double (or strength double, for implicit
    feedback), event_time timestamp[us, UTC].
    """
    waiting: list[pa.Table] = []
    for block, (first, last) in enumerate(_blocks(planted)):
        whole = pa.concat_tables([*waiting, _draw(planted, block, first, last)])
        full = whole.num_rows - whole.num_rows % rows
        yield from (whole.slice(at, rows) for at in range(0, full, rows))
        waiting = [whole.slice(full)]
    yield from (table for table in waiting if table.num_rows)


def write_interactions(planted: Planted, folder: Path, rows: int = 5_000_000) -> list[Path]:
    """Writes the interactions as Parquet files of `rows` rows into `folder`; returns the files."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number, table in enumerate(iterate_interactions(planted, rows)):
        paths.append(folder / f"part-{number:05}.parquet")
        pq.write_table(table, paths[-1])
    return paths


def _stream(params: SyntheticParams, *place: int) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence(params.seed, spawn_key=place))


def _share_out(params: SyntheticParams) -> Ints:
    # One each; then by weight among those who are not full, until all is shared out.
    weights = _stream(params, _COUNTS).lognormal(0, params.activity_spread, params.users)
    counts = np.ones(params.users, np.int64)
    while left := params.interactions - int(counts.sum()):
        open_ = np.flatnonzero(counts < params.items)
        shares = np.floor(weights[open_] / weights[open_].sum() * left).astype(np.int64)
        if not shares.any():
            shares[np.argsort(-weights[open_], kind="stable")[:left]] = 1
        counts[open_] = np.minimum(counts[open_] + shares, params.items)
    return counts


def _blocks(planted: Planted) -> Iterator[tuple[int, int]]:
    before = np.cumsum(planted.activity) - planted.activity
    starts = np.unique(before // _BLOCK_ROWS, return_index=True)[1]
    yield from zip(starts, [*starts[1:], planted.params.users], strict=True)


def _draw(planted: Planted, block: int, first: int, last: int) -> pa.Table:
    params, random = planted.params, _stream(planted.params, _BLOCKS, block)

    def suits(users: Ints, items: Ints) -> Floats:
        affinity = planted.affinity(users + first, items)
        return 1 / (1 + np.exp(-params.taste * affinity / params.signal_std))

    users, items = sample_distinct(
        random,
        planted.popularity,
        planted.activity[first:last],
        suits if params.taste and params.signal_std else None,
    )
    users += first
    value = planted.expected(users, items) + random.normal(0, params.noise_std, len(users))
    if params.feedback == "implicit":
        value = np.exp(value)
    elif params.stars:
        value = np.clip(np.round(value * 2) / 2, 0.5, 5.0)
    begin = int(params.start.timestamp()) * 1_000_000
    times = begin + random.integers(0, params.days * _DAY, len(users))
    return pa.table(
        {
            "user_id": pa.array(users).cast(pa.string()),
            "item_id": pa.array(items).cast(pa.string()),
            "rating" if params.feedback == "explicit" else "strength": value,
            "event_time": pa.array(times).cast(pa.timestamp("us", "UTC")),
        }
    )
