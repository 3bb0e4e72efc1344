"""Answers queries of models in memory, for one user or item, or for a table of them.

A table is of pandas, Polars or Arrow. The result is a table of the same library, with the columns
of a Spark model. Unlike unknown ids, null ids have no list and no score.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from matchlake.engine.arrow import combined
from matchlake.engine.csr import Floats, Ints
from matchlake.engine.frames import as_given, is_spark, is_sparse, is_table, to_arrow_table
from matchlake.engine.top_k import Best, TargetLists, lists_of, require_k
from matchlake.errors import InputError
from matchlake.recommender.id_types import exact_ids, listed, places_of, required
from matchlake.recommender.sides import ITEM, KEYS, USER
from matchlake.recommender.tables import plain_texts, read_interactions, require_names
from matchlake.schemas import RANK, SCORE

COLD = "is_cold_start"
_CHUNK = 1024
"""The number of queries that are ranked at a time."""

Listed = list[tuple[Any, float]]


class Choice(NamedTuple):
    """The targets of each query: all targets except `without`, or only `among`."""

    without: TargetLists
    among: TargetLists | None = None


class Ranker(Protocol):
    """The methods that a model needs for these functions."""

    @property
    def user_ids(self) -> Sequence[Any]:
        """All users."""

    @property
    def item_ids(self) -> Sequence[Any]:
        """All items."""

    @property
    def trained_ids(self) -> tuple[frozenset[Any], frozenset[Any]]:
        """The users and the items that had interactions in the fit."""

    def places(self, side: int) -> Mapping[Any, int]:
        """The row of each id of a side."""

    def best_of(self, side: int, entries: Sequence[Any], k: int, choice: Choice) -> Best:
        """The best rows of the other side for each entry: a known id, an unknown one, or a row."""

    def scores_of(self, users: Sequence[Any], items: Sequence[Any]) -> Floats:
        """The scores of pairs of ids, or of rows."""


def recommend(
    model: Ranker,
    side: int,
    query: Any,
    k: int,
    exclude_seen: Any,
    candidates: Any,
) -> Any:
    """Returns the `k` best rows of the other side, for one query or for a table of queries."""
    require_k(k)
    name = ("user", "item")[side]
    _refuse_spark(query, f"{name}s")
    if query is not None and not is_table(query):
        entry = query if isinstance(query, tuple) else _one(model, side, required(query, name))
        ids = (model.user_ids, model.item_ids)[1 - side]
        choice = next(_choices(model, side, [entry], exclude_seen, candidates))
        best = model.best_of(side, [entry], k, choice)
        listed = best.places[0] >= 0
        chosen = zip(best.places[0][listed], best.scores[0][listed], strict=True)
        return [(ids[place], float(score)) for place, score in chosen]
    places = model.places(side)
    queries = list(places) if query is None else _queries(query, side, places)
    return as_given(_lists(model, side, queries, k, (exclude_seen, candidates)), query)


def score(model: Ranker, users: Any, items: Any) -> Any:
    """Returns the scores of pairs of ids, NaN for a null id; or a table of pairs with scores."""
    if items is not None:
        users, items = listed(users, "user_ids"), listed(items, "item_ids")
        if len(users) != len(items):
            raise InputError(
                f"There are {len(users)} user_ids but {len(items)} item_ids: pass one of each per "
                "pair."
            )
        ids = [entries_of(each, model.places(side)) for side, each in enumerate((users, items))]
        missing = [entry is None for entry in ids[USER]], [entry is None for entry in ids[ITEM]]
        scores = model.scores_of(*ids)
        return np.where(np.logical_or(*missing), np.float32(np.nan), scores)
    _refuse_spark(users, "pairs")
    table = to_arrow_table(users, "the pairs")
    require_names(table, KEYS, "the pairs")
    scores = np.zeros(table.num_rows, np.float32)
    cold, null = np.zeros((2, table.num_rows), bool)
    ids = [exact_ids(table[key].to_pylist(), model.places(side)) for side, key in enumerate(KEYS)]
    if table.num_rows:
        scores = model.scores_of(*ids)
    for mine, trained in zip(ids, model.trained_ids, strict=True):
        cold |= np.array([key not in trained for key in mine], bool)
        null |= np.array([key is None for key in mine], bool)
    added = {SCORE: pa.array(scores, mask=null), COLD: pa.array(cold, mask=null)}
    rest = {name: table[name] for name in table.column_names if name not in added}
    return as_given(pa.table({**rest, **added}), users)


def excluded(
    places: Mapping[Any, int], exclude_seen: Collection[Any], candidates: Collection[Any] | None
) -> Ints:
    """Returns the rows not to recommend; -1 for unknown ids."""
    without = places_of(places, [*exclude_seen])
    if candidates is None:
        return without
    allowed = places_of(places, [*candidates])
    others = np.ones(len(places), bool)
    others[allowed[allowed >= 0]] = False
    return np.union1d(without, np.flatnonzero(others))


def _refuse_spark(data: Any, what: str) -> None:
    if is_spark(data):
        raise InputError(
            f"{what} cannot be a Spark DataFrame here: this model is in memory. Pass "
            "frame.toArrow() or frame.toPandas(), or ask the Spark model."
        )


def _one(model: Ranker, side: int, key: Any) -> Any:
    return exact_ids([key], model.places(side), ("user", "item")[side])[0]


def entries_of(entries: Sequence[Any], places: Mapping[Any, int]) -> list[Any]:
    """Converts ids to the type of the model's ids; keeps rows."""
    whole = [None if isinstance(entry, tuple) else entry for entry in entries]
    exact = exact_ids(whole, places)
    return [e if isinstance(e, tuple) else x for e, x in zip(entries, exact, strict=True)]


