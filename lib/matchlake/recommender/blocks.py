"""Splits interactions into blocks, and finds the rows that blocks exchange."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from matchlake.engine.csr import Csr, csr_from_pairs
from matchlake.engine.grouped import Key, apply_by_group
from matchlake.engine.packing import binary_array, pack, pieces_of, spread_keys, unpack
from matchlake.recommender.block_sizes import FitSize, Held
from matchlake.recommender.checkpoint import Checkpointer
from matchlake.recommender.ids import dense_ids
from matchlake.recommender.interaction_stats import SHOWN, VALUE, InteractionStats, refuse_repeated
from matchlake.recommender.sides import ITEM, USER
from matchlake.schemas import ITEM_ID, USER_ID

_log = logging.getLogger(__name__)

BLOCKS_SCHEMA = (
    "side int, key int, kind int, piece int, data binary, "
    "repeated long, user_idx long, item_idx long, held long"
)
_PIECES_SCHEMA = "side int, key int, data binary"

BLOCK, LINKS = 0, 1
"""Values of `kind`: the interactions of a block, or its links."""

FLUSH = 1 << 21
"""Interactions that a task sorts by block at a time."""


@dataclass(frozen=True)
class Layout:
    """The blocks of both sides: row `idx` is row `idx // blocks` of block `idx % blocks`.

    So rows with many interactions, which are often neighbours, spread over all blocks. Spark's hash
    partitioning puts `keys[b]`, the key of block `b` of either side, into partition `b`.
    """

    sizes: tuple[int, int]
    blocks: int

    @property
    def keys(self) -> tuple[int, ...]:
        """The partitioning key of each block."""
        return spread_keys(self.blocks)

    def number(self, key: Key) -> int:
        """The block of a partitioning key."""
        return self.keys.index(key[0].as_py())

    def rows(self, side: int, block: int) -> npt.NDArray[np.int64]:
        """The indices of a block's rows, in their order."""
        return np.arange(block, self.sizes[side], self.blocks)


@dataclass(frozen=True)
class Block:
    """One block of a side: its interactions, and its links to the blocks of the other side.

    The columns of `csr` are the received rows of the other side, those of block 0 first. A block
    receives only rows with interactions in it. `links[d]` has the rows that block `d` of the other
    side needs. The links of the other side list the rows that this block receives, in the same
    order. The links are kept apart: a half reads them on one side, the interactions on the other.
    """

    csr: Csr
    links: list[npt.NDArray[np.int32]]

    def packed(self) -> dict[int, memoryview]:
        """The block as bytes, by kind."""
        counts = np.array([len(link) for link in self.links])
        links = {"counts": counts, "links": np.concatenate(self.links)}
        return {BLOCK: pack(self.csr.narrowed()), LINKS: pack(links)}


def csr_of(table: pa.Table) -> Csr:
    """The interactions of a block from the pieces in `table`."""
    return Csr.widened(_arrays(table))


def links_of(table: pa.Table) -> list[npt.NDArray[np.int32]]:
    """The links of a block from the pieces in `table`."""
    data = _arrays(table)
    return np.split(data["links"], np.cumsum(data["counts"])[:-1])


def _arrays(table: pa.Table) -> Any:
    order = np.argsort(np.asarray(table["piece"]))
    return unpack(table["data"][int(row)].as_buffer() for row in order)


def block_frame(indexed: DataFrame, layout: Layout, width: int) -> DataFrame:
    """All blocks of both sides from `user_idx`, `item_idx`, `value`; lazy.

    One row per piece of a block. `repeated` counts repeated pairs in the block; `user_idx`,
    `item_idx` is one of them. `held` are the bytes that a task of the block holds, if stored rows
    have `width` float32 columns.
    """
    pieces = indexed.mapInArrow(_Scatter(layout), _PIECES_SCHEMA)
    return apply_by_group(pieces, ("side", "key"), _Gather(layout, width), BLOCKS_SCHEMA)


class Bounds(NamedTuple):
    """What a fit's blocks depend on beside its data.

    Stored rows have `width` float32 columns. `blocks` is the number per side; None: two per core,
    and as many as keep a task within its memory.
    """

    width: int
    blocks: int | None
    task_memory_mb: int


def partition(
    pairs: DataFrame, stats: InteractionStats, bounds: Bounds, checkpoint: Checkpointer
) -> tuple[DataFrame, tuple[DataFrame, DataFrame], Layout]:
    """Ids and blocks of a distributed fit.

    Starts two actions per id column (see `dense_ids`), a small one that counts the cores, one for
    the checkpoint of the blocks, and one that looks for repeated pairs. Raises InputError if pairs
    repeat, or if a task would hold more than `task_memory_mb`.
    """
    users, user_count = dense_ids(pairs, USER_ID, checkpoint)
    items, item_count = dense_ids(pairs, ITEM_ID, checkpoint)
    sizes = user_count, item_count
    size, limit = FitSize(stats.interactions, sizes, bounds.width), bounds.task_memory_mb << 20
    count = bounds.blocks or size.blocks(count_cores(pairs.sparkSession), limit)
    layout = Layout(sizes, min(count, *sizes))
    size.require(layout.blocks, limit)
    indexed = pairs.join(users.withColumnRenamed("idx", "user_idx"), USER_ID)
    indexed = indexed.join(items.withColumnRenamed("idx", "item_idx"), ITEM_ID)
    indexed = indexed.select("user_idx", "item_idx", VALUE)
    frame = checkpoint(block_frame(indexed, layout, bounds.width))
    largest, repeats = frame.agg(F.max("held"), F.max("repeated")).collect()[0]
    if repeats:
        _refuse_repeated(frame, users, items)
    size.require(layout.blocks, limit, largest)
    _log.info("%d blocks per side; a task holds up to %d MiB", layout.blocks, largest >> 20)
    return frame, (users, items), layout


