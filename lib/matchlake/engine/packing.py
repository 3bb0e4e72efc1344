"""NumPy arrays as the bytes of a binary column, in pieces that fit a row."""

import json
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Array = npt.NDArray[Any]

PIECE = 1 << 19
"""Maximum bytes in one row. The JVM's collector (G1) treats larger objects as humongous, which
starts
collections; and Spark's sorts hold several rows at a time."""

PACKED = 1 << 19
"""Small rows, such as interactions, in one large row."""

_ALIGNED = 64


def pack(arrays: dict[str, Array]) -> memoryview:
    """The arrays as bytes, behind a JSON header of their names, types and shapes."""
    header = [(name, array.dtype.str, array.shape) for name, array in arrays.items()]
    text = json.dumps(header).encode()
    whole = bytearray(len(text).to_bytes(8, "little") + text)
    for array in arrays.values():
        whole += bytes(-len(whole) % _ALIGNED)
        whole += np.ascontiguousarray(array).reshape(-1).view(np.uint8).data
    return memoryview(whole)


def pieces_of(data: memoryview) -> list[memoryview]:
    """`data` in pieces that each fit a row."""
    return [data[start : start + PIECE] for start in range(0, len(data), PIECE)]


def binary_array(pieces: Sequence[memoryview]) -> pa.ChunkedArray:
    """The pieces as a binary column, one chunk each, without a copy."""
    return pa.chunked_array([_one_value(piece) for piece in pieces], pa.binary())


def _one_value(data: memoryview) -> pa.Array:
    bounds = pa.py_buffer(np.array([0, len(data)], np.int32))
    return pa.Array.from_buffers(pa.binary(), 1, [None, bounds, pa.py_buffer(data)])


def unpack(pieces: Iterable[bytes | memoryview]) -> dict[str, Array]:
    """The arrays of `pack`: writable and aligned, over one copy of the pieces."""
    whole = bytearray().join(pieces)
    size = int.from_bytes(whole[:8], "little")
    offset, arrays = 8 + size, {}
    for name, kind, shape in json.loads(whole[8:offset]):
        offset += -offset % _ALIGNED
        count = int(np.prod(shape, dtype=np.int64))
        data = np.frombuffer(whole, np.dtype(kind), count, offset)
        arrays[name] = data.reshape(shape)
        offset += data.nbytes
    return arrays


def in_chunks(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.Table]:
    """The rows of all batches, about PACKED at a time."""
    waiting: list[pa.RecordBatch] = []
    for batch in batches:
        waiting.append(batch)
        if sum(map(len, waiting)) >= PACKED:
            yield pa.Table.from_batches(waiting)
            waiting = []
    if waiting:
        yield pa.Table.from_batches(waiting)


def pack_table(table: pa.Table) -> memoryview:
    """The table as an Arrow stream."""
    out = pa.BufferOutputStream()
    with pa.ipc.new_stream(out, table.schema) as stream:
        stream.write_table(table.combine_chunks())
    return memoryview(out.getvalue())


def unpack_tables(column: pa.Array | pa.ChunkedArray) -> list[pa.Table]:
    """The tables of `pack_table`, for each row of a binary column that is not null."""
    streams = [row.as_buffer() for row in column if row.is_valid]
    return [pa.ipc.open_stream(stream).read_all() for stream in streams]


@cache
def spread_keys(count: int) -> tuple[int, ...]:
    """`count` integers that Spark's hash partitioning puts into different partitions.

    Spark puts an int key into partition `murmur3(key, seed 42) mod count` (x86, 32 bits).
    """
    keys: dict[int, int] = {}
    candidate = 0
    while len(keys) < count:
        keys.setdefault(_murmur3(candidate) % count, candidate)
        candidate += 1
    return tuple(keys[partition] for partition in range(count))


def _murmur3(key: int, seed: int = 42) -> int:
    """Murmur3_x86_32 of one 32-bit integer (Appleby), as a signed 32-bit number."""
    mask = 0xFFFFFFFF
    mixed = key * 0xCC9E2D51 & mask
    mixed = (mixed << 15 | mixed >> 17) & mask
    state = seed ^ (mixed * 0x1B873593 & mask)
    state = (state << 13 | state >> 19) & mask
    state = (state * 5 + 0xE6546B64) & mask
    state ^= 4
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
        state = (state ^ state >> shift) * factor & mask
    state ^= state >> 16
    return state - (1 << 32) if state >> 31 else state
