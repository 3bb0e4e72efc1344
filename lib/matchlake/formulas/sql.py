"""Formulas, names and literals as SQL of a dialect.

Spark also parses this SQL for the columns of a frame. So a frame and a query over the same table
give the same values.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from matchlake.errors import ParameterError
from matchlake.formulas.tree import Call, Column, Constant, Expression, Input, Refuse

_OPERATIONS = {
    "add": "({} + {})",
    "subtract": "({} - {})",
    "multiply": "({} * {})",
    "divide": "({} / {})",
    "negative": "(- {})",
    "absolute": "ABS({})",
    "exp": "EXP({})",
    "log": "LN({})",
    "tanh": "TANH({})",
    "less": "{} < {}",
    "less_equal": "{} <= {}",
    "least": "LEAST({}, {})",
    "greatest": "GREATEST({}, {})",
    "or": "({} OR {})",
    "is_missing": "{} IS NULL",
    "when": "CASE WHEN {} THEN {} ELSE {} END",
}


@dataclass(frozen=True)
class Dialect:
    """The SQL of one engine where engines differ; `{}` is replaced by the arguments."""

    name: str
    quote: str
    text: Callable[[str], str]
    refuse: str
    text_type: str
    list_type: str
    contains: str
    other_elements: str
    """SQL for: the list `value` has an element that is not in `known`. `known` includes null."""
    list_of: str
    without_absent: str
    """SQL for: the list of the indices without -1."""
    size: str
    without_nan: str
    """A double with null for NaN."""
    sparse: str
    """SQL for: a struct of `indices`, and of `values` followed by `ones` times 1.0."""

    def doubles(self, values: Sequence[str]) -> str:
        """A list of doubles."""
        listed = self.list_of.format(", ".join(values))
        return f"CAST({listed} AS {self.list_type.replace(self.text_type, 'DOUBLE')})"

    def identifier(self, name: str) -> str:
        """Returns `name` in quotes."""
        return self.quote + name.replace(self.quote, self.quote * 2) + self.quote


def _spark_text(value: str) -> str:
    # `$` would start a variable that Spark substitutes even inside a literal.
    escaped = value.replace("\\", "\\\\").replace("'", "\\'").replace("$", "\\u0024")
    return f"'{escaped}'"


def _duckdb_text(value: str) -> str:
    pieces = [f"'{piece}'" for piece in value.replace("'", "''").split("\0")]
    return pieces[0] if len(pieces) == 1 else f"({' || chr(0) || '.join(pieces)})"


SPARK = Dialect(
    name="spark",
    quote="`",
    text=_spark_text,
    refuse="raise_error({})",
    text_type="STRING",
    list_type="ARRAY<STRING>",
    contains="COALESCE(array_contains({}, {}), FALSE)",
    other_elements="COALESCE(size(array_except({value}, array({known}))) > 0, FALSE)",
    list_of="array({})",
    without_absent="array_remove(array({}), -1)",
    size="size({})",
    without_nan="NULLIF({}, CAST('NaN' AS DOUBLE))",
    sparse=(
        "named_struct('indices', {indices},"
        " 'values', concat({values}, array_repeat(1.0e0, {ones})))"
    ),
)
DUCKDB = Dialect(
    name="duckdb",
    quote='"',
    text=_duckdb_text,
    refuse="error({})",
    text_type="VARCHAR",
    list_type="VARCHAR[]",
    contains="COALESCE(list_contains({}, {}), FALSE)",
    other_elements="COALESCE(NOT list_has_all([{known}], {value}), FALSE)",
    list_of="[{}]",
    without_absent="[i FOR i IN [{}] IF i >= 0]",
    size="len({})",
    # `isnan(x)` and `x = NaN` are false to the optimizer if the statistics of a file leave NaN out.
    without_nan="CASE WHEN isfinite({0}) OR isinf({0}) THEN {0} END",
    sparse=(
        "{{'indices': {indices},"
        " 'values': list_concat({values}, list_resize(CAST([] AS DOUBLE[]), {ones}, 1.0e0))}}"
    ),
)
DIALECTS = {dialect.name: dialect for dialect in (SPARK, DUCKDB)}


def find_dialect(name: str) -> Dialect:
    """The dialect of that name; raises ParameterError with the known names."""
    if name not in DIALECTS:
        raise ParameterError(f"No SQL dialect {name!r}. Known dialects: {', '.join(DIALECTS)}.")
    return DIALECTS[name]


def number_text(value: float | None) -> str:
    """Returns a double as a literal that every dialect reads as the same bits."""
    if value is None:
        return "CAST(NULL AS DOUBLE)"
    text = repr(float(value))
    text = text if "e" in text else f"{text}e0"
    return f"({text})" if text.startswith("-") else text


def number_input(column: str, *, floating: bool, dialect: Dialect) -> str:
    """Returns a numeric column as a double, with null for NaN."""
    value = f"CAST({dialect.identifier(column)} AS DOUBLE)"
    return dialect.without_nan.format(value) if floating else value


def text_input(column: str, type_name: str, dialect: Dialect) -> str:
    """Returns a column as strings, or a list column as lists of strings."""
    name = dialect.identifier(column)
    if type_name.startswith("array"):
        same = type_name == "array<string>"
        return name if same else f"CAST({name} AS {dialect.list_type})"
    return name if type_name == "string" else f"CAST({name} AS {dialect.text_type})"


def refuse(condition: str, message: str, value: str, dialect: Dialect) -> str:
    """Returns SQL for `value`; it raises an error with `message` where `condition` holds."""
    fail = dialect.refuse.format(dialect.text(message))
    return f"CASE WHEN {condition} THEN {fail} ELSE {value} END"


def render(expression: Expression, dialect: Dialect) -> str:
    """A formula as SQL."""
    match expression:
        case Input(name):
            return dialect.identifier(name)
        case Column(name, floating):
            return number_input(name, floating=floating, dialect=dialect)
        case Constant(value):
            return number_text(value)
        case Refuse(condition, message, value):
            held = render(condition, dialect)
            return refuse(held, message, render(value, dialect), dialect)
        case Call(operation, arguments):
            return _OPERATIONS[operation].format(*(render(part, dialect) for part in arguments))
    raise TypeError(f"not an expression: {expression!r}")
