"""The rules that declared columns put on their values, over a whole batch at once."""

from collections.abc import Callable, Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from matchlake.ingest.params import ColumnParams, Columns
from matchlake.ingest.parse.casts import ARROW, Mask, convert
from matchlake.ingest.reasons import Finding, Reason

_SHOWN = 60

WhyNull = Callable[[int, str], Reason]
"""Tells for a row and a column without a value whether the field is missing or null."""


def check_columns(
    columns: Columns,
    found: Mapping[str, pa.Array],
    findings: dict[int, Finding],
    why_null: WhyNull,
) -> dict[str, pa.Array]:
    """The columns in their declared types, null in every row that has a finding.

    Adds the rows that break a rule to `findings`: one finding a row, that of the first column
    in declared order. Rows that have a finding already keep it.
    """
    count = len(next(iter(found.values())))
    bad = np.zeros(count, bool)
    bad[list(findings)] = True
    typed = {}
    for name, column in columns.items():
        checks = _Checks(name, column, found[name], bad, findings)
        typed[name] = checks.run(why_null)
    good = pa.array(~bad)
    return {
        name: pc.if_else(good, values, pa.scalar(None, values.type)) if bad.any() else values
        for name, values in typed.items()
    }


class _Checks:
    """One column's rules; marks the rows that break them in `bad` and `findings`."""

    def __init__(
        self,
        name: str,
        column: ColumnParams,
        found: pa.Array,
        bad: Mask,
        findings: dict[int, Finding],
    ) -> None:
        self._name = name
        self._column = column
        self._found = found
        self._bad = bad
        self._findings = findings

    def run(self, why_null: WhyNull) -> pa.Array:
        column, found = self._column, self._found
        if column.required and found.null_count:
            for row in self._new(_mask(found.is_null())):
                self._add(row, why_null(row, self._name), "is required")
        if column.type == "int" and pa.types.is_int64(found.type):
            limits = np.iinfo(np.int32)
            self._beyond(found, limits.min, limits.max)
        values, failed = convert(found, column)
        for row in self._new(failed):
            self._add(row, Reason.WRONG_TYPE, f"{self._shown(row)} is no {column.type}")
        if column.type == "double":
            for row in self._new(_mask(pc.invert(pc.is_finite(values)))):
                self._add(row, Reason.OUT_OF_RANGE, "beyond a double")
        self._beyond(values, column.min, column.max)
        if column.one_of:
            allowed = pc.is_in(values, pa.array(column.one_of, ARROW["string"]))
            for row in self._new(_mask(pc.and_(values.is_valid(), pc.invert(allowed)))):
                listed = ", ".join(column.one_of)
                self._add(row, Reason.NOT_ALLOWED, f"{self._shown(row)} is none of {listed}")
        return values

    def _beyond(self, values: pa.Array, least: float | None, greatest: float | None) -> None:
        if least is not None:
            for row in self._new(_mask(pc.less(values, pa.scalar(least, values.type)))):
                self._add(row, Reason.OUT_OF_RANGE, f"{self._shown(row)} is below {least:g}")
        if greatest is not None:
            for row in self._new(_mask(pc.greater(values, pa.scalar(greatest, values.type)))):
                self._add(row, Reason.OUT_OF_RANGE, f"{self._shown(row)} is above {greatest:g}")

    def _new(self, broken: Mask) -> list[int]:
        return [int(row) for row in np.flatnonzero(broken & ~self._bad)]

    def _add(self, row: int, reason: Reason, what: str) -> None:
        self._bad[row] = True
        self._findings[row] = Finding(reason, f"{self._name}: {what}")

    def _shown(self, row: int) -> str:
        text = repr(self._found[row].as_py())
        return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def _mask(flags: pa.Array) -> Mask:
    mask: Mask = flags.fill_null(False).to_numpy(zero_copy_only=False)  # noqa: FBT003 - a value
    return mask
