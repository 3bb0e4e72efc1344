"""Sends all targets to every partition, and each query to one.

The rows of a partition arrive by kind, so a task prepares the targets before it streams its
queries.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import reduce
from typing import TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import DataType

from matchlake.engine.arrow import combined
from matchlake.engine.packing import (
    binary_array,
    in_chunks,
    pack_table,
    spread_keys,
    unpack_tables,
)
from matchlake.engine.top_k import TargetLists, lists_of

T = TypeVar("T")

TARGET, GIVEN, QUERY = 0, 1, 2
"""The kinds of rows, in their order of arrival."""
_PARTITIONS = 64
"""Partitions if `spark.sql.shuffle.partitions` is not a number, as on serverless."""


@dataclass(frozen=True)
class PartitionPlan:
    """The partitions, by a key that leads to each; all queries have one type."""

    keys: tuple[int, ...]
    query_type: DataType

    @property
    def array(self) -> Column:
        """The keys as a column."""
        return F.array(*[F.lit(key) for key in self.keys])

    @property
    def home(self) -> Column:
        """The key of the partition of a row's `query`."""
        number = F.pmod(F.xxhash64("query"), F.lit(len(self.keys))) + 1
        return F.element_at(self.array, number.cast("int"))

    def assemble(self, *frames: DataFrame) -> DataFrame:
        """All frames in one, each row in its partition, ordered by `kind` there; lazy."""
        return self._routed(*frames).sortWithinPartitions("kind")

    def assemble_with(self, shared: DataFrame, kind: int, *frames: DataFrame) -> DataFrame:
        """As `assemble`, with all rows of `shared` in each partition, by a broadcast join; lazy.

        One row in each partition has this `kind`; the join puts the shared rows in its place.
        """
        session = shared.sparkSession
        marks = session.range(0, 1, 1, 1).select(
            F.explode(self.array).alias("part"), F.lit(kind).alias("kind")
        )
        rows = self._routed(marks, *frames)
        # A literal as the key would be folded into the condition, and the hash join into a loop.
        key = (F.spark_partition_id() * 0 + kind).alias("kind")
        each = F.broadcast(shared.select(key, F.struct("*").alias("_shared")))
        joined = rows.join(each, "kind", "left")
        joined = joined.where((F.col("kind") != kind) | F.col("_shared").isNotNull())
        own, other = (dict.fromkeys(frame.columns) for frame in (rows, shared))
        columns = [
            F.coalesce(
                *([F.col(f"_shared.{name}")] if name in other else []),
                *([F.col(name)] if name in own else []),
            ).alias(name)
            for name in own | other
        ]
        return joined.select(*columns).sortWithinPartitions("kind")

    def _routed(self, *frames: DataFrame) -> DataFrame:
        rows = reduce(lambda a, b: a.unionByName(b, allowMissingColumns=True), frames)
        return rows.repartition(len(self.keys), "part").drop("part")


def plan_partitions(queries: DataFrame, count: int | None = None) -> PartitionPlan:
    """Plans `count` partitions, by default `spark.sql.shuffle.partitions`.

    `queries` has the column `query`.
    """
    if count is None:
        value = queries.sparkSession.conf.get("spark.sql.shuffle.partitions", None) or ""
        count = int(value) if value.isdigit() else _PARTITIONS
    return PartitionPlan(spread_keys(count), queries.schema["query"].dataType)


def copies(count: int) -> Column:
    """One copy of a row for each number below `count`."""
    return F.explode(F.array(*[F.lit(number) for number in range(count)]))


def replicate(frame: DataFrame, plan: PartitionPlan, kind: int) -> DataFrame:
    """A copy of `frame` for every partition."""
    return frame.select(
        F.explode(plan.array).alias("part"),
        F.lit(kind).alias("kind"),
        F.lit(None).cast(plan.query_type).alias("query"),
        "*",
    )


def route_by_query(frame: DataFrame, plan: PartitionPlan, kind: int) -> DataFrame:
    """`frame` with each row in the partition of its `query`."""
    return frame.select(plan.home.alias("part"), F.lit(kind).alias("kind"), "*")


