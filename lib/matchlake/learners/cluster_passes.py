"""The passes of a clustering over its rows; each is a `Pass` of `cluster_rows`."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from matchlake.engine.counter_rng import uniforms
from matchlake.engine.exact_sums import PARTS, add_parts, cut_arrays
from matchlake.engine.nearest import Groups, Places, assign_rows, measure_nearest, sum_nearest
from matchlake.learners.cluster_rows import Block, Doubles, Ids, State


@dataclass(frozen=True)
class Moments:
    """Sums of values and squares, a sample of rows, and the first distinct rows."""

    bounds: Doubles
    seed: int
    sample: int
    distinct: int
    """The maximum number of distinct rows that are kept."""

    def start(self) -> State:
        """See `Pass`."""
        columns = len(self.bounds)
        return _no_rows(columns) | {
            "sums": np.zeros((2, columns, PARTS), np.int64),
            "distinct": np.empty((0, columns)),
        }

    def add(self, state: State, block: Block) -> None:
        """See `Pass`."""
        for power, values in enumerate((block.rows, np.square(block.rows))):
            bounds = self.bounds ** (power + 1)
            add_parts(state["sums"][power], cut_arrays(values, bounds).sum(axis=0), bounds)
        keys = uniforms(block.ids, self.seed, 0)
        chosen = np.argsort(keys, kind="stable")[: self.sample]
        _keep(state, keys[chosen], block.ids[chosen], block.rows[chosen], self.sample)
        for start in range(0, len(block.rows), 1024):
            if len(state["distinct"]) >= self.distinct:
                return
            state["distinct"] = self._distinct(state["distinct"], block.rows[start : start + 1024])

    def merge(self, one: State, other: State) -> State:
        """See `Pass`."""
        merged = dict(one)
        merged["sums"] = one["sums"] + other["sums"]
        _keep(merged, other["keys"], other["ids"], other["rows"], self.sample)
        merged["distinct"] = self._distinct(one["distinct"], other["distinct"])
        return merged

    def _distinct(self, one: Doubles, other: Doubles) -> Doubles:
        return np.asarray(np.unique(np.vstack([one, other]) + 0.0, axis=0)[: self.distinct])


@dataclass(frozen=True)
class Oversample:
    """Rows drawn in proportion to their squared distance from the candidates so far.

    Each row gets the key -log(u) / d^2. The rows with the smallest keys are a weighted sample
    without replacement (Efraimidis and Spirakis 2006).
    """

    candidates: Groups
    centers: Doubles
    seed: int
    round: int
    count: int

    def start(self) -> State:
        """See `Pass`."""
        return _no_rows(self.centers.shape[1])

    def add(self, state: State, block: Block) -> None:
        """See `Pass`."""
        places = np.empty(len(block.rows), np.int64)
        assign_rows(block.rows, self.candidates, 0, places)
        apart = np.square(block.rows - self.centers[places]).sum(axis=1)
        draws = -np.log(uniforms(block.ids, self.seed, self.round))
        with np.errstate(divide="ignore"):
            keys = draws / apart
        chosen = np.argsort(keys, kind="stable")[: self.count]
        chosen = chosen[np.isfinite(keys[chosen])]
        _keep(state, keys[chosen], block.ids[chosen], block.rows[chosen], self.count)

    def merge(self, one: State, other: State) -> State:
        """See `Pass`."""
        merged = dict(one)
        _keep(merged, other["keys"], other["ids"], other["rows"], self.count)
        return merged


@dataclass(frozen=True)
class Assign:
    """The number and the sum of the rows nearest to each centre of all groups."""

    groups: Groups
    bounds: Doubles

    def start(self) -> State:
        """See `Pass`."""
        centers, columns = int(self.groups.first[-1]), len(self.bounds)
        return {
            "counts": np.zeros(centers, np.int64),
            "sums": np.zeros((centers, columns, PARTS), np.int64),
        }

    def add(self, state: State, block: Block) -> None:
        """See `Pass`."""
        centers, columns = state["sums"].shape[:2]
        parts = np.zeros((centers, PARTS * columns))
        sum_nearest(block.rows, self.groups, self.bounds, state["counts"], parts)
        turned = parts.reshape(centers, PARTS, columns).transpose(0, 2, 1)
        add_parts(state["sums"], turned, self.bounds)

    def merge(self, one: State, other: State) -> State:
        """See `Pass`."""
        return {name: one[name] + other[name] for name in one}


@dataclass(frozen=True)
class Farthest:
    """For each group, the rows farthest from their nearest centre."""

    groups: Groups
    centers: Sequence[Doubles]
    counts: Sequence[int]

    def start(self) -> State:
        """See `Pass`."""
        columns = self.centers[0].shape[1]
        empty = _no_rows(columns) | {"places": np.empty(0, np.int64)}
        return {f"{i}:{k}": v for i in range(len(self.counts)) for k, v in empty.items()}

    def add(self, state: State, block: Block) -> None:
        """See `Pass`."""
        for i, (centers, count) in enumerate(zip(self.centers, self.counts, strict=True)):
            places = np.empty(len(block.rows), np.int64)
            assign_rows(block.rows, self.groups, i, places)
            keys = -np.square(block.rows - centers[places]).sum(axis=1)
            chosen = np.argsort(keys, kind="stable")[:count]
            self._keep(
                state, i, (keys[chosen], block.ids[chosen], block.rows[chosen], places[chosen])
            )

    def merge(self, one: State, other: State) -> State:
        """See `Pass`."""
        merged = dict(one)
        for i in range(len(self.counts)):
            parts = (other[f"{i}:{name}"] for name in ("keys", "ids", "rows", "places"))
            self._keep(merged, i, tuple(parts))
        return merged

    def _keep(self, state: State, i: int, more: Sequence[npt.NDArray[Any]]) -> None:
        names = [f"{i}:{name}" for name in ("keys", "ids", "rows", "places")]
        joined = [
            np.concatenate([state[name], each]) for name, each in zip(names, more, strict=True)
        ]
        order = _ordered(*joined[:3])[: self.counts[i]]
        state |= {name: each[order] for name, each in zip(names, joined, strict=True)}


@dataclass(frozen=True)
class Measure:
    """The sums of `measure_nearest` for each centre of all clusterings."""

    groups: Groups
    centers: Doubles
    """All centres, one group after another."""
    means: Doubles
    """The mean of the rows of each centre."""
    bound: float
    """A power of two that no squared distance exceeds; 4 or more."""

    def start(self) -> State:
        """See `Pass`."""
        return {
            "counts": np.zeros(len(self.centers), np.int64),
            "sums": np.zeros((len(self.centers), 4, PARTS), np.int64),
        }

    def add(self, state: State, block: Block) -> None:
        """See `Pass`."""
        parts = np.zeros((len(self.centers), 4, PARTS))
        bounds = np.array([self.bound] * 3 + [1.0])
        targets = (self.groups, self.centers, self.means)
        measure_nearest(block.rows, targets, bounds, state["counts"], parts)
        add_parts(state["sums"], parts, bounds)

    def merge(self, one: State, other: State) -> State:
        """See `Pass`."""
        return {name: one[name] + other[name] for name in one}


def _no_rows(columns: int) -> State:
    return {
        "keys": np.empty(0),
        "ids": np.empty(0, np.uint64),
        "rows": np.empty((0, columns)),
    }


def _keep(state: State, keys: Doubles, ids: Ids, rows: Doubles, count: int) -> None:
    """Keeps the `count` rows with the smallest keys; keeps one row per row number."""
    joined = (
        np.concatenate([state["keys"], keys]),
        np.concatenate([state["ids"], ids]),
        np.concatenate([state["rows"], rows]),
    )
    order = _ordered(*joined)
    kept, numbers = joined[0][order], joined[1][order]
    again = np.zeros(len(order), bool)
    again[1:] = (kept[1:] == kept[:-1]) & (numbers[1:] == numbers[:-1])
    chosen = order[~again][:count]
    state |= {
        name: each[chosen] for name, each in zip(("keys", "ids", "rows"), joined, strict=True)
    }


def _ordered(keys: Doubles, ids: Ids, rows: Doubles) -> Places:
    """Returns an order by key, number and values; the input order has no influence."""
    return np.lexsort((*rows.T[::-1], ids, keys))
