"""Finds items, or users, with similar rating patterns on Spark."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import DataType, FloatType, IntegerType, StructField, StructType

from matchlake.engine.arrow import combined
from matchlake.engine.broadcast import combine, lists_by_query, stream_queries
from matchlake.engine.csr import Floats
from matchlake.engine.packing import pack, unpack
from matchlake.engine.top_k import TargetLists, pick_lists, require_k, select_top_k
from matchlake.recommender.co_rating import CoRatingMetric, distances, log_densities
from matchlake.recommender.columns import require_columns
from matchlake.recommender.protocol import Pools, RankedLists
from matchlake.recommender.sides import INDICES, KEYS
from matchlake.schemas import ITEM_ID, RANK, SCORE, USER_ID

POOL = "pool"
"""The column with the number of candidates of a skipped user or item."""

_BATCH = 128
"""The number of queries whose scores of all targets are in memory at a time."""


@dataclass(frozen=True)
class Related:
    """Finds, for each query, the targets with the most similar expected ratings.

    `rows` are the possible queries and `targets` the candidates, both rows of side `side`.
    """

    rows: DataFrame
    targets: DataFrame
    side: int
    metric: CoRatingMetric

    @staticmethod
    def of(
        sides: tuple[DataFrame, DataFrame], side: int, others: DataFrame, noise: float
    ) -> "Related":
        """Prepares possible queries and candidates.

        Starts one job over the other side's factors.
        """
        moments = others.select("factors").mapInArrow(_sums, "data binary").collect()
        parts = [unpack([bytes(row["data"])]) for row in moments]
        count = sum(float(part["count"]) for part in parts)
        total = np.sum([part["total"] for part in parts], axis=0)
        square = np.sum([part["square"] for part in parts], axis=0)
        return Related(*sides, side, CoRatingMetric.of(count, total, square, noise))

    def lists(
        self, queries: DataFrame, k: int, name: str, pairs: DataFrame | None = None
    ) -> DataFrame:
        """The `k` most similar targets of each query, in the column `name`; lazy.

        If `pairs` (`query`, `target`) are given, only they are candidates.
        """
        key, index = KEYS[self.side], INDICES[self.side]
        columns = (F.col(key).alias("id"), F.col(index).alias("idx"), "factors", "bias")
        rows = queries.select(F.col(key).alias("id")).join(self.rows.select(*columns), "id")
        combined_rows = combine(self.targets.select(*columns), rows, pairs)
        task = _Task(self.metric, k, (key, name), only_given=pairs is not None)
        schema = _lists_schema((key, name), self.rows.schema[key].dataType)
        return combined_rows.mapInArrow(task, schema)


def trained(rows: DataFrame) -> DataFrame:
    """Returns the rows with ratings in the fit; all rows if `n_interactions` is missing."""
    return rows.where(F.col("n_interactions") > 0) if "n_interactions" in rows.columns else rows


def similar_lists(
    own: DataFrame, others: DataFrame, side: int, queries: DataFrame | None, k: int
) -> DataFrame:
    """Returns the `k` trained rows of `own` most similar to each query, by co-rating; one job."""
    key = KEYS[side]
    related = Related.of((own, trained(own)), side, trained(others), Pools().noise)
    return related.lists(_known(own, key, queries), k, f"similar_{key}")


def related_lists(
    sides: tuple[DataFrame, DataFrame],
    side: int,
    queries: DataFrame | None,
    k: int,
    choice: tuple[DataFrame | None, Pools],
) -> RankedLists:
    """Implements `Recommender.related_items`.

    `sides` has the rows of `side`, then the other side.
    """
    require_k(k)
    key, name = KEYS[side], f"related_{KEYS[side]}"
    own, others = sides
    rated, pools = choice
    if queries is not None:
        require_columns(queries, (key,), "the frame of queries")
    targets = trained(own) if rated is None else own
    related = Related.of((own, targets), side, trained(others), pools.noise)
    known = _known(own, key, queries)
    pairs = None
    if rated is None:
        size = targets.agg(F.count("*").alias("_size"))
        itself = targets.select(key, F.lit(1).alias("_own"))
        counted = known.join(itself, key, "left").crossJoin(size)
        counted = counted.select(key, (F.col("_size") - F.coalesce("_own", F.lit(0))).alias(POOL))
    else:
        pairs = _co_rated(distinct_pairs(rated), side, pools.min_co_ratings)
        pairs = pairs.join(own.select(F.col(key).alias("target")), "target", "semi")
        counts = pool_sizes(pairs, "query").withColumnRenamed("query", key)
        counted = known.join(counts, key, "left").fillna(0, [POOL])
    enough = counted.where(F.col(POOL) >= pools.min_candidates).select(key)
    lists = related.lists(enough, k, name, pairs)
    return RankedLists(lists, counted.where(F.col(POOL) < pools.min_candidates))


def distinct_pairs(rated: DataFrame) -> DataFrame:
    """The distinct `user_id`, `item_id` of `rated`, without nulls."""
    require_columns(rated, (USER_ID, ITEM_ID), "the rated pairs")
    return rated.select(USER_ID, ITEM_ID).dropna().distinct()


def pool_sizes(pairs: DataFrame, key: str) -> DataFrame:
    """The number of candidates of each `key`, as `pool`."""
    return pairs.groupBy(key).agg(F.count("*").alias(POOL))


def _known(own: DataFrame, key: str, queries: DataFrame | None) -> DataFrame:
    """Returns the known ids of the queries; without queries, all ids of the model."""
    ids = own.select(key) if queries is None else queries.select(key).distinct()
    return ids.join(own.select(key), key, "semi")


def _co_rated(pairs: DataFrame, side: int, minimum: int) -> DataFrame:
    """Returns `query`, `target`: two ids of one side with at least `minimum` common ids."""
    key, other = KEYS[side], KEYS[1 - side]
    left = pairs.select(F.col(key).alias("query"), other)
    right = pairs.select(F.col(key).alias("target"), other)
    both = left.join(right, other).where(F.col("query") != F.col("target"))
    counts = both.groupBy("query", "target").agg(F.count("*").alias("common"))
    return counts.where(F.col("common") >= minimum).select("query", "target")


def _sums(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Count, sum and sum of products of a partition's factors, in f64."""
    count, total, square = 0, None, None
    for batch in batches:
        if not len(batch):
            continue
        rows = np.asarray(batch["factors"].flatten()).reshape(len(batch), -1).astype(np.float64)
        count += len(rows)
        total = rows.sum(axis=0) + (0.0 if total is None else total)
        square = rows.T @ rows + (0.0 if square is None else square)
    if total is not None and square is not None:
        data = pack({"count": np.array(count), "total": total, "square": square})
        yield pa.RecordBatch.from_pydict({"data": pa.array([bytes(data)], pa.binary())})


