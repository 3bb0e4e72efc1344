"""The functions of an error-free expression, with their arguments, result and SQL."""

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

from matchlake.errors import ParameterError
from matchlake.formulas.sql_types import (
    BIGINT,
    BOOLEAN,
    DATE,
    DOUBLE,
    INT,
    TEXT,
    TEXTS,
    TIMESTAMP,
    SqlType,
    common_type,
    stored_type,
)

LONGEST_MATCHED = 1000
"""Longer strings are not matched: the time of a match can grow with a power of the length."""
_MOST_DAYS, _MOST_TEXT, _MOST_REPEATS = 100_000, 1_000_000, 4
_UNITS = ["year", "quarter", "month", "week", "day", "hour", "minute", "second"]
# A Java pattern of single characters, sets and anchors. * + {} can repeat a character or a set. A
# group can be optional, but not repeated: a repeated group can overflow the stack.
_SET = r"\[\^?[^\[\]&]+\]"
_ATOM = rf"(?:{_SET}|[^\[\]\\(){{}}*+?|])"
_PATTERN = re.compile(rf"(?:\((?:\?:)?|\)\??|\||{_ATOM}(?:[*+?]|\{{\d{{1,3}}(?:,\d{{0,3}})?\}})?)*")


class Argument(NamedTuple):
    """An argument: its SQL, its type, and its value if it is a literal."""

    sql: str
    type: SqlType
    literal: str | int | None = None


class Function(NamedTuple):
    """A function with fixed kinds of arguments."""

    arguments: tuple[str, ...]
    """The kind of each argument. `count` and `days` are integer literals; `pattern` and `unit` are
    string literals. `...` repeats the kind before it."""
    result: SqlType
    sql: str | None = None
    """The SQL function, or the format of the call. None: the function has the same name in SQL."""


_WRITTEN = {
    "length char_length character_length": Function(("text",), INT),
    "lower lcase upper ucase trim btrim ltrim rtrim reverse initcap": Function(("text",), TEXT),
    "substring substr": Function(("text", "count", "count"), TEXT),
    "left right": Function(("text", "count"), TEXT),
    "concat": Function(("text", "..."), TEXT),
    "replace translate": Function(("text", "text", "text"), TEXT),
    "contains startswith endswith": Function(("text", "text"), BOOLEAN),
    "instr": Function(("text", "text"), INT),
    "regexp_like": Function(
        ("text", "pattern"),
        BOOLEAN,
        f"IF(length({{0}}) > {LONGEST_MATCHED}, NULL, {{0}} RLIKE {{1}})",
    ),
    "sign signum sqrt cbrt exp ln log10 log2 log1p": Function(("number",), DOUBLE),
    "pow power": Function(("number", "number"), DOUBLE, "power"),
    "isnan": Function(("number",), BOOLEAN, "isnan(CAST({0} AS DOUBLE))"),
    "year quarter month day dayofmonth dayofweek dayofyear weekday weekofyear hour minute second": (
        Function(("time",), INT)
    ),
    "last_day": Function(("time",), DATE, "last_day(CAST({0} AS DATE))"),
    "date_trunc": Function(("unit", "time"), TIMESTAMP),
    "datediff date_diff": Function(("time", "time"), INT, "datediff"),
    "date_add date_sub": Function(("time", "days"), DATE),
    "add_months": Function(("time", "months"), DATE),
    "months_between": Function(("time", "time"), DOUBLE),
    "array_contains": Function(("list of texts", "text"), BOOLEAN),
    "size cardinality": Function(("list of texts",), INT, "array_size"),
    "array_distinct": Function(("list of texts",), TEXTS),
    "array_join": Function(("list of texts", "text"), TEXT),
    "element_at try_element_at": Function(("list of texts", "index"), TEXT, "try_element_at"),
    "isnull": Function(("any",), BOOLEAN, "({0} IS NULL)"),
    "isnotnull": Function(("any",), BOOLEAN, "({0} IS NOT NULL)"),
}
FIXED = {name: each for names, each in _WRITTEN.items() for name in names.split()}
"""The functions by name."""
_LIMITS = {
    "count": range(-_MOST_TEXT, _MOST_TEXT + 1),
    "days": range(-_MOST_DAYS, _MOST_DAYS + 1),
    "months": range(-1000, 1001),
    "index": range(-_MOST_TEXT, _MOST_TEXT + 1),
}
"""The possible literals of each kind. They keep every date within Spark's range."""


def call_fixed(name: str, arguments: Sequence[Argument]) -> Argument:
    """Returns the call of a function of `FIXED`; raises ParameterError for other arguments."""
    function = FIXED[name]
    kinds = function.arguments
    if kinds[-1] == "...":
        kinds = (kinds[0],) * max(1, len(arguments))
    least = len(kinds) - (kinds == FIXED["substring"].arguments)
    if not least <= len(arguments) <= len(kinds):
        raise ParameterError(f"{name} has {len(arguments)} argument(s) instead of {len(kinds)}")
    for kind, each in zip(kinds, arguments, strict=False):
        _check(name, kind, each)
    parts = [each.sql for each in arguments]
    if function.sql and "{" in function.sql:
        return Argument(function.sql.format(*parts), function.result)
    return Argument(f"{function.sql or name}({', '.join(parts)})", function.result)


