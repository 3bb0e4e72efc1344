"""What blocks exchange in a half of a distributed fit: rows that others need, and sums.

A half is one job. Each block of the fixed side sends its rows to the blocks that need them; these
solve or draw their own rows. Only own rows and sums are checkpointed, never messages, so a
checkpoint does not grow with the number of blocks. No row holds what all blocks have in common:
it goes to the driver as a sum, and from there into the next half's task.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from matchlake.engine.grouped import Key, apply_by_cogroup
from matchlake.engine.packing import Array, binary_array, pack, pieces_of, unpack
from matchlake.recommender.blocks import LINKS, Layout, links_of
from matchlake.recommender.messages import (
    MESSAGES,
    ROWS_FOR_OTHERS,
    SUMS,
    Outbox,
    unpack_messages,
)

COUNTS = "n_interactions"
"""The array of own rows that stays at home."""


def send_rows(blocks: DataFrame, rows: DataFrame, side: int, layout: Layout) -> DataFrame:
    """The rows of `side` as messages for the blocks of the other side that need them; lazy.

    `blocks` is that of `block_frame`; `rows` has the messages with every block's own rows.
    """
    count = layout.blocks
    links = blocks.where((F.col("side") == side) & (F.col("kind") == LINKS))
    left = links.select("key", "piece", "data").repartition(count, "key")
    right = rows.where(F.col("kind") == side).repartition(count, "key")
    return apply_by_cogroup(left, right, "key", _Send(side, layout), MESSAGES)


@dataclass(frozen=True)
class _Send:
    """Sends a block's rows, and all that belongs to them, along its links."""

    side: int
    layout: Layout

    def __call__(self, key: Key, left: pa.Table, right: pa.Table) -> pa.Table:
        (own,) = unpack_messages(right, self.side)
        arrays = {name: array for name, array in own.items() if name != COUNTS}
        out = Outbox(self.layout.number(key))
        for to, link in zip(self.layout.keys, links_of(left), strict=True):
            if len(link):
                out.add(to, ROWS_FOR_OTHERS, {name: array[link] for name, array in arrays.items()})
        return out.table()


def read_sums(messages: DataFrame, kind: int = SUMS) -> dict[str, Array]:
    """The arrays of one kind, added up by one task in the order of the blocks. One action."""
    parts = messages.where(F.col("kind") == kind).select("source", "piece", "data")
    ordered = parts.repartition(1).sortWithinPartitions("source", "piece")
    table = ordered.mapInArrow(_add, "piece int, data binary").toArrow()
    order = np.argsort(np.asarray(table["piece"]))
    return unpack(table["data"][int(row)].as_buffer() for row in order)


def _add(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """The sum of messages that arrive piece by piece; holds one message beside the totals."""
    totals: dict[str, Array] = {}
    waiting: list[pa.Buffer] = []
    for batch in batches:
        for piece, data in zip(batch["piece"].to_pylist(), batch["data"], strict=True):
            if piece == 0 and waiting:
                totals = _added(totals, waiting)
                waiting = []
            waiting.append(data.as_buffer())
    if waiting:
        pieces = pieces_of(pack(_added(totals, waiting)))
        numbers = pa.array(range(len(pieces)), pa.int32())
        table = pa.table({"piece": numbers, "data": binary_array(pieces)})
        yield from table.combine_chunks().to_batches()


def _added(totals: dict[str, Array], pieces: list[pa.Buffer]) -> dict[str, Array]:
    message = unpack(pieces)
    return {name: totals[name] + array if totals else array for name, array in message.items()}
