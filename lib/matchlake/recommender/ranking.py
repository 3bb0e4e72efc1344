"""Ranked lists on Spark: each partition gets all targets, then streams its queries past them.

One shuffle brings to every partition the pairs to exclude or to choose from, and its queries. The
targets come first, by a broadcast if they are known to be few, else by the same shuffle. A task
holds the targets as one float32 matrix, the pairs of its own queries as integers, and one batch of
queries. There is no cross join of rows, and no room for "k + the longest history".
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
from matchlake.engine.broadcast import combine, lists_by_query, stream_queries
from matchlake.engine.csr import Floats, Ints
from matchlake.engine.top_k import (
    Best,
    TargetLists,
    Targets,
    pack_targets,
    pick_lists,
    top_k,
    top_k_among,
)
from matchlake.schemas import RANK, SCORE

_BATCH = 1024
"""Queries whose lists leave a task together."""
_MIN_NORM = np.float32(1e-12)


class RankingOptions(NamedTuple):
    """How to rank the `k` best targets of each query, by factors of `rank` columns."""

    k: int
    rank: int
    mean: float = 0.0
    only_given: bool = False
    """Choose from the given pairs, rather than exclude them."""
    cosine: bool = False
    """Compare by cosine, and never return the query's own index."""
    by_popularity: bool = False
    """Unknown queries get the targets with the most interactions, not those of highest bias."""


@dataclass(frozen=True)
class Ranking:
    """The rows to rank. All ids of one side have one type.

    `queries` and `targets` have `id`, `idx`, `factors`, `bias`, `n_interactions`; a query without
    `factors` is unknown. `given` has `query` and `target`: pairs to exclude, or to choose from.
    """

    queries: DataFrame
    targets: DataFrame
    options: RankingOptions
    given: DataFrame | None = None
    broadcast: bool = False
    """The targets are few enough to be sent by the driver, once to each executor."""

    def lists(self, query: str, target: str) -> DataFrame:
        """Columns `query`, `rank` (from 1), `target`, `score` and `is_cold_start`; lazy."""
        queries = self.queries.select("id", "idx", "factors", "bias")
        combined_rows = combine(self.targets, queries, self.given, broadcast=self.broadcast)
        kinds = self.queries.schema["id"].dataType, self.targets.schema["id"].dataType
        task = _Task(self.options, (query, target))
        return combined_rows.mapInArrow(task, lists_schema((query, target), kinds))


def as_rows(frame: DataFrame, key: str, index: str) -> DataFrame:
    """One side of a factor model as queries or targets."""
    columns: list[str | Column] = [F.col(key).alias("id"), F.col(index).alias("idx")]
    known = "n_interactions" in frame.columns
    counts = F.col("n_interactions") if known else F.lit(0)
    return frame.select(*columns, "factors", "bias", counts.cast("long").alias("n_interactions"))


def lists_schema(names: tuple[str, str], kinds: tuple[DataType, DataType]) -> StructType:
    """The columns of ranked lists."""
    return StructType(
        [
            StructField(names[0], kinds[0]),
            StructField(RANK, IntegerType()),
            StructField(names[1], kinds[1]),
            StructField(SCORE, FloatType()),
            StructField("is_cold_start", BooleanType()),
        ]
    )


def list_rows(
    names: tuple[str, str],
    ids: tuple[pa.Array, pa.Array],
    best: Best,
    offset: Floats,
    cold: pa.Array,
) -> pa.RecordBatch:
    """The rows of `lists_schema`; `offset` is added to the scores of each query."""
    listed = best.places >= 0
    row, rank = np.nonzero(listed)
    return pa.RecordBatch.from_pydict(
        {
            names[0]: ids[0].take(pa.array(row)),
            RANK: pa.array((rank + 1).astype(np.int32)),
            names[1]: ids[1].take(pa.array(best.places[listed])),
            SCORE: pa.array(best.scores[listed] + offset[row]),
            "is_cold_start": cold.take(pa.array(row)),
        }
    )


class _Targets(NamedTuple):
    """All targets in the order of their indices, and the given pairs of the task's queries."""

    ids: pa.Array
    idx: Ints
    rows: Floats | Targets
    """Factors, then the bias; scaled to length 1 for cosines."""
    plain: Floats
    """The scores for an unknown query."""
    owners: pa.Array
    given: TargetLists


@dataclass(frozen=True)
class _Task:
    """The body of a task: targets, given pairs and queries in, in this order; lists out."""

    options: RankingOptions
    names: tuple[str, str]

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for queries, targets in stream_queries(batches, self._settle, _BATCH):
            yield self._answer(queries, targets)

    def _settle(self, table: pa.Table, given: pa.Table) -> _Targets:
        table = table.sort_by("idx")
        matrix = self._matrix(combined(table["factors"]), np.asarray(table["bias"]))
        plain = np.ascontiguousarray(matrix[:, -1])
        if self.options.by_popularity:
            counts = np.asarray(table["n_interactions"]).astype(np.float64)
            plain = (counts / max(1.0, counts.sum())).astype(np.float32)
        ids, idx = combined(table["target"]), np.asarray(table["idx"])
        rows = matrix if self.options.only_given else pack_targets(matrix)
        return _Targets(ids, idx, rows, plain, *lists_by_query(given, ids))

    def _matrix(self, factors: pa.ListArray, last: Floats) -> Floats:
        known, flat = np.asarray(factors.is_valid()), np.asarray(factors.flatten())
        matrix = np.full((len(known), self.options.rank + 1), np.nan, np.float32)
        matrix[known, :-1] = flat.reshape(int(known.sum()), self.options.rank)
        matrix[known, -1] = last[known]
        if self.options.cosine:
            matrix[:, -1] = 0.0
            matrix /= np.maximum(np.linalg.norm(matrix, axis=1, keepdims=True), _MIN_NORM)
        return matrix

    def _answer(self, batch: pa.RecordBatch, targets: _Targets) -> pa.RecordBatch:
        matrix = self._matrix(batch["factors"], np.ones(len(batch), np.float32))
        cold, level = np.isnan(matrix[:, 0]), np.zeros(len(batch), np.float32)
        if self.options.cosine:
            own = np.searchsorted(targets.idx, np.asarray(batch["idx"])).astype(np.int32)
            lists = TargetLists(np.arange(len(batch) + 1), own)
        else:
            rows = np.asarray(pc.fill_null(pc.index_in(batch["query"], targets.owners), -1))
            lists = pick_lists(targets.given, rows)
            bias = np.asarray(pc.fill_null(batch["bias"], 0.0))
            level = np.float32(self.options.mean) + bias
        among, k, plain = targets.rows, self.options.k, targets.plain
        if isinstance(among, Targets):
            best = top_k(matrix, among, k, lists, plain)
        else:
            best = top_k_among(matrix, among, k, lists, plain)
        ids = batch["query"], targets.ids
        return list_rows(self.names, ids, best, level, pa.array(cold))