def _lists_schema(names: tuple[str, str], kind: DataType) -> StructType:
    return StructType(
        [
            StructField(names[0], kind),
            StructField(RANK, IntegerType()),
            StructField(names[1], kind),
            StructField(SCORE, FloatType()),
        ]
    )


class _Targets(NamedTuple):
    """The targets by index: rows in the space of the metric, and expected scores."""

    ids: pa.Array
    rows: Floats
    levels: Floats
    owners: pa.Array
    given: TargetLists


@dataclass(frozen=True)
class _Task:
    """The function of a task: reads targets, given pairs and queries, in this order.

    Returns lists.
    """

    metric: CoRatingMetric
    k: int
    names: tuple[str, str]
    only_given: bool

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for queries, targets in stream_queries(batches, self._settle, _BATCH):
            yield self._answer(queries, targets)

    def _settle(self, table: pa.Table, given: pa.Table) -> _Targets:
        table = table.sort_by("idx")
        rows, levels = self._project(combined(table["factors"]), np.asarray(table["bias"]))
        ids = combined(table["target"])
        return _Targets(ids, rows, levels, *lists_by_query(given, ids))

    def _project(self, factors: pa.ListArray, bias: Floats) -> tuple[Floats, Floats]:
        return self.metric.project(np.asarray(factors.flatten()).reshape(len(factors), -1), bias)

    def _answer(self, batch: pa.RecordBatch, targets: _Targets) -> pa.RecordBatch:
        rows, levels = self._project(batch["factors"], np.asarray(batch["bias"]))
        scores = log_densities(rows, levels, targets.rows, targets.levels, self.metric.noise)
        own = np.asarray(pc.fill_null(pc.index_in(batch["query"], targets.ids), -1))
        among = None
        if self.only_given:
            index = np.asarray(pc.fill_null(pc.index_in(batch["query"], targets.owners), -1))
            among = pick_lists(targets.given, index)
        known = np.flatnonzero(own >= 0)
        scores[known, own[known]] = -np.inf
        best = select_top_k(scores, self.k, among)
        listed = best.places >= 0
        row, rank = np.nonzero(listed)
        query, target = self.names
        return pa.RecordBatch.from_pydict(
            {
                query: batch["query"].take(pa.array(row)),
                RANK: pa.array((rank + 1).astype(np.int32)),
                target: targets.ids.take(pa.array(best.places[listed])),
                SCORE: pa.array(distances(best.scores[listed], self.metric.noise)),
            }
        )
