"""Messages between blocks: arrays in binary rows, in as many pieces as their bytes need."""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from matchlake.engine.packing import Array, binary_array, pack, pieces_of, unpack
from matchlake.errors import FitError

MESSAGES = "key int, kind int, source int, piece int, data binary"
"""`key` leads to a block, `kind` says what `data` holds, `source` is the sending block."""

ROWS_FOR_OTHERS, SUMS = 2, 3
"""Kinds beside USER and ITEM, which mark a block's own rows of that side."""


class Outbox:
    """Collects the messages that one block sends."""

    def __init__(self, source: int) -> None:
        self._source = source
        self._rows: list[tuple[int, int, int, memoryview]] = []

    def add(self, key: int, kind: int, arrays: dict[str, Array]) -> None:
        """Adds arrays for the block of `key`."""
        for piece, part in enumerate(pieces_of(pack(arrays))):
            self._rows.append((key, kind, piece, part))

    def table(self) -> pa.Table:
        """All messages, as MESSAGES."""
        keys, kinds, pieces = ([row[n] for row in self._rows] for n in range(3))
        return pa.table(
            {
                "key": pa.array(keys, pa.int32()),
                "kind": pa.array(kinds, pa.int32()),
                "source": pa.array([self._source] * len(keys), pa.int32()),
                "piece": pa.array(pieces, pa.int32()),
                "data": binary_array([row[3] for row in self._rows])
                if self._rows
                else pa.chunked_array([pa.array([], pa.binary())]),
            }
        )


def each_message(table: pa.Table, kind: int) -> Iterator[dict[str, Array]]:
    """The messages of one kind as arrays, by their source; one at a time is in memory."""
    kinds, sources = np.asarray(table["kind"]), np.asarray(table["source"])
    rows = np.flatnonzero(kinds == kind)
    rows = rows[np.lexsort((np.asarray(table["piece"])[rows], sources[rows]))]
    _, starts = np.unique(sources[rows], return_index=True)
    for message in np.split(rows, starts[1:]) if len(rows) else ():
        yield unpack(table["data"][int(row)].as_buffer() for row in message)


def unpack_messages(table: pa.Table, kind: int) -> list[dict[str, Array]]:
    """The messages of one kind as arrays, by their source."""
    return list(each_message(table, kind))


def fill_rows(buffer: Array, table: pa.Table, name: str) -> None:
    """Copies the rows `name` of all ROWS_FOR_OTHERS into `buffer`, those of block 0 first."""
    start = 0
    for message in each_message(table, ROWS_FOR_OTHERS):
        rows = message[name]
        buffer[start : start + len(rows)] = rows
        start += len(rows)
    if start != len(buffer):
        raise FitError(f"{start} rows arrived at a block that needs {len(buffer)}: fit again.")
