"""Splits interactions into blocks, and finds the rows that blocks exchange."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from matchlake.engine.csr import Csr, csr_from_pairs
from matchlake.engine.grouped import apply_by_group
from matchlake.engine.packing import binary_array, pack, pieces_of, spread_keys, unpack
from matchlake.recommender.checkpoint import Checkpointer
from matchlake.recommender.ids import dense_ids
from matchlake.recommender.interaction_stats import SHOWN, VALUE, InteractionStats, refuse_repeated
from matchlake.recommender.sides import ITEM, USER
from matchlake.schemas import ITEM_ID, USER_ID

BLOCKS_SCHEMA = (
    "side int, key int, piece int, data binary, repeated long, user_idx long, item_idx long"
)
_PIECES_SCHEMA = "side int, key int, data binary"

BLOCK_BYTES = 96 << 20
"""Maximum size of the interactions of a block, in bytes."""

ROWS_BYTES = 512 << 20
"""Maximum size of the factor rows of both sides in a block, in bytes."""

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
    def keys(self) -> list[int]:
        """The partitioning key of each block."""
        return spread_keys(self.blocks)

    def rows(self, side: int, block: int) -> npt.NDArray[np.int64]:
        """The indices of a block's rows, in their order."""
        return np.arange(block, self.sizes[side], self.blocks)


@dataclass(frozen=True)
class Block:
    """One block of a side: its interactions, and its links to the blocks of the other side.

    The columns of `csr` are the received rows of the other side, those of block 0 first. A block
    receives only rows with interactions in it. `links[d]` has the rows that block `d` of the other
    side needs. The links of the other side list the rows that this block receives, in the same
    order. `near` has the needed rows in the other side's block of the same number, which is in the
    same partition.
    """

    csr: Csr
    links: list[npt.NDArray[np.int32]]
    near: npt.NDArray[np.int32]

    def packed(self) -> memoryview:
        """The block as bytes."""
        return pack(
            {
                **self.csr.narrowed(),
                "counts": np.array([len(link) for link in self.links]),
                "links": np.concatenate(self.links),
                "near": self.near,
            }
        )

    @classmethod
    def read(cls, table: pa.Table) -> "Block":
        """The block of the pieces in `table`."""
        order = np.argsort(np.asarray(table["piece"]))
        data: Any = unpack([table["data"][int(row)].as_buffer() for row in order])
        links = np.split(data["links"], np.cumsum(data["counts"])[:-1])
        return cls(Csr.widened(data), links, data["near"])


def block_frame(indexed: DataFrame, layout: Layout) -> DataFrame:
    """All blocks of both sides from `user_idx`, `item_idx`, `value`; lazy.

    One row per piece of a block. `repeated` counts repeated pairs in the block; `user_idx`,
    `item_idx` is one of them.
    """
    pieces = indexed.mapInArrow(_Scatter(layout), _PIECES_SCHEMA)
    return apply_by_group(pieces, ("side", "key"), _Gather(layout), BLOCKS_SCHEMA)


def partition(
    pairs: DataFrame,
    stats: InteractionStats,
    width: int,
    blocks: int | None,
    checkpoint: Checkpointer,
) -> tuple[DataFrame, tuple[DataFrame, DataFrame], Layout]:
    """Ids and blocks of a distributed fit; stored rows have `width` float32 columns.

    `blocks` is the number per side; None: as many as their bytes need. Starts two actions per id
    column (see `dense_ids`), one for the checkpoint of the blocks, and one that looks for repeated
    pairs. Raises InputError if pairs repeat.
    """
    users, user_count = dense_ids(pairs, USER_ID, checkpoint)
    items, item_count = dense_ids(pairs, ITEM_ID, checkpoint)
    sizes = user_count, item_count
    layout = Layout(sizes, block_count(stats, sizes, width, blocks))
    indexed = pairs.join(users.withColumnRenamed("idx", "user_idx"), USER_ID)
    indexed = indexed.join(items.withColumnRenamed("idx", "item_idx"), ITEM_ID)
    frame = checkpoint(block_frame(indexed.select("user_idx", "item_idx", VALUE), layout))
    repeated = frame.where((F.col("repeated") > 0) & (F.col("side") == USER))
    shown = repeated.select("user_idx", "item_idx").distinct().limit(SHOWN)
    shown = shown.join(users.withColumnRenamed("idx", "user_idx"), "user_idx")
    shown = shown.join(items.withColumnRenamed("idx", "item_idx"), "item_idx")
    refuse_repeated([tuple(row) for row in shown.select(USER_ID, ITEM_ID).collect()])
    return frame, (users, items), layout


def block_count(
    stats: InteractionStats, rows: tuple[int, int], width: int, requested: int | None
) -> int:
    """Blocks per side: `requested`, or enough to keep blocks within BLOCK_BYTES and ROWS_BYTES."""
    bytes_in_blocks = 8 * stats.interactions
    bytes_of_rows = 4 * sum(rows) * width
    needed = max(2, -(-bytes_in_blocks // BLOCK_BYTES), -(-bytes_of_rows // ROWS_BYTES))
    return min(requested or needed, *rows)


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

    def __call__(self, key: tuple[pa.Scalar, pa.Scalar], table: pa.Table) -> pa.Table:
        side, number = key[0].as_py(), self.layout.keys.index(key[1].as_py())
        parts: list[Any] = [unpack([piece.as_buffer()]) for piece in table["data"]]
        users, items, values = (
            np.concatenate([part[name] for part in parts]) for name in ("users", "items", "values")
        )
        del parts
        own, others = (users, items) if side == USER else (items, users)
        block = self._block(side, number, (own, others, values))
        repeats = block.csr.repeats()
        pieces = pieces_of(block.packed())
        size = len(pieces)
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
                "piece": pa.array(range(size), pa.int32()),
                "data": binary_array(pieces),
                "repeated": pa.array([len(repeats)] * size, pa.int64()),
                "user_idx": pa.array([pair[USER]] * size, pa.int64()),
                "item_idx": pa.array([pair[ITEM]] * size, pa.int64()),
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
        near = np.flatnonzero(used[number * depth : (number + 1) * depth])
        return Block(csr, links, near.astype(np.int32))
