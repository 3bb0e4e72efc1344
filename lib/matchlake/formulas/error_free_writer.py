"""Writes an expression, part by part, so that it is null where it would fail."""

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, ClassVar

from matchlake.errors import ParameterError
from matchlake.formulas.error_free_functions import (
    FIXED,
    GENERAL,
    LONGEST_MATCHED,
    Argument,
    call_fixed,
    call_general,
    check_pattern,
)
from matchlake.formulas.sql_types import (
    BOOLEAN,
    DOUBLE,
    INTERVAL,
    MONTHS,
    NULL,
    TEXT,
    TIMESTAMP,
    SqlType,
    arithmetic_type,
    common_type,
    named_type,
    stored_type,
)
from matchlake.schemas import quote_identifier, quote_text

_DEEPEST, _MOST_DIGITS = 50, 18
_COMPARISONS = {"EQ": "=", "NEQ": "<>", "GT": ">", "GTE": ">=", "LT": "<", "LTE": "<="}
_OPERATORS = {
    "Add": ("+", "try_add"),
    "Sub": ("-", "try_subtract"),
    "Mul": ("*", "try_multiply"),
    "Div": ("/", "try_divide"),
    "Mod": ("%", "try_mod"),
}
_TRIED = {function: name for name, (_, function) in _OPERATORS.items()} | {"mod": "Mod"}
_CASTS = ["int", "bigint", "double", "string", "boolean", "date", "timestamp"]
_CAST_FUNCTIONS = {"to_date": "date", "to_timestamp": "timestamp", "try_to_timestamp": "timestamp"}
_CASTABLE = {
    "text": {"number", "text", "boolean", "date", "timestamp"},
    "number": {"number", "text"},
    "boolean": {"boolean", "text"},
    "date": {"date", "timestamp", "text"},
    "timestamp": {"date", "timestamp", "text", "number"},
    "null": {"number", "text", "boolean", "date", "timestamp"},
}
_UNITS = dict.fromkeys(("SECOND", "MINUTE", "HOUR", "DAY"), INTERVAL)
_UNITS |= dict.fromkeys(("MONTH", "YEAR"), MONTHS)


