"""A whole feature set in one column: the places of what is not zero, and the values there.

Numbers come first and are always there, a zero among them too; categories follow, each a one at
its place. Wide vocabularies therefore cost a look-up a row, not a column a category.
"""

import string
import sys
import zlib
from collections.abc import Sequence

from matchlake.features.categories import FittedCategories
from matchlake.features.numbers import FittedNumber
from matchlake.features.outputs import Output
from matchlake.features.sql import SPARK, Dialect

Fitted = FittedNumber | FittedCategories

SPARSE_COLUMN = "features"
SPARSE_TYPE = "STRUCT<indices: ARRAY<INT>, values: ARRAY<DOUBLE>>"
_SMALL = 16
"""Up to so many categories are told apart one by one, more through a hash table."""
_DEEPEST = 4
"""The hash table grows until no bucket holds more categories, or it is _WIDEST times as long."""
_WIDEST = 64


def sparse_slots(features: Sequence[Fitted]) -> list[Output]:
    """What each place stands for: the outputs of all numbers, then of all categories."""
    ordered = sorted(features, key=lambda fitted: isinstance(fitted, FittedCategories))
    return [output for fitted in ordered for output in fitted.outputs()]


def sparse_stages(features: Sequence[Fitted], dialect: Dialect) -> list[dict[str, str]]:
    """The stages that follow the prepared columns: SQL by column name, each over the one before.

    The last has the one column `features`, a struct of indices array<int>, rising, and values
    array<double>.
    """
    numbers = [fitted for fitted in features if isinstance(fitted, FittedNumber)]
    values = [text for fitted in numbers for text in fitted.sql_outputs(dialect).values()]
    starts: dict[str, str] = {"in_values": dialect.doubles(values)}
    places = [str(place) for place in range(len(values))]
    first = len(values)
    for fitted in features:
        if isinstance(fitted, FittedCategories):
            name = f"in_{fitted.name}"
            starts[name] = dialect.identifier(name)
            if _is_hashed(fitted, dialect):
                starts[f"{name}_start"] = _Hashed(fitted).start(dialect.identifier(name))
            places += _places(fitted, first, dialect)
            first += len(fitted.outputs())
    indices = dialect.without_absent.format(", ".join(places))
    second = {"in_values": "in_values", "in_indices": indices}
    ones = f"{dialect.size.format('in_indices')} - {len(values)}"
    return [starts, second, {SPARSE_COLUMN: dialect.sparse.format(ones=ones)}]


def _is_hashed(fitted: FittedCategories, dialect: Dialect) -> bool:
    return dialect is SPARK and not fitted.is_list and len(fitted.categories) > _SMALL


def _places(fitted: FittedCategories, first: int, dialect: Dialect) -> list[str]:
    """SQL for the places of the feature's ones in the whole, -1 for none."""
    value = dialect.identifier(f"in_{fitted.name}")
    if fitted.is_list:
        conditions = fitted.sql_conditions(dialect).values()
        return [f"CASE WHEN {c} THEN {first + i} ELSE -1 END" for i, c in enumerate(conditions)]
    places, null, other = fitted.places()
    if _is_hashed(fitted, dialect):
        found = _Hashed(fitted).cases(value, first)
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
    """A hash table of a vocabulary in constant arrays, for Spark: every step is generated code.

    Categories are sorted by bucket, the CRC-32 of their UTF-8 bytes modulo the number of buckets.
    A first column finds where the bucket starts, a second compares its few categories.
    """

    def __init__(self, fitted: FittedCategories) -> None:
        places = fitted.places().categories
        hashes = {text: zlib.crc32(text.encode()) for text in places}
        self.size = len(places)
        buckets: dict[int, list[str]] = {}
        deepest = _DEEPEST + 1
        while deepest > _DEEPEST and self.size < _WIDEST * len(places):
            self.size *= 2
            buckets = {}
            for text, code in hashes.items():
                buckets.setdefault(code % self.size, []).append(text)
            deepest = max(len(bucket) for bucket in buckets.values())
        self.depth = deepest
        self.texts = [text for bucket in sorted(buckets) for text in buckets[bucket]]
        self.places = [places[text] for text in self.texts]
        self.starts, start = [], 0
        for bucket in range(self.size):
            self.starts.append(start)
            start += len(buckets.get(bucket, ()))

    def start(self, value: str) -> str:
        """SQL for the first of the bucket's categories; null for null."""
        bucket = f"CAST(pmod(crc32(CAST({value} AS BINARY)), {self.size}) AS INT)"
        return f"get({_integers(self.starts)}, {bucket})"

    def cases(self, value: str, first: int) -> list[str]:
        """The branches of a CASE that compare the bucket's categories."""
        start = f"{value[:-1]}_start`"
        texts, places = _texts(self.texts), _integers([_shift(p, first) for p in self.places])
        return [
            f"WHEN get({texts}, {start} + {step}) = {value} THEN get({places}, {start} + {step})"
            for step in range(self.depth)
        ]


def _integers(numbers: Sequence[int]) -> str:
    joined = ",".join(map(str, numbers))
    return f"CAST(split('{joined}', ',') AS ARRAY<INT>)"


def _texts(texts: Sequence[str]) -> str:
    """A constant array of texts as one literal, which is parsed a thousand times faster."""
    taken = set("".join(texts)) | set(string.punctuation)
    mark = next(mark for mark in map(chr, range(1, sys.maxunicode)) if mark not in taken)
    return f"split({SPARK.text(mark.join(texts))}, {SPARK.text(mark)})"