def count_cores(session: SparkSession) -> int:
    """The cores that Spark divides a range over, without SparkContext. A small action."""
    numbers = session.range(1 << 16).select(F.spark_partition_id().alias("part"))
    return int(numbers.agg(F.max("part")).collect()[0][0]) + 1


def _refuse_repeated(frame: DataFrame, users: DataFrame, items: DataFrame) -> None:
    repeated = frame.where((F.col("repeated") > 0) & (F.col("side") == USER))
    shown = repeated.select("user_idx", "item_idx").distinct().limit(SHOWN)
    shown = shown.join(users.withColumnRenamed("idx", "user_idx"), "user_idx")
    shown = shown.join(items.withColumnRenamed("idx", "item_idx"), "item_idx")
    refuse_repeated([tuple(row) for row in shown.select(USER_ID, ITEM_ID).collect()])


@dataclass(frozen=True)
class _Scatter:
    """Sends each interaction to the block of its user and of its item; packs many into one row."""

    layout: Layout

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        waiting: list[pa.RecordBatch] = []
        for batch in batches:
            waiting.append(batch)
            if sum(map(len, waiting)) >= FLUSH:
                yield from self._flush(waiting)
                waiting = []
        if waiting:
            yield from self._flush(waiting)

    def _flush(self, batches: list[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        table = pa.Table.from_batches(batches)
        users = np.asarray(table["user_idx"]).astype(np.int32)
        items = np.asarray(table["item_idx"]).astype(np.int32)
        values = np.asarray(table[VALUE])
        keys = self.layout.keys
        for side, own in ((USER, users), (ITEM, items)):
            block = own % self.layout.blocks
            order = np.argsort(block, kind="stable")
            ends = np.searchsorted(block[order], np.arange(self.layout.blocks + 1))
            for number, key in enumerate(keys):
                part = order[ends[number] : ends[number + 1]]
                if len(part):
                    arrays = {"users": users[part], "items": items[part], "values": values[part]}
                    yield pa.RecordBatch.from_pydict(
                        {
                            "side": pa.array([side], pa.int32()),
                            "key": pa.array([key], pa.int32()),
                            "data": binary_array([pack(arrays)]).chunk(0),
                        }
                    )


@dataclass(frozen=True)
class _Gather:
    """Builds one block from the interactions that were sent to it."""

    layout: Layout
    width: int

    def __call__(self, key: tuple[pa.Scalar, pa.Scalar], table: pa.Table) -> pa.Table:
        side, number = key[0].as_py(), self.layout.number(key[1:])
        parts: list[Any] = [unpack([piece.as_buffer()]) for piece in table["data"]]
        users, items, values = (
            np.concatenate([part[name] for part in parts]) for name in ("users", "items", "values")
        )
        del parts
        own, others = (users, items) if side == USER else (items, users)
        block = self._block(side, number, (own, others, values))
        repeats = block.csr.repeats()
        kinds, numbers, pieces = zip(
            *(
                (kind, piece, part)
                for kind, data in block.packed().items()
                for piece, part in enumerate(pieces_of(data))
            ),
            strict=True,
        )
        size = len(pieces)
        held = Held(len(own), block.csr.rows, block.csr.width).size(self.width)
        pair: list[int | None] = [None, None]
        if len(repeats):
            row = int(block.csr.row_of(repeats[:1])[0])
            entries = np.flatnonzero(own == row * self.layout.blocks + number)
            again = others[entries]
            unique, counts = np.unique(again, return_counts=True)
            pair[side] = row * self.layout.blocks + number
            pair[1 - side] = int(unique[np.argmax(counts)])
        return pa.table(
            {
                "side": pa.array([side] * size, pa.int32()),
                "key": pa.array([key[1].as_py()] * size, pa.int32()),
                "kind": pa.array(kinds, pa.int32()),
                "piece": pa.array(numbers, pa.int32()),
                "data": binary_array(pieces),
                "repeated": pa.array([len(repeats)] * size, pa.int64()),
                "user_idx": pa.array([pair[USER]] * size, pa.int64()),
                "item_idx": pa.array([pair[ITEM]] * size, pa.int64()),
                "held": pa.array([held] * size, pa.int64()),
            }
        )

    def _block(
        self,
        side: int,
        number: int,
        triples: tuple[npt.NDArray[np.int32], npt.NDArray[np.int32], npt.NDArray[np.float32]],
    ) -> Block:
        own, others, values = triples
        blocks, tall = self.layout.blocks, len(self.layout.rows(side, number))
        depth = -(-self.layout.sizes[1 - side] // blocks)
        source, local = others % blocks, own // blocks
        # Received rows, by source block and row number there; only rows with interactions are used.
        index = source.astype(np.int64) * depth + others // blocks
        used = np.zeros(blocks * depth, bool)
        used[index] = True
        position = (np.cumsum(used) - 1).astype(np.int32)
        linked = np.zeros((blocks, tall), bool)
        linked[source, local] = True
        csr = csr_from_pairs(local, position[index], values, (tall, int(used.sum())))
        links = [np.flatnonzero(row).astype(np.int32) for row in linked]
        return Block(csr, links)
