"""Sends one frame to every partition and another to the partition of each row's query.

What comes together in a partition comes in the order of its kinds, so that a task can settle what
it needs to know before the rows it streams.
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
from matchlake.engine.top_k import Lists, lists_of

T = TypeVar("T")

TARGET, GIVEN, QUERY = 0, 1, 2
"""The kinds of rows, in the order in which a task gets them."""
_MANY = 64
"""Partitions where `spark.sql.shuffle.partitions` is not a number, as on serverless."""


@dataclass(frozen=True)
class Spread:
    """How many partitions, and the key that leads to each; queries of one type."""

    keys: list[int]
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

    def gather(self, *frames: DataFrame) -> DataFrame:
        """All frames in one, each row in its partition, by `kind` there; lazy."""
        scene = reduce(lambda a, b: a.unionByName(b, allowMissingColumns=True), frames)
        return scene.repartition(len(self.keys), "part").sortWithinPartitions("kind").drop("part")


def spread_over(queries: DataFrame) -> Spread:
    """As many partitions as the session's shuffles have; `queries` has a column `query`."""
    value = queries.sparkSession.conf.get("spark.sql.shuffle.partitions", "") or ""
    count = int(value) if value.isdigit() else _MANY
    return Spread(spread_keys(count), queries.schema["query"].dataType)


def sent_to_all(frame: DataFrame, spread: Spread, kind: int) -> DataFrame:
    """A copy of `frame` for every partition."""
    return frame.select(
        F.explode(spread.array).alias("part"),
        F.lit(kind).alias("kind"),
        F.lit(None).cast(spread.query_type).alias("query"),
        "*",
    )


def sent_home(frame: DataFrame, spread: Spread, kind: int) -> DataFrame:
    """`frame`, each row bound for the partition of its `query`."""
    return frame.select(spread.home.alias("part"), F.lit(kind).alias("kind"), "*")


def sent_packed(pairs: DataFrame, spread: Spread, kind: int) -> DataFrame:
    """`pairs`, each bound for the partition of its `query`, many of them in one row of `data`.

    There are many more of them than of other rows, and Spark asks each row that goes to Python
    for the size of all columns of the scene, slowly where lists are among them.
    """
    bound = pairs.select(spread.home.alias("part"), "*")
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


def scene_of(targets: DataFrame, queries: DataFrame, given: DataFrame | None) -> DataFrame:
    """All targets for each partition, the queries, and what is `given` of each; lazy.

    `targets` and `queries` have `id`, which becomes `target` and `query`; `given` has those two.
    """
    targets, queries = (
        frame.withColumnRenamed("id", name)
        for frame, name in ((targets, "target"), (queries, "query"))
    )
    spread = spread_over(queries)
    frames = [sent_to_all(targets, spread, TARGET), sent_home(queries, spread, QUERY)]
    if given is not None:
        kinds = {"query": spread.query_type, "target": targets.schema["target"].dataType}
        # Ids of another type would be sent elsewhere; one that is none of that type equals none.
        own = [F.col(name).try_cast(kind).alias(name) for name, kind in kinds.items()]
        pairs = given.select(*own)
        frames.append(sent_packed(pairs, spread, GIVEN))
    return spread.gather(*frames)


def streamed(
    batches: Iterator[pa.RecordBatch], settle: Callable[[pa.Table, pa.Table], T], size: int
) -> Iterator[tuple[pa.RecordBatch, T]]:
    """A partition's queries, up to `size` at a time, with what comes before them.

    That is what `settle` makes, once, of all targets and all given pairs.
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
            settled.append(settle(targets, _pairs(given)))
            waiting = {}
        for start in range(bounds[QUERY], len(batch), size):
            yield batch.slice(start, size), settled[0]


def _pairs(given: pa.Table) -> pa.Table:
    """The pairs that came packed; none where none were sent."""
    tables = unpack_tables(given["data"]) if "data" in given.column_names else []
    return pa.concat_tables(tables) if tables else given.select(["query", "target"])


def given_lists(pairs: pa.Table, targets: pa.Array) -> tuple[pa.Array, Lists]:
    """The queries that have given pairs, and of each the places of its targets in `targets`."""
    encoded = combined(pairs["query"]).dictionary_encode()
    owners = np.asarray(pc.fill_null(encoded.indices, -1))
    places = np.asarray(pc.fill_null(pc.index_in(combined(pairs["target"]), targets), -1))
    return encoded.dictionary, lists_of(owners, places, len(encoded.dictionary), len(targets))
