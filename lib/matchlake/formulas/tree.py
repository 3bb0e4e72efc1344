"""Formulas as expression trees of a few operations on numbers.

A formula is plain data: `(x - 7.0) / 66.0` builds a tree. The tree runs as SQL (`sql`), and on
NumPy arrays and single numbers (`numpy`). Null and NaN both mean a missing value. A comparison with
a missing value is false, and arithmetic with a missing value gives a missing value.
"""

from dataclasses import dataclass


class Expression:
    """A formula over one row; operators and comparisons build larger formulas."""

    def __add__(self, other: "Expression | float") -> "Call":
        return Call("add", (self, _lift(other)))

    def __sub__(self, other: "Expression | float") -> "Call":
        return Call("subtract", (self, _lift(other)))

    def __mul__(self, other: "Expression | float") -> "Call":
        return Call("multiply", (self, _lift(other)))

    def __truediv__(self, other: "Expression | float") -> "Call":
        return Call("divide", (self, _lift(other)))

    def __lt__(self, other: "Expression | float") -> "Call":
        return Call("less", (self, _lift(other)))

    def __le__(self, other: "Expression | float") -> "Call":
        return Call("less_equal", (self, _lift(other)))

    def __gt__(self, other: "Expression | float") -> "Call":
        return Call("less", (_lift(other), self))

    def __ge__(self, other: "Expression | float") -> "Call":
        return Call("less_equal", (_lift(other), self))

    def __neg__(self) -> "Call":
        return Call("negative", (self,))

    def __or__(self, other: "Expression") -> "Call":
        return Call("or", (self, other))


@dataclass(frozen=True)
class Column(Expression):
    """A numeric column of the table as a double, with null for NaN."""

    name: str
    floating: bool
    """Whether the column's type can hold NaN."""


@dataclass(frozen=True)
class Input(Expression):
    """A named value that is prepared from one column."""

    name: str


@dataclass(frozen=True)
class Constant(Expression):
    """A number, or a missing value."""

    value: float | None


@dataclass(frozen=True)
class Call(Expression):
    """One operation on formulas."""

    operation: str
    arguments: tuple[Expression, ...]


@dataclass(frozen=True)
class Refuse(Expression):
    """`value`, or an error with `message` for a row where `condition` holds."""

    condition: Expression
    message: str
    value: Expression


MISSING = Constant(None)


def when(condition: Expression, then: Expression | float, otherwise: Expression | float) -> Call:
    """`then` where the condition holds, else `otherwise`."""
    return Call("when", (condition, _lift(then), _lift(otherwise)))


def is_missing(value: Expression) -> Call:
    """Whether the value is null or NaN."""
    return Call("is_missing", (value,))


def absolute(value: Expression) -> Call:
    """The value without its sign."""
    return Call("absolute", (value,))


def exp(value: Expression) -> Call:
    """The exponential of the value; infinite if it is too large for a double."""
    return Call("exp", (value,))


def log(value: Expression) -> Call:
    """The natural logarithm; the result is undefined for a value that is not positive."""
    return Call("log", (value,))


def tanh(value: Expression) -> Call:
    """The hyperbolic tangent."""
    return Call("tanh", (value,))


def clip(value: Expression, low: float, high: float) -> Call:
    """`value` limited to the range from `low` to `high`; `value` must not be missing."""
    return Call("greatest", (_lift(low), Call("least", (_lift(high), value))))


def _lift(value: Expression | float) -> Expression:
    return value if isinstance(value, Expression) else Constant(float(value))