def route_packed(pairs: DataFrame, plan: PartitionPlan, kind: int) -> DataFrame:
    """`pairs` in the partitions of their queries, many of them in one row of `data`.

    There are many more pairs than other rows. Spark asks each row that goes to Python for the size
    of all its columns, which is slow if there are lists among them.
    """
    bound = pairs.select(plan.home.alias("part"), "*")
    packed = bound.mapInArrow(_packed, "part INT, data BINARY")
    return packed.select("part", F.lit(kind).alias("kind"), "data")


def _packed(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    for table in in_chunks(batches):
        by_part = table.sort_by("part")
        parts, starts = np.unique(np.asarray(by_part["part"]), return_index=True)
        pairs = by_part.drop_columns("part")
        for part, start, end in zip(parts, starts, [*starts[1:], len(pairs)], strict=True):
            data = binary_array([pack_table(pairs.slice(start, end - start))])
            yield pa.RecordBatch.from_arrays([pa.array([part]), *data.chunks], ["part", "data"])


def combine(
    targets: DataFrame, queries: DataFrame, given: DataFrame | None, *, broadcast: bool = False
) -> DataFrame:
    """All targets in each partition, its queries, and the given pairs of these; lazy.

    `targets` and `queries` have `id`, which becomes `target` and `query`; `given` has those two.
    With `broadcast` the targets go by the driver to each executor once. Otherwise a shuffle brings
    a copy to each partition: more bytes, but no limit by the memory of the driver.
    """
    targets, queries = (
        frame.withColumnRenamed("id", name)
        for frame, name in ((targets, "target"), (queries, "query"))
    )
    plan = plan_partitions(queries)
    frames = [route_by_query(queries, plan, QUERY)]
    if given is not None:
        kinds = {"query": plan.query_type, "target": targets.schema["target"].dataType}
        # Ids are cast, because equal ids of two types hash differently. An id that cannot be cast
        # becomes null and matches nothing.
        own = [F.col(name).try_cast(kind).alias(name) for name, kind in kinds.items()]
        pairs = given.select(*own)
        frames.append(route_packed(pairs, plan, GIVEN))
    if broadcast:
        return plan.assemble_with(targets, TARGET, *frames)
    return plan.assemble(replicate(targets, plan, TARGET), *frames)


def stream_queries(
    batches: Iterator[pa.RecordBatch], settle: Callable[[pa.Table, pa.Table], T], size: int
) -> Iterator[tuple[pa.RecordBatch, T]]:
    """Yields the queries of a partition, up to `size` at a time, with the result of `settle`.

    `settle` is called once, with all targets and all given pairs.
    """
    waiting: dict[int, list[pa.RecordBatch]] = {TARGET: [], GIVEN: []}
    settled: list[T] = []
    for batch in batches:
        ends = np.searchsorted(np.asarray(batch["kind"]), [TARGET, GIVEN, QUERY])
        bounds = [*map(int, ends), len(batch)]
        for kind, rows in waiting.items():
            rows.append(batch.slice(bounds[kind], bounds[kind + 1] - bounds[kind]))
        if bounds[QUERY] == len(batch):
            continue
        if not settled:
            targets, given = map(pa.Table.from_batches, waiting.values())
            settled.append(settle(targets, unpack_given(given)))
            waiting = {}
        for start in range(bounds[QUERY], len(batch), size):
            yield batch.slice(start, size), settled[0]


def unpack_given(given: pa.Table) -> pa.Table:
    """The pairs of `route_packed` rows; an empty table without such rows."""
    tables = unpack_tables(given["data"]) if "data" in given.column_names else []
    return pa.concat_tables(tables) if tables else given.select(["query", "target"])


def lists_by_query(pairs: pa.Table, targets: pa.Array) -> tuple[pa.Array, TargetLists]:
    """The queries with given pairs, and for each the indices of its targets in `targets`."""
    encoded = combined(pairs["query"]).dictionary_encode()
    owners = np.asarray(pc.fill_null(encoded.indices, -1))
    indices = np.asarray(pc.fill_null(pc.index_in(combined(pairs["target"]), targets), -1))
    return encoded.dictionary, lists_of(owners, indices, len(encoded.dictionary), len(targets))
