"""Messages between blocks: arrays in binary rows, in as many pieces as their bytes need."""

import numpy as np
import pyarrow as pa

from matchlake.engine.packing import Array, binary_array, pack, pieces_of, unpack

MESSAGES = "key int, kind int, source int, piece int, data binary"
"""`key` leads to a block, `kind` says what `data` holds, `source` is the sending block."""


class Outbox:
    """Collects the messages that one block sends."""

    def __init__(self, source: int) -> None:
        self._source = source
        self._rows: list[tuple[int, int, int, memoryview]] = []

    def add(self, key: int, kind: int, arrays: dict[str, Array]) -> None:
        """Adds arrays for the block of `key`."""
        self.forward(key, kind, pack(arrays))

    def forward(self, key: int, kind: int, data: memoryview) -> None:
        """Adds bytes that are packed already."""
        for piece, part in enumerate(pieces_of(data)):
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


def message_bytes(table: pa.Table, kind: int) -> list[memoryview]:
    """The messages of one kind as bytes, by their source."""
    kinds, sources = np.asarray(table["kind"]), np.asarray(table["source"])
    rows = np.flatnonzero(kinds == kind)
    rows = rows[np.lexsort((np.asarray(table["piece"])[rows], sources[rows]))]
    whole = []
    for source in np.unique(sources[rows]):
        parts = [table["data"][int(row)].as_buffer() for row in rows[sources[rows] == source]]
        whole.append(memoryview(parts[0] if len(parts) == 1 else b"".join(parts)))
    return whole


def unpack_messages(table: pa.Table, kind: int) -> list[dict[str, Array]]:
    """The messages of one kind as arrays, by their source."""
    return [unpack([data]) for data in message_bytes(table, kind)]


def summed(parts: list[dict[str, Array]], name: str) -> Array:
    """The sum of one array over messages, in their order."""
    return np.asarray(np.sum([part[name] for part in parts], axis=0))
