"""The rules of declared columns, checked for a whole batch at once."""

import datetime as dt
from collections.abc import Callable, Mapping
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from matchlake.ingest.columns import ColumnParams, Columns
from matchlake.ingest.parse.casts import ARROW, convert, indices_among, kind_of
from matchlake.ingest.parse.decimals import WIDE
from matchlake.ingest.parse.safe_cast import Mask, mask_of, without
from matchlake.ingest.rejections import ErrorCode, Rejection
from matchlake.ingest.schema import ERROR_COLUMNS

_SHOWN = 60
_INT = (-(2**31), 2**31 - 1)
_NUMBERS = ("integer", "decimal", "floating point")
_HINTS = {
    "double": ": it has integers up to 2^53",
    "string": ": only an exact integer becomes text",
    "timestamp": ": a number is a time only if the column declares `epoch`",
}

WhyNull = Callable[[int, str], ErrorCode]
"""Returns, for a row and a column without a value, whether the field is missing or null."""


def check_columns(
    columns: Columns,
    values: Mapping[str, pa.Array],
    rejections: dict[int, Rejection],
    why_null: WhyNull,
) -> dict[str, pa.Array]:
    """The columns in their declared types, null in every row with a rejection.

    Adds the rows that break a rule to `rejections`: one rejection per row, that of the first
    column in declared order. A row with an earlier rejection keeps it.
    """
    count = len(next(iter(values.values())))
    rejected = np.zeros(count, bool)
    rejected[list(rejections)] = True
    typed = {}
    for name, column in columns.items():
        checks = _Checks(name, column, values[name], rejected, rejections)
        typed[name] = checks.run(why_null)
    valid = pa.array(~rejected)
    return {
        name: pc.if_else(valid, array, pa.scalar(None, array.type)) if rejected.any() else array
        for name, array in typed.items()
    }


def error_arrays(rejections: dict[int, Rejection], count: int) -> dict[str, pa.Array]:
    """The columns `_error_code` and `_error_message` of `count` rows, null without a rejection."""
    names = [column.name for column in ERROR_COLUMNS]
    if not rejections:
        return {name: pa.nulls(count, pa.string()) for name in names}
    rows = sorted(rejections)
    indices = indices_among(rows, count)
    return {
        name: pa.array([str(rejections[row][part]) for row in rows], pa.string()).take(indices)
        for part, name in enumerate(names)
    }


class _Checks:
    """The rules of one column; marks the rows that break them in `rejected` and `rejections`."""

    def __init__(
        self,
        name: str,
        column: ColumnParams,
        found: pa.Array,
        rejected: Mask,
        rejections: dict[int, Rejection],
    ) -> None:
        self._name = name
        self._column = column
        self._found = found
        self._rejected = rejected
        self._findings = rejections

    def run(self, why_null: WhyNull) -> pa.Array:
        column, found = self._column, self._found
        if column.required and found.null_count:
            for row in self._new(mask_of(found.is_null())):
                self._add(row, why_null(row, self._name), "is required")
        values, failures = convert(self._without_nan(found), column)
        for code, failed in failures:
            for row in self._new(failed):
                self._add(row, code, f"{self._shown(row)} {self._fault(code)}")
        values = self._without_nan(values)
        if column.type == "double":
            for row in self._new(mask_of(pc.is_inf(values))):  # same words as for JSON
                self._add(row, ErrorCode.OUT_OF_RANGE, "outside the range of a double")
        if column.type == "int":
            self._check_range(values, *_INT)
            values = without(values, self._rejected).cast(ARROW["int"])
        self._check_range(values, column.min, column.max)
        if column.one_of:
            allowed = pc.is_in(values, pa.array(column.one_of, ARROW["string"]))
            for row in self._new(mask_of(pc.and_(values.is_valid(), pc.invert(allowed)))):
                listed = ", ".join(column.one_of)
                self._add(row, ErrorCode.NOT_ALLOWED, f"{self._shown(row)} is not one of {listed}")
        return values

    def _without_nan(self, values: pa.Array) -> pa.Array:
        """The values with null for NaN; a required column rejects these rows."""
        if not pa.types.is_floating(values.type):
            return values
        is_nan = mask_of(pc.is_nan(values))
        if self._column.required:
            for row in self._new(is_nan):
                self._add(row, ErrorCode.NULL_FIELD, "is required, and NaN counts as null")
        return without(values, is_nan)

    def _fault(self, code: ErrorCode) -> str:
        """What is wrong with a value that cannot be converted."""
        kind = self._column.type
        if code == ErrorCode.INVALID_UTF8:
            return "is not UTF-8 text"
        if code == ErrorCode.OUT_OF_RANGE:
            return f"is outside the range of a {kind}"
        if kind_of(self._found.type) in _NUMBERS and not self._column.epoch:
            return f"is not a valid {kind}{_HINTS.get(kind, '')}"
        return f"is not a valid {kind}"

    def _check_range(self, values: pa.Array, min_: float | None, max_: float | None) -> None:
        if min_ is not None:
            for row in self._new(mask_of(pc.less(values, _bound(min_, values.type)))):
                self._add(row, ErrorCode.OUT_OF_RANGE, f"{self._shown(row)} is below {min_:.15g}")
        if max_ is not None:
            for row in self._new(mask_of(pc.greater(values, _bound(max_, values.type)))):
                self._add(row, ErrorCode.OUT_OF_RANGE, f"{self._shown(row)} is above {max_:.15g}")

    def _new(self, broken: Mask) -> list[int]:
        return [int(row) for row in np.flatnonzero(broken & ~self._rejected)]

    def _add(self, row: int, code: ErrorCode, message: str) -> None:
        self._rejected[row] = True
        self._findings[row] = Rejection(code, f"{self._name}: {message}")

    def _shown(self, row: int) -> str:
        text = _text_of(self._found.slice(row, 1))
        return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def _text_of(one: pa.Array) -> str:
    """The only value of an array, as text for a message. Python lacks some values of Arrow."""
    try:
        value = one[0].as_py()
    except (ValueError, OverflowError, pa.ArrowException):
        return str(one.to_string(skip_new_lines=True))[1:-1]
    if isinstance(value, Decimal) and one.type == WIDE:
        return f"{value.normalize():f}"
    return str(value) if isinstance(value, dt.date | Decimal) else repr(value)


def _bound(bound: float, kind: pa.DataType) -> pa.Scalar:
    """The bound in the type of the values. A decimal keeps the digits that conf gives."""
    return pa.scalar(Decimal(repr(bound)) if pa.types.is_decimal(kind) else bound, kind)