class Writer:
    """Writes the parts of an expression, each with its type."""

    def __init__(self, columns: Mapping[str, tuple[str, str]]) -> None:
        self._columns = columns
        self._depth = 0

    def write(self, node: Any) -> Argument:
        """Returns the typed SQL of a part; raises ParameterError without an error-free form."""
        name = type(node).__name__
        self._depth += 1
        if self._depth > _DEEPEST:
            raise ParameterError(
                f"it is nested deeper than {_DEEPEST}: split it into several rules"
            )
        if name in _COMPARISONS:
            result = self._comparison(node, _COMPARISONS[name])
        elif name in _OPERATORS:
            result = self._arithmetic(name, self.write(node.this), self.write(node.expression))
        elif name in self._parts:
            result = self._parts[name](self, node)
        else:
            raise ParameterError(f"{_shown(node)} has no error-free form ({name})")
        self._depth -= 1
        return result

    def _column(self, node: Any) -> Argument:
        name = ".".join(part.name for part in node.parts)
        if name.lower() not in self._columns:
            there = ", ".join(own for own, _ in self._columns.values())
            raise ParameterError(f"there is no column {name}; the columns are {there}")
        own, declared = self._columns[name.lower()]
        kind = named_type(declared)
        if kind is None:
            raise ParameterError(f"column {own} has the type {declared}, which a rule cannot read")
        return Argument(quote_identifier(own), kind)

    def _literal(self, node: Any) -> Argument:
        text = str(node.this)
        if node.is_string:
            return Argument(quote_text(text), TEXT, text)
        if re.fullmatch(r"[0-9]{1,18}", text):
            return Argument(text, SqlType("number", len(text), whole=True), int(text))
        if found := re.fullmatch(r"([0-9]*)\.([0-9]*)", text):
            before, after = found[1].lstrip("0"), found[2]
            if 0 < len(before + after) <= _MOST_DIGITS:
                kind = SqlType("number", len(before + after), len(after))
                return Argument(text, kind)
        elif re.fullmatch(r"[0-9.]+[eE][+-]?[0-9]+", text) and float(text) < float("inf"):
            return Argument(text, DOUBLE)
        raise ParameterError(
            f"the number {text} has more than {_MOST_DIGITS} digits or is too large"
        )

    def _null(self, _node: Any) -> Argument:
        return Argument("NULL", NULL)

    def _boolean(self, node: Any) -> Argument:
        return Argument(str(bool(node.this)).lower(), BOOLEAN)

    def _paren(self, node: Any) -> Argument:
        return self.write(node.this)

    def _and(self, node: Any) -> Argument:
        return self._logic("AND", node.this, node.expression)

    def _or(self, node: Any) -> Argument:
        return self._logic("OR", node.this, node.expression)

    def _not(self, node: Any) -> Argument:
        return Argument(f"(NOT {self._condition(node.this).sql})", BOOLEAN)

    def _logic(self, word: str, *nodes: Any) -> Argument:
        left, right = map(self._condition, nodes)
        return Argument(f"({left.sql} {word} {right.sql})", BOOLEAN)

    def _condition(self, node: Any) -> Argument:
        part = self.write(node)
        if part.type.kind not in ("boolean", "null"):
            raise ParameterError(f"{_shown(node)} is a {part.type.kind}, but must be a condition")
        return part

    def _comparison(self, node: Any, operator: str) -> Argument:
        left, right = self.write(node.this), self.write(node.expression)
        if operator != "<=>" and NULL in (left.type, right.type):
            raise ParameterError(f"{_shown(node)} is always null. Use IS NULL or IS NOT NULL")
        common_type([left.type, right.type], _shown(node))
        return Argument(f"({left.sql} {operator} {right.sql})", BOOLEAN)

    def _equal_null(self, node: Any) -> Argument:
        return self._comparison(node, "<=>")

    def _distinct(self, node: Any) -> Argument:
        return Argument(f"(NOT {self._comparison(node, '<=>').sql})", BOOLEAN)

    def _is(self, node: Any) -> Argument:
        left, right = self.write(node.this), self.write(node.expression)
        if right.type.kind == "null":
            return Argument(f"({left.sql} IS NULL)", BOOLEAN)
        common_type([left.type, right.type], _shown(node))
        return Argument(f"({left.sql} <=> {right.sql})", BOOLEAN)

    def _between(self, node: Any) -> Argument:
        value, low, high = (self.write(node.args[name]) for name in ("this", "low", "high"))
        if node.args.get("symmetric"):
            raise ParameterError("BETWEEN SYMMETRIC is not allowed")
        for bound in (low, high):
            common_type([value.type, bound.type], _shown(node))
        return Argument(f"({value.sql} >= {low.sql} AND {value.sql} <= {high.sql})", BOOLEAN)

    def _in(self, node: Any) -> Argument:
        parts = [self.write(each) for each in (node.this, *node.expressions)]
        if len(parts) == 1:
            raise ParameterError(f"{_shown(node)} needs a list of values")
        common_type([stored_type(each.type) for each in parts], _shown(node))
        value, *values = (each.sql for each in parts)
        return Argument(f"({value} IN ({', '.join(values)}))", BOOLEAN)

    def _like(self, node: Any) -> Argument:
        return self._match(node, type(node).__name__.upper())

    def _rlike(self, node: Any) -> Argument:
        check_pattern(self.write(node.expression))
        return self._match(node, "RLIKE")

    def _match(self, node: Any, word: str) -> Argument:
        text, pattern = self.write(node.this), self.write(node.expression)
        if {text.type.kind, pattern.type.kind} - {"text", "null"}:
            raise ParameterError(f"{_shown(node)} needs a string and a pattern")
        if not isinstance(pattern.literal, str):
            raise ParameterError(f"{_shown(node)}: a pattern must be a string in single quotes")
        match = f"{text.sql} {word} {pattern.sql}"
        if word == "LIKE" and re.fullmatch(r"%?[^%_]*%?", pattern.literal):
            return Argument(f"({match})", BOOLEAN)
        return Argument(f"IF(length({text.sql}) > {LONGEST_MATCHED}, NULL, {match})", BOOLEAN)

    def _concat(self, node: Any) -> Argument:
        return call_fixed("concat", [self.write(node.this), self.write(node.expression)])

    def _negative(self, node: Any) -> Argument:
        part = self.write(node.this)
        if isinstance(part.literal, int):
            return part._replace(sql=f"(-{part.sql})", literal=-part.literal)
        zero = Argument("0", SqlType("number", 1, whole=True), 0)
        return self._arithmetic("Sub", zero, part)

    def _arithmetic(self, name: str, left: Argument, right: Argument) -> Argument:
        operator, function = _OPERATORS[name]
        kinds = (left.type.kind, right.type.kind)
        if set(kinds) <= {"number", "null"}:
            kind = arithmetic_type(operator, left.type, right.type)
        else:
            kind = _of_times(operator, left.type, right.type)
        return Argument(f"{function}({left.sql}, {right.sql})", kind)

    def _case(self, node: Any) -> Argument:
        chosen, branches = node.args.get("this"), node.args["ifs"]
        value = self.write(chosen) if chosen else None
        parts, results = [], []
        for branch in branches:
            when = self.write(branch.this) if value else self._condition(branch.this)
            if value:
                common_type([value.type, when.type], "CASE")
            results.append(self.write(branch.args["true"]))
            parts.append(f"WHEN {when.sql} THEN {results[-1].sql}")
        if node.args.get("default") is not None:
            results.append(self.write(node.args["default"]))
            parts.append(f"ELSE {results[-1].sql}")
        kind = common_type([stored_type(each.type) for each in results], "CASE")
        start = f"CASE {value.sql}" if value else "CASE"
        return Argument(f"{start} {' '.join(parts)} END", kind)

    def _cast(self, node: Any) -> Argument:
        target = node.args["to"]
        name = target.sql(dialect="databricks").lower().replace(" ", "")
        if node.args.get("format") is not None:
            raise ParameterError(f"{_shown(node)} has a format, which is not allowed")
        return _tried_cast(self.write(node.this), {"timestamp_ltz": "timestamp"}.get(name, name))

    def _interval(self, node: Any) -> Argument:
        unit = str(node.args.get("unit") or "").upper().removesuffix("S")
        amount = str(node.this and node.this.name)
        if unit not in _UNITS or not re.fullmatch(r"[0-9]{1,6}", amount):
            units = ", ".join(_UNITS)
            raise ParameterError(f"write an interval as INTERVAL '2' HOUR, with {units}")
        return Argument(f"INTERVAL '{amount}' {unit}", _UNITS[unit])

    def _item(self, node: Any) -> Argument:
        value, items = self.write(node.this), [self.write(each) for each in node.expressions]
        index = items[0].literal if len(items) == 1 else None
        if value.type.kind != "list of texts" or not isinstance(index, int):
            raise ParameterError(f"{_shown(node)} needs a list and a number, such as names[0]")
        return Argument(f"get({value.sql}, {items[0].sql})", TEXT)

    def _call(self, node: Any) -> Argument:
        name = str(node.this).lower()
        arguments: Sequence[Argument] = [self.write(each) for each in node.expressions]
        if name in FIXED:
            return call_fixed(name, arguments)
        if name in GENERAL:
            return call_general(name, arguments)
        if name in _TRIED and len(arguments) == 2:  # noqa: PLR2004 - an operator's operands
            return self._arithmetic(_TRIED[name], *arguments)
        if (name in _CASTS or name in _CAST_FUNCTIONS) and len(arguments) == 1:
            return _tried_cast(arguments[0], _CAST_FUNCTIONS.get(name, name))
        known = ", ".join(sorted({*FIXED, *GENERAL, *_TRIED, *_CASTS, *_CAST_FUNCTIONS}))
        raise ParameterError(
            f"{name} with {len(arguments)} argument(s) has no error-free form, or is not "
            f"deterministic; a rule can call {known}"
        )

    _parts: ClassVar[dict[str, Callable[[Any, Any], Argument]]] = {
        "Column": _column,
        "Literal": _literal,
        "Null": _null,
        "Boolean": _boolean,
        "Paren": _paren,
        "And": _and,
        "Or": _or,
        "Not": _not,
        "NullSafeEQ": _equal_null,
        "NullSafeNEQ": _distinct,
        "Is": _is,
        "Between": _between,
        "In": _in,
        "Like": _like,
        "ILike": _like,
        "RegexpLike": _rlike,
        "DPipe": _concat,
        "Neg": _negative,
        "Case": _case,
        "Cast": _cast,
        "TryCast": _cast,
        "Interval": _interval,
        "Bracket": _item,
        "Anonymous": _call,
    }