def _queries(query: Any, side: int, places: Mapping[Any, int]) -> list[Any]:
    """Returns the distinct ids of a table of queries, without null."""
    table = to_arrow_table(query, f"the table of {('users', 'items')[side]}")
    require_names(table, KEYS[side : side + 1], "the table of queries")
    ids = exact_ids(pc.unique(plain_texts(table[KEYS[side]])).to_pylist(), places, KEYS[side])
    return [key for key in dict.fromkeys(ids) if key is not None]


def _lists(
    model: Ranker, side: int, queries: list[Any], k: int, limits: tuple[Any, Any]
) -> pa.Table:
    trained = model.trained_ids[side]
    cold = np.array([key not in trained for key in queries], bool)
    parts = []
    for number, choice in enumerate(_choices(model, side, queries, *limits)):
        begin = number * _CHUNK
        best = model.best_of(side, queries[begin : begin + _CHUNK], k, choice)
        rows, ranks = np.nonzero(best.places >= 0)
        parts.append((rows + begin, ranks, best.places[rows, ranks], best.scores[rows, ranks]))
    rows, ranks, chosen, scores = (np.concatenate(each) for each in zip(*parts, strict=True))
    targets = (model.user_ids, model.item_ids)[1 - side]
    ids = [pa.array(each) if len(each) else pa.nulls(0, pa.string()) for each in (queries, targets)]
    return pa.table(
        {
            KEYS[side]: ids[0].take(pa.array(rows)),
            RANK: pa.array((ranks + 1).astype(np.int32)),
            KEYS[1 - side]: ids[1].take(pa.array(chosen)),
            SCORE: pa.array(scores),
            COLD: pa.array(cold[rows]),
        }
    )


def _choices(
    model: Ranker, side: int, queries: Sequence[Any], exclude_seen: Any, candidates: Any
) -> Iterator[Choice]:
    """Yields the targets for each chunk of queries; one chunk if there is no query."""
    targets = model.places(1 - side)
    owners = {key: n for n, key in enumerate(queries) if not isinstance(key, tuple)}
    seen, own = _Pairs.none(), None
    if is_sparse(exclude_seen) or is_table(exclude_seen):
        seen = _Pairs.of(exclude_seen, side, (owners, targets), "the pairs to exclude")
        exclude_seen = ()
    _refuse_spark(exclude_seen, "the pairs to exclude")
    if is_sparse(candidates) or (is_table(candidates) and _has_queries(candidates, side)):
        own = _Pairs.of(candidates, side, (owners, targets), "the candidates").minus(seen)
        candidates = None
    elif is_table(candidates):
        table = to_arrow_table(candidates, "the candidates")
        require_names(table, KEYS[1 - side : 2 - side], "the candidates")
        candidates = table[KEYS[1 - side]].to_pylist()
    seen_ids = () if exclude_seen is None else listed(exclude_seen, "exclude_seen")
    chosen = None if candidates is None else listed(candidates, "candidates")
    closed = excluded(targets, seen_ids, chosen)
    closed = closed[closed >= 0]
    for begin in range(0, max(1, len(queries)), _CHUNK):
        count = min(_CHUNK, len(queries) - begin)
        mine = seen.between(begin, begin + count)
        everyone = np.repeat(np.arange(count), len(closed)), np.tile(closed, count)
        pairs = [np.concatenate(each) for each in zip(mine, everyone, strict=True)]
        without = lists_of(pairs[0], pairs[1], count, len(targets))
        among = None
        if own is not None:
            among = lists_of(*own.between(begin, begin + count), count, len(targets))
        yield Choice(without, among)


def _has_queries(candidates: Any, side: int) -> bool:
    return KEYS[side] in to_arrow_table(candidates, "the candidates").column_names


class _Pairs(NamedTuple):
    """Pairs of known queries and targets as rows, by ascending query."""

    owners: Ints
    targets: Ints

    @classmethod
    def none(cls) -> "_Pairs":
        return cls(np.zeros(0, np.int64), np.zeros(0, np.int64))

    @classmethod
    def of(
        cls, data: Any, side: int, places: tuple[Mapping[Any, int], Mapping[Any, int]], what: str
    ) -> "_Pairs":
        """Reads the distinct pairs of a table or a sparse matrix."""
        table = read_interactions(data, (), what)
        keys = KEYS[side], KEYS[1 - side]
        own, other = (_rows(table[key], at) for key, at in zip(keys, places, strict=True))
        known = (own >= 0) & (other >= 0)
        width = max(1, len(places[1]))
        packed = np.unique(own[known] * width + other[known])
        return cls(packed // width, packed % width)

    def minus(self, other: "_Pairs") -> "_Pairs":
        """Returns the pairs that are not in `other`."""
        width = int(max(self.targets.max(initial=0), other.targets.max(initial=0))) + 1
        mine = self.owners * width + self.targets
        kept = ~np.isin(mine, other.owners * width + other.targets)
        return _Pairs(self.owners[kept], self.targets[kept])

    def between(self, begin: int, end: int) -> tuple[Ints, Ints]:
        """Returns the pairs of the queries from `begin` to `end`, numbered from `begin`."""
        part = slice(*np.searchsorted(self.owners, (begin, end)))
        return self.owners[part] - begin, self.targets[part]


def _rows(column: pa.ChunkedArray, places: Mapping[Any, int]) -> Ints:
    """Returns the row of each id of a column; -1 for unknown and null ids."""
    encoded = combined(column).dictionary_encode()
    known: Ints = np.append(places_of(places, encoded.dictionary.to_pylist()), -1)
    rows: Ints = known[np.asarray(pc.fill_null(encoded.indices, -1))]
    return rows
