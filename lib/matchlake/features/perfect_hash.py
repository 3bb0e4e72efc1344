"""A perfect hash table of texts in constant arrays, as Spark SQL."""

import string
import sys
import zlib
from collections.abc import Mapping, Sequence

from matchlake.formulas.sql import SPARK

_ROOM = 2
"""Slots of the hash table per text."""


class PerfectHash:
    """A perfect hash table from texts to indices, as SQL: one comparison per value.

    Let h be the CRC-32 of a text's UTF-8 bytes. Its slot is `h div buckets + shift[h % buckets]`
    modulo the number of slots. The shifts give each text a slot of its own. The few texts with the
    CRC-32 of an earlier text are compared one by one.
    """

    def __init__(self, indices: Mapping[str, int], unknown: int) -> None:
        """A table of `indices` by text, which gives `unknown` for any other text."""
        self._indices, self._unknown = indices, unknown
        by_hash: dict[int, str] = {}
        for text in indices:
            by_hash.setdefault(zlib.crc32(text.encode()), text)
        self._collisions = indices.keys() - set(by_hash.values())
        self._size = _ROOM * len(by_hash)
        self._shifts = _find_shifts(list(by_hash), self._size)
        self._texts = [""] * self._size
        for code, text in by_hash.items():
            self._texts[_slot(code, self._shifts, self._size)] = text

    def sql_slot(self, value: str) -> str:
        """SQL for the slot of `value`; null for null."""
        code, buckets = f"crc32(CAST({value} AS BINARY))", len(self._shifts)
        shift = f"get({_integers(self._shifts)}, CAST({code} % {buckets} AS INT))"
        return f"CAST(({code} DIV {buckets} + {shift}) % {self._size} AS INT)"

    def sql_cases(self, value: str, slot: str) -> list[str]:
        """The branches of a CASE that find the index of `value` in the slot `slot`."""
        # A free slot holds the empty text. A lookup of it gives the right index all the same.
        indices = [self._indices.get(text, self._unknown) for text in self._texts]
        compared = [
            f"WHEN {value} = {SPARK.text(text)} THEN {self._indices[text]}"
            for text in sorted(self._collisions)
        ]
        same = f"WHEN get({_texts(self._texts)}, {slot}) = {value}"
        return [*compared, f"{same} THEN get({_integers(indices)}, {slot})"]


def _slot(code: int, shifts: Sequence[int], size: int) -> int:
    return (code // len(shifts) + shifts[code % len(shifts)]) % size


def _find_shifts(codes: Sequence[int], size: int) -> list[int]:
    """Shifts by bucket that give every code a slot of its own, with as few buckets as possible."""
    buckets = len(codes) // 2 + 1
    while True:
        groups: dict[int, list[int]] = {}
        for code in codes:
            groups.setdefault(code % buckets, []).append(code // buckets)
        shifts = _fit_groups(groups, buckets, size)
        if shifts is not None:
            return shifts
        buckets += 1


def _fit_groups(groups: Mapping[int, list[int]], buckets: int, size: int) -> list[int] | None:
    """The shifts, largest group first, each the first one with only free slots; None without."""
    shifts, taken = [0] * buckets, bytearray(size)
    for bucket, group in sorted(groups.items(), key=lambda item: -len(item[1])):
        for shift in range(size):
            slots = {(each + shift) % size for each in group}
            if len(slots) == len(group) and not any(taken[slot] for slot in slots):
                break
        else:
            return None
        shifts[bucket] = shift
        for slot in slots:
            taken[slot] = 1
    return shifts


def _integers(numbers: Sequence[int]) -> str:
    joined = ",".join(map(str, numbers))
    return f"CAST(split('{joined}', ',') AS ARRAY<INT>)"


def _texts(texts: Sequence[str]) -> str:
    """A constant array of texts as one literal, which Spark parses a thousand times faster."""
    taken = set("".join(texts)) | set(string.punctuation)
    mark = next(mark for mark in map(chr, range(1, sys.maxunicode)) if mark not in taken)
    return f"split({SPARK.text(mark.join(texts))}, {SPARK.text(mark)})"
