"""Formulas on NumPy arrays, and on single numbers without NumPy's overhead per call."""

import math
import operator
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from matchlake.errors import InputError
from matchlake.formulas.tree import Call, Column, Constant, Expression, Input, Refuse

Values = Mapping[str, Any]
Operations = Mapping[str, Callable[..., Any]]

ARRAYS: Operations = {
    "add": np.add,
    "subtract": np.subtract,
    "multiply": np.multiply,
    "divide": np.divide,
    "negative": np.negative,
    "absolute": np.abs,
    "exp": np.exp,
    "log": np.log,
    "tanh": np.tanh,
    "less": np.less,
    "less_equal": np.less_equal,
    "or": np.logical_or,
    "least": np.minimum,
    "greatest": np.maximum,
    "is_missing": np.isnan,
    "when": np.where,
    "any": np.any,
}


def rows_with_nan(matrix: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    """Whether each row of a matrix has NaN."""
    found: npt.NDArray[np.bool_] = np.asarray(np.isnan(matrix).any(axis=1))
    return found


def _divide(above: float, below: float) -> float:
    if below:
        return above / below
    return math.copysign(math.inf, above) * math.copysign(1.0, below) if above else math.nan


def _exp(value: float) -> float:
    try:
        return math.exp(value)
    except OverflowError:
        return math.inf


def _log(value: float) -> float:
    if value > 0:
        return math.log(value)
    return math.nan if value else -math.inf


def _choose(condition: bool, then: float, otherwise: float) -> float:  # noqa: FBT001
    return then if condition else otherwise


NUMBERS: Operations = {
    "add": operator.add,
    "subtract": operator.sub,
    "multiply": operator.mul,
    "divide": _divide,
    "negative": operator.neg,
    "absolute": abs,
    "exp": _exp,
    "log": _log,
    "tanh": math.tanh,
    "less": operator.lt,
    "less_equal": operator.le,
    "or": operator.or_,
    "least": min,
    "greatest": max,
    "is_missing": math.isnan,
    "when": _choose,
    "any": bool,
}


def bind(expression: Expression, operations: Operations) -> Callable[[Values], Any]:
    """The formula as a function of values by the names of columns and inputs.

    Both branches of a condition are computed. The function raises InputError for a value that the
    formula refuses.
    """
    match expression:
        case Column(name) | Input(name):
            return operator.itemgetter(name)
        case Constant(value):
            number = math.nan if value is None else value
            return lambda _values: number
        case Refuse(condition, message, value):
            return _refusing(
                bind(condition, operations), message, bind(value, operations), operations["any"]
            )
        case Call(operation, arguments):
            return _calling(operations[operation], [bind(part, operations) for part in arguments])
    raise TypeError(f"not an expression: {expression!r}")


def _refusing(
    condition: Callable[[Values], Any],
    message: str,
    value: Callable[[Values], Any],
    holds: Callable[[Any], Any],
) -> Callable[[Values], Any]:
    def run(values: Values) -> Any:
        if holds(condition(values)):
            raise InputError(message)
        return value(values)

    return run


def _calling(
    function: Callable[..., Any], arguments: list[Callable[[Values], Any]]
) -> Callable[[Values], Any]:
    """Returns a closure for this number of arguments: a loop over them takes twice the time."""
    match arguments:
        case [first]:
            return lambda values: function(first(values))
        case [first, second]:
            return lambda values: function(first(values), second(values))
        case [first, second, third]:
            return lambda values: function(first(values), second(values), third(values))
    raise TypeError(f"no operation has {len(arguments)} arguments")
