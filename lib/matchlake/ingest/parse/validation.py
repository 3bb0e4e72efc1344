"""The rules of declared columns, checked for a whole batch at once."""

from collections.abc import Callable, Mapping
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from matchlake.ingest.columns import ColumnParams, Columns
from matchlake.ingest.parse.casts import ARROW, Mask, convert, indices_among
from matchlake.ingest.rejections import ErrorCode, Rejection
from matchlake.ingest.schema import ERROR_COLUMNS

_SHOWN = 60

WhyNull = Callable[[int, str], ErrorCode]
"""Says for a row and a column without a value whether the field is missing or null."""


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
        column, values_in = self._column, self._found
        if column.required and values_in.null_count:
            for row in self._new(_mask(values_in.is_null())):
                self._add(row, why_null(row, self._name), "is required")
        if column.type == "int" and pa.types.is_int64(values_in.type):
            limits = np.iinfo(np.int32)
            self._check_range(values_in, limits.min, limits.max)
        values, failed = convert(values_in, column)
        for row in self._new(failed):
            self._add(row, ErrorCode.WRONG_TYPE, f"{self._shown(row)} is no {column.type}")
        if column.type == "double":
            for row in self._new(_mask(pc.invert(pc.is_finite(values)))):
                self._add(row, ErrorCode.OUT_OF_RANGE, "outside the range of a double")
        self._check_range(values, column.min, column.max)
        if column.one_of:
            allowed = pc.is_in(values, pa.array(column.one_of, ARROW["string"]))
            for row in self._new(_mask(pc.and_(values.is_valid(), pc.invert(allowed)))):
                listed = ", ".join(column.one_of)
                self._add(row, ErrorCode.NOT_ALLOWED, f"{self._shown(row)} is none of {listed}")
        return values

    def _check_range(self, values: pa.Array, min_: float | None, max_: float | None) -> None:
        if min_ is not None:
            for row in self._new(_mask(pc.less(values, _bound(min_, values.type)))):
                self._add(row, ErrorCode.OUT_OF_RANGE, f"{self._shown(row)} is below {min_:g}")
        if max_ is not None:
            for row in self._new(_mask(pc.greater(values, _bound(max_, values.type)))):
                self._add(row, ErrorCode.OUT_OF_RANGE, f"{self._shown(row)} is above {max_:g}")

    def _new(self, broken: Mask) -> list[int]:
        return [int(row) for row in np.flatnonzero(broken & ~self._rejected)]

    def _add(self, row: int, code: ErrorCode, message: str) -> None:
        self._rejected[row] = True
        self._findings[row] = Rejection(code, f"{self._name}: {message}")

    def _shown(self, row: int) -> str:
        value = self._found[row].as_py()
        text = f"{value.normalize():f}" if isinstance(value, Decimal) else repr(value)
        return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def _bound(bound: float, kind: pa.DataType) -> pa.Scalar:
    """The bound in the type of the values; a decimal has the digits that conf gives it."""
    return pa.scalar(Decimal(repr(bound)) if pa.types.is_decimal(kind) else bound, kind)


def _mask(flags: pa.Array) -> Mask:
    mask: Mask = flags.fill_null(False).to_numpy(zero_copy_only=False)  # noqa: FBT003 - a value
    return mask
