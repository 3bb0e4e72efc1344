"""Single-task execution: fits a model to ratings and feature rows, without Spark."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from matchlake.engine.arrow import combined
from matchlake.engine.csr import Ints
from matchlake.errors import InputError
from matchlake.recommender.interaction_stats import SHOWN, VALUE
from matchlake.recommender.matchbox.chains import run_chains
from matchlake.recommender.matchbox.params import MatchboxParams
from matchlake.recommender.matchbox.sampler.gibbs import threads_of
from matchlake.recommender.matchbox.sampler.history_features import (
    all_sources,
    dense_rows,
    history_rows,
    hstack,
    most_rated,
)
from matchlake.recommender.matchbox.sampler.link_matrix import Features, Source
from matchlake.recommender.matchbox.sampler.ratings import Ratings
from matchlake.recommender.matchbox.single_task_output import ResultWriter, problem
from matchlake.recommender.sides import ITEM, KEYS, USER
from matchlake.schemas import ITEM_ID, USER_ID

KIND, DATE = "kind", "day"
"""The columns for the kind of a row (a side's feature row, or RATING_KIND), and a rating's UTC
day."""

VECTOR = "x"
"""The column of a feature vector: array<float>."""

RATING_KIND = 2


def undated(shown: list[tuple[Any, Any]]) -> InputError:
    """Returns the error for ratings without a date, with some of them `shown`."""
    return InputError(
        f"Some ratings have no date, among them {shown}. Drop them, or fit with day_effects=False."
    )


class _InvalidInput(Exception):  # noqa: N818 - becomes a message row, not an error
    """Raised inside the task, which returns it as a message row."""


@dataclass(frozen=True)
class _Side:
    """Ids of one side, the rated ones first, and their feature vectors (ids, features)."""

    ids: pa.Array
    rated: int
    vectors: npt.NDArray[np.float32] | None


@dataclass(frozen=True)
class Task:
    """Fits the rows of the task; `given` are the sources of each side's feature rows."""

    params: MatchboxParams
    given: tuple[tuple[Source, ...] | None, tuple[Source, ...] | None]

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Reads all rows of the fit; yields rows of `state_schema`."""
        table = pa.Table.from_batches(list(batches))
        types = table.schema.field(USER_ID).type, table.schema.field(ITEM_ID).type
        try:
            yield from self._fit(table, types)
        except _InvalidInput as refused:
            yield problem(types, str(refused))

    def _fit(
        self, table: pa.Table, types: tuple[pa.DataType, pa.DataType]
    ) -> Iterator[pa.RecordBatch]:
        rated = table.filter(pc.equal(table[KIND], RATING_KIND))
        sides = [_side(table, rated, side, self.given[side] is not None) for side in (USER, ITEM)]
        ratings, days = _ratings(rated, sides, self.params)
        del table, rated
        limit = self.params.max_history_features if self.params.history_features else 0
        seen = [most_rated(ratings, side, limit) for side in (USER, ITEM)]
        features = [
            self._features(ratings, sides[side], side, seen[1 - side]) for side in (USER, ITEM)
        ]
        sources = (*features, None)[: len(ratings.sizes)]
        histories = len(seen[ITEM]), len(seen[USER])
        posterior, trace = run_chains(ratings, sources, self.params, histories)
        writer = ResultWriter.of(types, posterior, self.params.low_rank_tolerance)
        for side in (USER, ITEM):
            yield from _rows(writer, ratings, sides[side], side, seen[1 - side])
        if days is not None:
            yield from writer.days(sides[USER].ids.take(pa.array(days[:, 0])), days[:, 1])
        yield from writer.report(trace, seen)

    def _features(self, ratings: Ratings, side: _Side, number: int, seen: Ints) -> Features | None:
        vectors = None if side.vectors is None else dense_rows(side.vectors[: side.rated])
        history = history_rows(ratings, number, seen) if len(seen) else None
        rows = hstack(vectors, history)
        sources = all_sources(self.given[number], seen)
        return None if rows is None else Features(rows, threads_of(self.params), sources)


def _side(table: pa.Table, rated: pa.Table, side: int, featured: bool) -> _Side:  # noqa: FBT001
    key = KEYS[side]
    ids = _sorted(pc.unique(rated[key]))
    if not featured:
        return _Side(ids, len(ids), None)
    rows = table.filter(pc.equal(table[KIND], side))
    keys = combined(rows[key])
    _refuse(key, _repeated(keys), "have more than one feature row: keep one row per id")
    lacking = ids.filter(pc.invert(pc.is_in(ids, value_set=keys)))
    _refuse(key, lacking, "have ratings but no feature row: add one, or leave the features out")
    cold = _sorted(keys.filter(pc.invert(pc.is_in(keys, value_set=ids))))
    every = pa.concat_arrays([ids, cold])
    index = np.asarray(pc.index_in(every, keys))
    vectors = np.asarray(combined(rows[VECTOR]).flatten()).reshape(len(keys), -1)
    return _Side(every, len(ids), np.ascontiguousarray(vectors[index]))


def _ratings(
    rated: pa.Table, sides: list[_Side], params: MatchboxParams
) -> tuple[Ratings, npt.NDArray[np.int64] | None]:
    """The ratings by index, and (user index, day) of the days if there are any."""
    indices = [np.asarray(pc.index_in(rated[key], sides[n].ids)) for n, key in enumerate(KEYS)]
    sizes = [side.rated for side in sides]
    pairs = indices[USER].astype(np.int64) * sizes[ITEM] + indices[ITEM]
    order = np.argsort(pairs, kind="stable")
    again = order[1:][pairs[order][1:] == pairs[order][:-1]]
    if len(again):
        shown = rated.select(list(KEYS)).take(pa.array(again[:SHOWN])).to_pylist()
        raise _InvalidInput(
            f"{len(again)} rating(s) repeat an earlier (user_id, item_id), among them {shown}. "
            "Keep one rating of each pair."
        )
    days = None
    if params.day_effects:
        # stamped: user and day in one number, sorted by user, then day; days before 1970 are
        # negative
        stamped = (indices[USER].astype(np.int64) << 32) + np.asarray(rated[DATE]) + (1 << 31)
        codes, which = np.unique(stamped, return_inverse=True)
        days = np.stack([codes >> 32, (codes & 0xFFFFFFFF) - (1 << 31)], axis=1)
        indices.append(which)
        sizes.append(len(codes))
    stacked = np.ascontiguousarray(np.stack(indices, axis=1).astype(np.int32))
    return Ratings(stacked, np.asarray(rated[VALUE]), tuple(sizes)), days


def _rows(
    writer: ResultWriter, ratings: Ratings, side: _Side, number: int, seen: Ints
) -> Iterator[pa.RecordBatch]:
    """Yields the trained rows, then the prior means of rows without ratings."""
    counts = np.bincount(ratings.places[:, number], minlength=side.rated)
    mine = writer.posterior.sides[number]
    yield from writer.rows(number, side.ids[: side.rated], mine.rows, counts)
    if side.vectors is not None and len(side.ids) > side.rated:
        cold = side.vectors[side.rated :]
        empty = np.zeros((len(cold), len(seen)), np.float32)
        rows = mine.prior_rows(Features(dense_rows(np.hstack([cold, empty]))), len(cold))
        none = np.zeros(len(cold), np.int64)
        yield from writer.rows(number, side.ids[side.rated :], rows, none, side.rated)


def _sorted(keys: pa.Array) -> pa.Array:
    return keys.take(pc.sort_indices(keys))


def _repeated(keys: pa.Array) -> pa.Array:
    counts = pc.value_counts(keys)
    return counts.field("values").filter(pc.greater(counts.field("counts"), 1))


def _refuse(key: str, ids: pa.Array, why: str) -> None:
    if len(ids):
        shown = ids[:SHOWN].to_pylist()
        raise _InvalidInput(f"{len(ids)} {key}(s) {why}. Among them {shown}.")
