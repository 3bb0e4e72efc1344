"""Quartz cron expressions: second, minute, hour, day of month, month, day of week, maybe a year."""

import re
from typing import NamedTuple

_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_DAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")


class _Field(NamedTuple):
    name: str
    low: int
    high: int
    names: tuple[str, ...] = ()
    special: str = r"(?!)"
    """Further values of the field, such as the last day of a month."""


_FIELDS = (
    _Field("second", 0, 59),
    _Field("minute", 0, 59),
    _Field("hour", 0, 23),
    _Field("day of month", 1, 31, special=r"\?|L(-([1-9]|[12]\d|30))?W?|([1-9]|[12]\d|3[01])W"),
    _Field("month", 1, 12, _MONTHS),
    _Field("day of week", 1, 7, _DAYS, rf"\?|L|([1-7]|{'|'.join(_DAYS)})(L|#[1-5])"),
    _Field("year", 1970, 2199),
)
_PART = re.compile(r"(?P<first>\*|\w+)(?:-(?P<last>\w+))?(?:/(?P<step>\d+))?", re.ASCII)


def cron_problem(text: str) -> str | None:
    """The problem of the expression; None if Quartz accepts it."""
    parts = text.upper().split()
    if len(parts) not in (6, 7):
        hint = f"; with a second at the start: `0 {text}`" if len(parts) == 5 else ""  # noqa: PLR2004
        return (
            f"{text!r} has {len(parts)} fields; Quartz takes 6 or 7: second minute hour "
            f"day-of-month month day-of-week [year]{hint}"
        )
    for part, field in zip(parts, _FIELDS, strict=False):
        wrong = next((each for each in part.split(",") if not _fits(each, field)), None)
        if wrong is not None:
            span = ", ".join((f"{field.low} to {field.high}", *field.names))
            return f"{text!r}: {wrong!r} is no {field.name}: {span}, *, a-b, a/n, lists"
    if (parts[3] == "?") == (parts[5] == "?"):
        return f"{text!r}: exactly one of day of month and day of week must be ?"
    return None


def _fits(part: str, field: _Field) -> bool:
    if re.fullmatch(field.special, part):
        return True
    match = _PART.fullmatch(part)
    if not match or (match["first"] == "*" and match["last"]):
        return False
    step = match["step"]
    if step is not None and not 1 <= int(step) <= field.high:
        return False
    ends = [_number(text, field) for text in (match["first"], match["last"]) if text]
    return all(end is not None for end in ends)


def _number(text: str, field: _Field) -> int | None:
    if text == "*":
        return field.low
    if text in field.names:
        return field.names.index(text) + field.low
    number = int(text) if text.isdecimal() else -1
    return number if field.low <= number <= field.high else None
