"""Spark's `xxhash64` on Arrow columns: XXH64 (Collet 2012) of one column after another.

The hash of a column is the seed of the next one. A null leaves the hash as it is.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from matchlake.engine.arrow import combined
from matchlake.engine.simd import compiled

Hashes = npt.NDArray[np.uint64]
Bytes = npt.NDArray[np.uint8]

_SEED = 42
_P1 = np.uint64(0x9E3779B185EBCA87)
_P2 = np.uint64(0xC2B2AE3D27D4EB4F)
_P3 = np.uint64(0x165667B19E3779F9)
_P4 = np.uint64(0x85EBCA77C2B2AE63)
_P5 = np.uint64(0x27D4EB2F165667C5)
_WHOLE = np.uint64(64)
_STRIPE, _WORD, _HALF = 32, 8, 4


def xxhash64(constants: Sequence[str | int], columns: Sequence[pa.ChunkedArray]) -> Hashes:
    """The hash of each row: of the constants (strings, longs), then of its ids (strings, ints)."""
    rows = len(columns[0])
    hashes = np.full(rows, _SEED, np.uint64)
    whole = [pa.array([each] * rows) if isinstance(each, str) else None for each in constants]
    for constant, text in zip(constants, whole, strict=True):
        if text is None:
            hashes = _hash_longs(np.full(rows, constant, np.int64), hashes)
        else:
            hashes = _hash_column(text, hashes)
    for column in columns:
        hashes = _hash_column(combined(column), hashes)
    return hashes


def _hash_column(column: pa.Array, seeds: Hashes) -> Hashes:
    known = np.asarray(column.is_valid())
    if pa.types.is_string(column.type):
        encoded = column.fill_null("").cast(pa.large_string())
        offsets = np.frombuffer(encoded.buffers()[1], np.int64)[encoded.offset :][: len(column) + 1]
        data = encoded.buffers()[2]
        text = np.frombuffer(data, np.uint8) if data is not None else np.zeros(0, np.uint8)
        hashed = _hash_texts(text, offsets, seeds)
    elif column.type == pa.int64():
        hashed = _hash_longs(np.asarray(column.fill_null(0)), seeds)
    else:
        hashed = _hash_ints(np.asarray(column.fill_null(0)).astype(np.int32), seeds)
    return np.where(known, hashed, seeds)


@compiled
def _turned(value: np.uint64, bits: int) -> np.uint64:
    return (value << np.uint64(bits)) | (value >> (_WHOLE - np.uint64(bits)))


@compiled
def _mixed(value: np.uint64) -> np.uint64:
    value = (value ^ (value >> np.uint64(33))) * _P2
    value = (value ^ (value >> np.uint64(29))) * _P3
    return value ^ (value >> np.uint64(32))


@compiled
def _hash_longs(values: npt.NDArray[np.int64], seeds: Hashes) -> Hashes:
    out = np.empty(len(values), np.uint64)
    for row in range(len(values)):
        state = seeds[row] + _P5 + np.uint64(8)
        state ^= _turned(np.uint64(values[row]) * _P2, 31) * _P1
        out[row] = _mixed(_turned(state, 27) * _P1 + _P4)
    return out


@compiled
def _hash_ints(values: npt.NDArray[np.int32], seeds: Hashes) -> Hashes:
    out = np.empty(len(values), np.uint64)
    for row in range(len(values)):
        state = seeds[row] + _P5 + np.uint64(4)
        state ^= (np.uint64(values[row]) & np.uint64(0xFFFFFFFF)) * _P1
        out[row] = _mixed(_turned(state, 23) * _P2 + _P3)
    return out


@compiled
def _read(data: Bytes, at: int, count: int) -> np.uint64:
    """`count` bytes as a little-endian number."""
    value = np.uint64(0)
    for byte in range(count):
        value |= np.uint64(data[at + byte]) << np.uint64(8 * byte)
    return value


@compiled
def _stripes(data: Bytes, begin: int, end: int, seed: np.uint64) -> np.uint64:
    """The state after the whole stripes of 32 bytes."""
    a, b, c, d = seed + _P1 + _P2, seed + _P2, seed, seed - _P1
    for at in range(begin, end - _STRIPE + 1, _STRIPE):
        a = _turned(a + _read(data, at, 8) * _P2, 31) * _P1
        b = _turned(b + _read(data, at + 8, 8) * _P2, 31) * _P1
        c = _turned(c + _read(data, at + 16, 8) * _P2, 31) * _P1
        d = _turned(d + _read(data, at + 24, 8) * _P2, 31) * _P1
    state = _turned(a, 1) + _turned(b, 7) + _turned(c, 12) + _turned(d, 18)
    for lane in (a, b, c, d):
        state = (state ^ _turned(lane * _P2, 31) * _P1) * _P1 + _P4
    return state


@compiled
def _hash_texts(data: Bytes, offsets: npt.NDArray[np.int64], seeds: Hashes) -> Hashes:
    out = np.empty(len(seeds), np.uint64)
    for row in range(len(seeds)):
        at, end = offsets[row], offsets[row + 1]
        length, state = end - at, seeds[row] + _P5
        if length >= _STRIPE:
            state = _stripes(data, at, end, seeds[row])
            at += length - length % _STRIPE
        state += np.uint64(length)
        while at + _WORD <= end:
            state ^= _turned(_read(data, at, _WORD) * _P2, 31) * _P1
            state = _turned(state, 27) * _P1 + _P4
            at += _WORD
        if at + _HALF <= end:
            state = _turned(state ^ _read(data, at, _HALF) * _P1, 23) * _P2 + _P3
            at += _HALF
        while at < end:
            state = _turned(state ^ np.uint64(data[at]) * _P5, 11) * _P1
            at += 1
        out[row] = _mixed(state)
    return out