def _tried_cast(value: Argument, name: str) -> Argument:
    """Returns the cast, which gives null for a value that cannot be converted."""
    name = {"integer": "int", "long": "bigint"}.get(name, name)
    kind = None if name.startswith("array") else named_type(name)
    if kind is None or kind.kind not in _CASTABLE.get(value.type.kind, ()):
        raise ParameterError(f"a {value.type.kind} cannot be cast to {name}")
    if value.type.kind == "date" and kind.kind == "number":
        raise ParameterError("a date cannot be cast to a number: use datediff")
    if kind.group == "time" and isinstance(value.literal, str) and not _is_time(value.literal):
        raise ParameterError(f"{value.literal!r} is no {kind.kind} such as 2024-05-01")
    return Argument(f"TRY_CAST({value.sql} AS {name.upper()})", kind)


def _is_time(text: str) -> bool:
    """Returns whether a literal is a date or time in ISO 8601, as Spark and Python read it."""
    if not re.match(r"[0-9]{4}-[0-9]{2}-[0-9]{2}([ T][0-9]{2}:|$)", text):
        return False
    try:
        return bool(datetime.fromisoformat(text))
    except ValueError:
        return False


def _of_times(operator: str, left: SqlType, right: SqlType) -> SqlType:
    """The type of a sum or difference of times and intervals."""
    periods = {"interval", "interval of months"}
    if operator in "+-" and left.group == "time" and right.kind in periods:
        return TIMESTAMP if right is INTERVAL else left
    if operator == "+" and left.kind in periods and right.group == "time":
        return TIMESTAMP if left is INTERVAL else right
    if operator == "-" and left.group == right.group == "time":
        return INTERVAL
    if operator in "+-" and left.kind in periods and left.kind == right.kind:
        return left
    raise ParameterError(
        f"a {left.kind} {operator} a {right.kind} is not allowed; cast a string to a number or a "
        "time, and add days with date_add or an interval"
    )


def _shown(node: Any) -> str:
    text = str(node.sql(dialect="databricks"))
    return text if len(text) <= 60 else f"{text[:60]}..."  # noqa: PLR2004
