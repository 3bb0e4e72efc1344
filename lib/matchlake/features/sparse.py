"""A feature set without a column a category: the places, or slots, of what is not zero.

Slots count through all numbers, then all categories, each of which is a one at its slot. As
`sparse` one column holds the slots and the values there, those of numbers always, a zero too; as
`slots` each number has a column, and each other feature one with its slot. Wide vocabularies
therefore cost a look-up a row, not a column a category.
"""

import string
import sys
import zlib
from collections.abc import Mapping, Sequence

from matchlake.features.categories import ABSENT, FittedCategories
from matchlake.features.names import between
from matchlake.features.numbers import FittedNumber
from matchlake.features.outputs import Output
from matchlake.formulas.sql import SPARK, Dialect

Fitted = FittedNumber | FittedCategories

SPARSE_COLUMN = "features"
SPARSE_TYPE = "STRUCT<indices: ARRAY<INT>, values: ARRAY<DOUBLE>>"
_SMALL = 8
"""Up to so many categories are told apart one by one, more through a hash table."""
_ROOM = 2
"""Slots of the hash table for each category."""


def sparse_slots(features: Sequence[Fitted]) -> list[Output]:
    """What each place stands for: the outputs of all numbers, then of all categories."""
    ordered = sorted(features, key=lambda fitted: isinstance(fitted, FittedCategories))
    return [output for fitted in ordered for output in fitted.outputs()]


def sparse_stages(features: Sequence[Fitted], dialect: Dialect) -> list[dict[str, str]]:
    """The stages that follow the prepared columns: SQL by column name, each over the one before.

    The last has the one column `features`, a struct of indices array<int>, rising, and values
    array<double>.
    """
    values = list(_numbers(features, dialect).values())
    starts, found = _ones(features, dialect)
    places = [*map(str, range(len(values))), *(each for ones in found.values() for each in ones)]
    indices = dialect.without_absent.format(", ".join(places))
    found_values, found_indices = between("values"), between("indices")
    names = [dialect.identifier(name) for name in (found_values, found_indices)]
    second = {found_values: names[0], found_indices: indices}
    ones = f"{dialect.size.format(names[1])} - {len(values)}"
    last = {SPARSE_COLUMN: dialect.sparse.format(values=names[0], indices=names[1], ones=ones)}
    return [{found_values: dialect.doubles(values), **starts}, second, last]


def slot_stages(features: Sequence[Fitted], dialect: Dialect) -> list[dict[str, str]]:
    """As `sparse_stages`, but a column a number, and one with the slots of each other feature."""
    starts, found = _ones(features, dialect)
    numbers: dict[str, str] = {}
    last: dict[str, str] = {}
    for fitted in features:
        if isinstance(fitted, FittedNumber):
            outputs = fitted.sql_outputs(dialect)
            numbers |= outputs
            last |= {name: dialect.identifier(name) for name in outputs}
        elif fitted.is_list:
            last[fitted.name] = dialect.without_absent.format(", ".join(found[fitted.name]))
        else:
            last[fitted.name] = f"NULLIF({found[fitted.name][0]}, {ABSENT})"
    return [numbers | starts, last]


def _numbers(features: Sequence[Fitted], dialect: Dialect) -> dict[str, str]:
    numbers = [fitted for fitted in features if isinstance(fitted, FittedNumber)]
    return {name: text for fitted in numbers for name, text in fitted.sql_outputs(dialect).items()}


def _ones(
    features: Sequence[Fitted], dialect: Dialect
) -> tuple[dict[str, str], dict[str, list[str]]]:
    """What to compute before, and over that SQL for the slots of each feature's ones."""
    first = len(_numbers(features, dialect))
    starts: dict[str, str] = {}
    found = {}
    for fitted in features:
        if isinstance(fitted, FittedCategories):
            name = between("in", fitted.name)
            value = starts[name] = dialect.identifier(name)
            table = None
            if dialect is SPARK and not fitted.is_list and len(fitted.categories) > _SMALL:
                table = _Hashed(fitted)
                starts[between("slot", fitted.name)] = table.slot(value)
            found[fitted.name] = _places(fitted, first, dialect, table)
            first += len(fitted.outputs())
    return starts, found


