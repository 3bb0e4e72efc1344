"""Which value becomes which declared type: the documented value, or a rejection that shows it."""

import datetime as dt
import re
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from tests.support.hostile import ARRAYS
from tests.support.sources import ROOT

from matchlake.ingest.columns import ColumnParams
from matchlake.ingest.parse.casts import ARROW, CASTS
from matchlake.ingest.parse.validation import check_columns
from matchlake.ingest.rejections import ErrorCode, Rejection

TYPES = tuple("decimal(10,2)" if kind == "decimal" else kind for kind in CASTS)
WRONG, RANGE, UTF8 = "wrong_type", "out_of_range", "invalid_utf8"
MESSAGE = re.compile(r"x: (.+ is (not|outside|above|below) |is required|outside )", re.DOTALL)
DAY = dt.date(2024, 5, 1)
NOON = dt.datetime(2024, 5, 1, 12, tzinfo=dt.UTC)
NANOS = pa.array([1714557600123456789, -1], pa.timestamp("ns"))
DECIMALS = pa.array([Decimal("12.00"), Decimal("1.50")])
BROKEN = pa.array([b"a\xff", b"ok"])


def checked(kind: str, values: pa.Array, **declared: Any) -> tuple[pa.Array, dict[int, Rejection]]:
    column = ColumnParams(type=kind, comment="c", **{"required": False, **declared})
    found: dict[int, Rejection] = {}
    typed = check_columns({"x": column}, {"x": values}, found, lambda *_: ErrorCode.NULL_FIELD)
    return typed["x"], found


def told(kind: str, values: pa.Array, **declared: Any) -> list[Any]:
    """Of each value what it becomes, or the error code."""
    typed, found = checked(kind, values, **declared)
    return [
        str(found[row].code) if row in found else value
        for row, value in enumerate(typed.to_pylist())
    ]


@pytest.mark.parametrize(
    ("kind", "values", "expected"),
    [
        ("string", pa.array([4711.0, 1714557600123.0, 2.0**53, None]),
         ["4711", "1714557600123", "9007199254740992", None]),
        ("string", pa.array([2e16, 1.5, float("inf")]), [WRONG] * 3),
        ("string", pa.array(np.array([2.0**24, 2.0**25], "float32")), ["16777216", WRONG]),
        ("string", pa.array([2**64 - 1], pa.uint64()), ["18446744073709551615"]),
        ("string", DECIMALS, ["12", WRONG]),
        ("string", BROKEN, [UTF8, "ok"]),
        ("string", BROKEN.view(pa.string()), [UTF8, "ok"]),
        ("string", pa.array(["a", "b"]).dictionary_encode(), ["a", "b"]),
        ("string", pa.array([True]), [WRONG]),
        ("string", pa.array([DAY]), [WRONG]),
        ("int", pa.array([2**31, 5]), [RANGE, 5]),
        ("int", pa.array(["5", "3000000000", "0x1F", "1.0"]), [5, RANGE, WRONG, WRONG]),
        ("int", pa.array([1.0, 1.5, 2.0**53 + 2]), [1, WRONG, WRONG]),
        ("bigint", DECIMALS, [12, WRONG]),
        ("bigint", pa.array([2**64 - 1], pa.uint64()), [RANGE]),
        ("bigint", pa.array([NOON], pa.timestamp("us", "UTC")), [WRONG]),
        ("bigint", pa.array([True]), [WRONG]),
        ("double", pa.array([2**53, 2**53 + 1]), [2.0**53, WRONG]),
        ("double", pa.array(["1e5", "inf", "nan"]), [1e5, RANGE, None]),
        ("double", DECIMALS, [12.0, 1.5]),
        ("boolean", pa.array([2.5, 1.0]), [WRONG, WRONG]),
        ("boolean", pa.array([1, 0]), [WRONG, WRONG]),
        ("boolean", pa.array(["true", "0", "yes"]), [True, False, WRONG]),
        ("timestamp", pa.array([1714557600000]), [WRONG]),
        ("timestamp", pa.array([1.5]), [WRONG]),
        ("timestamp", NANOS, [dt.datetime(2024, 5, 1, 10, 0, 0, 123456, dt.UTC),
                              dt.datetime(1969, 12, 31, 23, 59, 59, 999999, dt.UTC)]),
        ("timestamp", pa.array([2**62], pa.timestamp("s")), [RANGE]),
        ("timestamp", pa.array([2**62], pa.timestamp("us", "UTC")), [RANGE]),
        ("timestamp", pa.array([DAY]), [dt.datetime(2024, 5, 1, tzinfo=dt.UTC)]),
        ("timestamp", pa.array(["0000-01-01T00:00:00Z"]), [RANGE]),
        ("date", pa.array([20240501]), [WRONG]),
        ("date", pa.array([dt.datetime(2024, 5, 1), dt.datetime(2024, 5, 1, 1)]),
         [DAY, WRONG]),
        ("array<string>", pa.array([["a", None], []], pa.large_list(pa.string())),
         [["a", None], []]),
        ("array<string>", pa.array([[1]]), [WRONG]),
        ("string", pa.array([{"a": 1}]), [WRONG]),
        ("string", pa.nulls(2), [None, None]),
    ],
)  # fmt: skip
def test_cast_documented_value(kind: str, values: pa.Array, expected: list[Any]) -> None:
    assert told(kind, values) == expected