def _check(name: str, kind: str, each: Argument) -> None:
    if kind in _LIMITS:
        allowed = isinstance(each.literal, int) and each.literal in _LIMITS[kind]
        if not allowed or (kind == "index" and each.literal == 0):
            limit = _LIMITS[kind].stop - 1
            raise ParameterError(
                f"{name} needs an integer from -{limit} to {limit}, such as 3, not a column"
                + (", and not 0" if kind == "index" else "")
            )
    elif kind == "pattern":
        check_pattern(each)
    elif kind == "unit":
        if str(each.literal).lower() not in _UNITS:
            raise ParameterError(f"{name} needs one of the strings {', '.join(_UNITS)}")
    elif kind != "any" and each.type.group not in (kind, "null"):
        raise ParameterError(f"{name} needs a {kind}, not a {each.type.kind}")


def check_pattern(pattern: Argument) -> None:
    """Raises ParameterError for a pattern that can fail, or take long, on some string."""
    text = pattern.literal
    if not isinstance(text, str):
        raise ParameterError("a pattern must be a string in single quotes")
    try:
        re.compile(text)
        valid = _PATTERN.fullmatch(text) is not None
    except re.error:
        valid = False
    if not valid or sum(text.count(sign) for sign in "*+{") > _MOST_REPEATS:
        raise ParameterError(
            f"the pattern {text!r} is not allowed: use characters, sets such as [0-9], anchors, "
            "alternatives and optional groups; repeat only single characters and sets, not "
            f"groups, and use at most {_MOST_REPEATS} of * + {{}}"
        )


def call_general(name: str, arguments: Sequence[Argument]) -> Argument:
    """Returns the call of a function of `GENERAL`, with arguments of any kind."""
    return GENERAL[name](name, list(arguments))


def _first_not_null(_name: str, arguments: list[Argument]) -> Argument:
    return _of_common("coalesce", arguments)


def _of_common(name: str, arguments: list[Argument]) -> Argument:
    if len(arguments) < 2:  # noqa: PLR2004 - one value needs no choice
        raise ParameterError(f"{name} needs two or more arguments")
    kind = common_type([stored_type(each.type) for each in arguments], name)
    return Argument(f"{name}({', '.join(each.sql for each in arguments)})", kind)


def _nullif(name: str, arguments: list[Argument]) -> Argument:
    _of_common(name, _exactly(name, arguments, 2))
    first, second = arguments
    return Argument(f"nullif({first.sql}, {second.sql})", stored_type(first.type))


def _equal_null(name: str, arguments: list[Argument]) -> Argument:
    _of_common(name, _exactly(name, arguments, 2))
    return Argument(f"({arguments[0].sql} <=> {arguments[1].sql})", BOOLEAN)


def _if(name: str, arguments: list[Argument]) -> Argument:
    condition, *values = _exactly(name, arguments, 3)
    if condition.type.kind not in ("boolean", "null"):
        raise ParameterError(f"{name} needs a condition, not a {condition.type.kind}")
    kind = common_type([stored_type(each.type) for each in values], name)
    return Argument(f"IF({', '.join(each.sql for each in arguments)})", kind)


def _abs(name: str, arguments: list[Argument]) -> Argument:
    (number,) = _numbers(name, _exactly(name, arguments, 1))
    if not number.type.whole:
        return Argument(f"abs({number.sql})", number.type)
    exact = SqlType("number", 20, 0)  # abs of the least bigint would overflow
    return Argument(f"abs(CAST({number.sql} AS DECIMAL(20,0)))", exact)


def _round(name: str, arguments: list[Argument]) -> Argument:
    number, *digits = _numbers(name, arguments)
    places = digits[0].literal if digits else 0
    if len(digits) > 1 or not isinstance(places, int) or not 0 <= places <= 18:  # noqa: PLR2004
        raise ParameterError(f"{name} needs a number, and a number of places from 0 to 18")
    call = ", ".join([number.sql, *(each.sql for each in digits)])
    precision, scale = number.type.precision, number.type.scale
    if precision is None or number.type.whole:
        kind = number.type if name == "round" or precision else DOUBLE
        return Argument(f"{name}({call})", kind)
    if precision >= 38:  # noqa: PLR2004 - the result has one more digit
        raise ParameterError(f"{name} of a decimal with 38 digits can fail; cast it to DOUBLE")
    places = min(places, scale)
    return Argument(f"{name}({call})", SqlType("number", precision - scale + 1 + places, places))


def _floor(name: str, arguments: list[Argument]) -> Argument:
    (number,) = _numbers(name, _exactly(name, arguments, 1))
    return Argument(f"{name}(CAST({number.sql} AS DOUBLE))", BIGINT)


def _exactly(name: str, arguments: list[Argument], count: int) -> list[Argument]:
    if len(arguments) != count:
        raise ParameterError(f"{name} has {len(arguments)} argument(s) instead of {count}")
    return arguments


def _numbers(name: str, arguments: list[Argument]) -> list[Argument]:
    for each in arguments:
        if each.type.kind not in ("number", "null"):
            raise ParameterError(f"{name} needs a number, not a {each.type.kind}")
    if not arguments:
        raise ParameterError(f"{name} needs a number")
    return arguments


GENERAL: dict[str, Callable[[str, list[Argument]], Argument]] = {
    "coalesce": _first_not_null,
    "ifnull": _first_not_null,
    "nvl": _first_not_null,
    "greatest": _of_common,
    "least": _of_common,
    "nullif": _nullif,
    "equal_null": _equal_null,
    "if": _if,
    "abs": _abs,
    "round": _round,
    "floor": _floor,
    "ceil": _floor,
    "ceiling": _floor,
}
"""The functions whose result depends on the types of their arguments."""
