"""Ranked lists on Spark: each partition gets all targets, then streams its queries past them.

One shuffle brings to every partition the targets (a copy each), what its queries may or must not
be given, and its queries, in this order. A task holds the targets as one float32 matrix, the
exclusions of its own queries as pairs of integers, and one batch of queries: no cross join of
rows, and no room for 'k + the longest history'.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import (
    BooleanType,
    DataType,
    FloatType,
    IntegerType,
    StructField,
    StructType,
)

from matchlake.engine.arrow import combined
from matchlake.engine.broadcast import given_lists, scene_of, streamed
from matchlake.engine.csr import Floats, Ints
from matchlake.engine.top_k import Lists, Targets, pack_targets, pick_lists, top_k, top_k_among
from matchlake.schemas import RANK, SCORE

_BATCH = 1024
"""Queries whose lists leave a task together."""
_SHORTEST = np.float32(1e-12)


class RankingParams(NamedTuple):
    """How to rank; `k` best of each query, by factors of `rank` columns."""

    k: int
    rank: int
    mean: float = 0.0
    only_given: bool = False
    """The given pairs are the only ones to choose from, rather than those to leave out."""
    alike: bool = False
    """By cosine, and never a target with the query's own index."""
    popular: bool = False
    """Unknown queries get what has the most interactions, rather than the highest bias."""


@dataclass(frozen=True)
class Ranking:
    """What to rank. All ids of one side have one type.

    `queries` and `targets` have `id`, `idx`, `factors`, `bias`, `observed`; a query without
    `factors` is unknown. `given` has `query` and `target`: pairs to leave out, or to choose from.
    """

    queries: DataFrame
    targets: DataFrame
    params: RankingParams
    given: DataFrame | None = None

    def lists(self, query: str, target: str) -> DataFrame:
        """Columns `query`, `rank` (from 1), `target`, `score` and `cold`; lazy."""
        queries = self.queries.select("id", "idx", "factors", "bias")
        scene = scene_of(self.targets, queries, self.given)
        fields = self.queries.schema["id"].dataType, self.targets.schema["id"].dataType
        task = _Task(self.params, (query, target))
        return scene.mapInArrow(task, _lists_schema((query, target), fields))


def side(frame: DataFrame, key: str, index: str) -> DataFrame:
    """One side of a factor model as queries or targets."""
    columns: list[str | Column] = [F.col(key).alias("id"), F.col(index).alias("idx")]
    observed = F.col("observed") if "observed" in frame.columns else F.lit(0)
    return frame.select(*columns, "factors", "bias", observed.cast("long").alias("observed"))


def _lists_schema(names: tuple[str, str], kinds: tuple[DataType, DataType]) -> StructType:
    return StructType(
        [
            StructField(names[0], kinds[0]),
            StructField(RANK, IntegerType()),
            StructField(names[1], kinds[1]),
            StructField(SCORE, FloatType()),
            StructField("cold", BooleanType()),
        ]
    )


class _Targets(NamedTuple):
    """All targets in the order of their indices, and what the task's queries are given."""

    ids: pa.Array
    idx: Ints
    rows: Floats | Targets
    """Factors, then the bias; scaled to length 1 where rows are compared by cosine."""
    plain: Floats
    """What an unknown query scores."""
    owners: pa.Array
    given: Lists


@dataclass(frozen=True)
class _Task:
    """The body of a task: targets, given pairs and queries in, in this order; lists out."""

    ranking: RankingParams
    names: tuple[str, str]

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for queries, targets in streamed(batches, self._settle, _BATCH):
            yield self._answer(queries, targets)

    def _settle(self, table: pa.Table, given: pa.Table) -> _Targets:
        table = table.sort_by("idx")
        matrix = self._matrix(combined(table["factors"]), np.asarray(table["bias"]))
        plain = np.ascontiguousarray(matrix[:, -1])
        if self.ranking.popular:
            observed = np.asarray(table["observed"]).astype(np.float64)
            plain = (observed / max(1.0, observed.sum())).astype(np.float32)
        ids, idx = combined(table["target"]), np.asarray(table["idx"])
        rows = matrix if self.ranking.only_given else pack_targets(matrix)
        return _Targets(ids, idx, rows, plain, *given_lists(given, ids))

    def _matrix(self, factors: pa.ListArray, last: Floats) -> Floats:
        known, flat = np.asarray(factors.is_valid()), np.asarray(factors.flatten())
        matrix = np.full((len(known), self.ranking.rank + 1), np.nan, np.float32)
        matrix[known, :-1] = flat.reshape(-1, self.ranking.rank)
        matrix[known, -1] = last[known]
        if self.ranking.alike:
            matrix[:, -1] = 0.0
            matrix /= np.maximum(np.linalg.norm(matrix, axis=1, keepdims=True), _SHORTEST)
        return matrix

    def _answer(self, batch: pa.RecordBatch, targets: _Targets) -> pa.RecordBatch:
        matrix = self._matrix(batch["factors"], np.ones(len(batch), np.float32))
        cold, level = np.isnan(matrix[:, 0]), np.zeros(len(batch), np.float32)
        if self.ranking.alike:
            own = np.searchsorted(targets.idx, np.asarray(batch["idx"])).astype(np.int32)
            given = Lists(np.arange(len(batch) + 1), own)
        else:
            rows = np.asarray(pc.fill_null(pc.index_in(batch["query"], targets.owners), -1))
            given = pick_lists(targets.given, rows)
            bias = np.asarray(pc.fill_null(batch["bias"], 0.0))
            level = np.float32(self.ranking.mean) + bias
        among, k, plain = targets.rows, self.ranking.k, targets.plain
        if isinstance(among, Targets):
            best = top_k(matrix, among, k, given, plain)
        else:
            best = top_k_among(matrix, among, k, given, plain)
        found = best.places >= 0
        row, rank = np.nonzero(found)
        query, target = self.names
        return pa.RecordBatch.from_pydict(
            {
                query: batch["query"].take(pa.array(row)),
                RANK: pa.array((rank + 1).astype(np.int32)),
                target: targets.ids.take(pa.array(best.places[found])),
                SCORE: pa.array(best.scores[found] + level[row]),
                "cold": pa.array(cold[row]),
            }
        )
