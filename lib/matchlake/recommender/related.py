"""Related entities on Spark: each task gets all targets, then streams its queries past them."""

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
from matchlake.engine.broadcast import given_lists, scene_of, streamed
from matchlake.engine.csr import Floats
from matchlake.engine.packing import pack, unpack
from matchlake.engine.top_k import Lists, pick_lists
from matchlake.recommender.densities import Geometry, log_densities
from matchlake.schemas import RANK, SCORE

_BATCH = 128
"""Queries whose scores of all targets are in memory at a time."""


@dataclass(frozen=True)
class Related:
    """Finds for entities of one side, `asked`, those of `targets` that are rated alike."""

    asked: DataFrame
    targets: DataFrame
    keys: tuple[str, str]
    geometry: Geometry

    @staticmethod
    def of(
        sides: tuple[DataFrame, DataFrame], keys: tuple[str, str], others: DataFrame, noise: float
    ) -> "Related":
        """For rows that can be asked for, and candidates, with their id and index columns.

        Starts one job over the others' factors.
        """
        moments = others.select("factors").mapInArrow(_sums, "data binary").collect()
        parts = [unpack([bytes(row["data"])]) for row in moments]
        count = sum(float(part["count"]) for part in parts)
        total = np.sum([part["total"] for part in parts], axis=0)
        square = np.sum([part["square"] for part in parts], axis=0)
        return Related(*sides, keys, Geometry.of(count, total, square, noise))

    def lists(self, queries: DataFrame, k: int, pairs: DataFrame | None = None) -> DataFrame:
        """The `k` likest of each query, among the `target`s of its `pairs` where given; lazy."""
        key, index = self.keys
        columns = (F.col(key).alias("id"), F.col(index).alias("idx"), "factors", "bias")
        asked = queries.select(F.col(key).alias("id")).join(self.asked.select(*columns), "id")
        scene = scene_of(self.targets.select(*columns), asked, pairs)
        task = _Task(self.geometry, k, key, only_given=pairs is not None)
        return scene.mapInArrow(task, _lists_schema(key, self.asked.schema[key].dataType))


def trained(side: DataFrame) -> DataFrame:
    """The rows of a factor model's side that learned from ratings; all where it does not say."""
    return side.where(F.col("observed") > 0) if "observed" in side.columns else side


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


def _lists_schema(key: str, kind: DataType) -> StructType:
    return StructType(
        [
            StructField(key, kind),
            StructField(RANK, IntegerType()),
            StructField(f"related_{key}", kind),
            StructField(SCORE, FloatType()),
        ]
    )


class _Targets(NamedTuple):
    """All targets by index: rows in the space of the geometry, and expected differences."""

    ids: pa.Array
    rows: Floats
    levels: Floats
    owners: pa.Array
    given: Lists


@dataclass(frozen=True)
class _Task:
    """The body of a task: targets, given pairs and queries in, in this order; lists out."""

    geometry: Geometry
    k: int
    key: str
    only_given: bool

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for queries, targets in streamed(batches, self._settle, _BATCH):
            yield self._answer(queries, targets)

    def _settle(self, table: pa.Table, given: pa.Table) -> _Targets:
        table = table.sort_by("idx")
        rows, levels = self._placed(combined(table["factors"]), np.asarray(table["bias"]))
        ids = combined(table["target"])
        return _Targets(ids, rows, levels, *given_lists(given, ids))

    def _placed(self, factors: pa.ListArray, bias: Floats) -> tuple[Floats, Floats]:
        return self.geometry.placed(np.asarray(factors.flatten()).reshape(len(factors), -1), bias)

    def _answer(self, batch: pa.RecordBatch, targets: _Targets) -> pa.RecordBatch:
        rows, levels = self._placed(batch["factors"], np.asarray(batch["bias"]))
        scores = log_densities(rows, levels, targets.rows, targets.levels, self.geometry.noise)
        own = np.asarray(pc.fill_null(pc.index_in(batch["query"], targets.ids), -1))
        if self.only_given:
            place = np.asarray(pc.fill_null(pc.index_in(batch["query"], targets.owners), -1))
            given = pick_lists(targets.given, place)
            among = np.zeros(scores.shape, bool)
            for row in range(len(scores)):
                among[row, given.places[given.indptr[row] : given.indptr[row + 1]]] = True
            scores[~among] = -np.inf
        among_targets = np.flatnonzero(own >= 0)
        scores[among_targets, own[among_targets]] = -np.inf
        best = np.argsort(-scores, axis=1, kind="stable")[:, : self.k]
        rows_found, rank = np.nonzero(np.take_along_axis(scores, best, axis=1) > -np.inf)
        found = best[rows_found, rank]
        return pa.RecordBatch.from_pydict(
            {
                self.key: batch["query"].take(pa.array(rows_found)),
                RANK: pa.array((rank + 1).astype(np.int32)),
                f"related_{self.key}": targets.ids.take(pa.array(found)),
                SCORE: pa.array(scores[rows_found, found]),
            }
        )