def _places(
    fitted: FittedCategories, first: int, dialect: Dialect, table: "_Hashed | None"
) -> list[str]:
    """SQL for the places of the feature's ones in the whole, -1 for none."""
    value = dialect.identifier(between("in", fitted.name))
    if fitted.is_list:
        conditions = fitted.sql_conditions(dialect).values()
        return [f"CASE WHEN {c} THEN {first + i} ELSE -1 END" for i, c in enumerate(conditions)]
    places, null, other = fitted.places()
    if table:
        slot = dialect.identifier(between("slot", fitted.name))
        found = table.cases(value, slot, first)
    else:
        found = [
            f"WHEN {value} = {dialect.text(text)} THEN {_shift(place, first)}"
            for text, place in places.items()
        ]
    gone = f"WHEN {value} IS NULL THEN {_shift(null, first)}"
    return [f"CASE {' '.join([gone, *found])} ELSE {_shift(other, first)} END"]


def _shift(place: int, first: int) -> int:
    return place + first if place >= 0 else -1


class _Hashed:
    """A perfect hash table of a vocabulary in constant arrays, for Spark: one comparison a value.

    With h the CRC-32 of a category's UTF-8 bytes, its slot is `h div buckets + shift[h % buckets]`
    modulo the number of slots; the shifts are chosen so that no two categories share a slot. The
    few categories that share a CRC-32 with an earlier one are compared one by one.
    """

    def __init__(self, fitted: FittedCategories) -> None:
        _, _, self._other = places = fitted.places()
        self._places = places.categories
        by_hash: dict[int, str] = {}
        for text in self._places:
            by_hash.setdefault(zlib.crc32(text.encode()), text)
        self._twins = self._places.keys() - set(by_hash.values())
        self._size = _ROOM * len(by_hash)
        self._shifts = _find_shifts(list(by_hash), self._size)
        self._texts = [""] * self._size
        for code, text in by_hash.items():
            self._texts[_slot(code, self._shifts, self._size)] = text

    def slot(self, value: str) -> str:
        """SQL for the slot of `value`; null for null."""
        code, buckets = f"crc32(CAST({value} AS BINARY))", len(self._shifts)
        shift = f"get({_integers(self._shifts)}, CAST({code} % {buckets} AS INT))"
        return f"CAST(({code} DIV {buckets} + {shift}) % {self._size} AS INT)"

    def cases(self, value: str, slot: str, first: int) -> list[str]:
        """The branches of a CASE that find the place of `value`, from `first` on."""
        # A free slot holds the empty text, which is found there or is none of the categories.
        found = [_shift(self._places.get(text, self._other), first) for text in self._texts]
        twins = [
            f"WHEN {value} = {SPARK.text(text)} THEN {_shift(self._places[text], first)}"
            for text in sorted(self._twins)
        ]
        same = f"WHEN get({_texts(self._texts)}, {slot}) = {value}"
        return [*twins, f"{same} THEN get({_integers(found)}, {slot})"]


def _slot(code: int, shifts: Sequence[int], size: int) -> int:
    return (code // len(shifts) + shifts[code % len(shifts)]) % size


def _find_shifts(codes: Sequence[int], size: int) -> list[int]:
    """Shifts by bucket, as many as it takes, that give every code a slot of its own."""
    buckets = len(codes) // 2 + 1
    while True:
        groups: dict[int, list[int]] = {}
        for code in codes:
            groups.setdefault(code % buckets, []).append(code // buckets)
        found = _fit_groups(groups, buckets, size)
        if found is not None:
            return found
        buckets += 1


def _fit_groups(groups: Mapping[int, list[int]], buckets: int, size: int) -> list[int] | None:
    """The largest groups first, each by the first shift that leads it to free slots."""
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
    """A constant array of texts as one literal, which is parsed a thousand times faster."""
    taken = set("".join(texts)) | set(string.punctuation)
    mark = next(mark for mark in map(chr, range(1, sys.maxunicode)) if mark not in taken)
    return f"split({SPARK.text(mark.join(texts))}, {SPARK.text(mark)})"