def test_cast_number_to_time_by_epoch_alone() -> None:
    moment = dt.datetime(2024, 5, 1, 10, tzinfo=dt.UTC)
    numbers = [pa.array([1714557600]), pa.array([1714557600.0]), pa.array([Decimal(1714557600)])]
    assert [told("timestamp", each, epoch="s") for each in numbers] == [[moment]] * 3
    _, found = checked("timestamp", numbers[0])
    message = (
        "x: 1714557600 is not a valid timestamp: "
        "a number is a time only if the column declares `epoch`"
    )
    assert found[0].message == message


def test_cast_nan_counts_as_null() -> None:
    nan = pa.array([float("nan"), 1.0])
    for kind, one in {"double": 1.0, "string": "1", "int": 1}.items():
        assert told(kind, nan) == [None, one]
        assert told(kind, nan, required=True) == ["null_field", one]


@pytest.mark.parametrize("name", ARRAYS)
@pytest.mark.parametrize("kind", TYPES)
def test_cast_hostile_values(kind: str, name: str) -> None:
    values = ARRAYS[name]
    for required in (False, True):
        typed, found = checked(kind, values, required=required)
        assert len(typed) == len(values)
        assert typed.type == ARROW[kind]
        typed.validate(full=True)
        for rejection in found.values():
            assert rejection.code in {WRONG, RANGE, UTF8, "null_field"}
            assert MESSAGE.match(rejection.message), rejection
        kept = [row for row in range(len(values)) if row not in found and not typed[row].is_valid]
        assert all(_is_nothing(values, row) for row in kept), "a value is lost"
    for row in range(len(values)):
        alone, reason = checked(kind, values.slice(row, 1), required=required)
        assert reason.get(0) == found.get(row)
        assert alone.equals(typed.slice(row, 1)) or name.startswith("float")


def _is_nothing(values: pa.Array, row: int) -> bool:
    """Whether a value is null or no number."""
    try:
        value = values[row].as_py()
    except (ValueError, OverflowError, UnicodeDecodeError):
        return False
    return value is None or str(value) == "nan"


def test_page_shows_the_table_of_casts() -> None:
    page = (ROOT / "conf/README.md").read_text(encoding="utf-8")
    shown = {
        kind: set(re.findall(r"`([^`]+)`", types)) & set(CASTS)
        for kind, types in re.findall(r"^\| ([a-z ]+?) \| (.+) \|$", page, re.MULTILINE)
    }
    kinds = {kind for takes in CASTS.values() for kind in takes}
    for kind in kinds:
        assert shown[kind] == {name for name, takes in CASTS.items() if kind in takes}, kind
