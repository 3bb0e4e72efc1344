"""The values that a fitted feature set refuses, as conditions on the rows of its table.

A transform fails at a row that an option refuses (`handle_null: error` and the like). A job that
scores a whole table asks first, and keeps such rows apart.
"""

from collections.abc import Iterator, Mapping

from matchlake.features.fitted_categories import FittedCategories
from matchlake.features.fitted_number import FittedNumber
from matchlake.features.model import FeatureModel
from matchlake.formulas.sql import SPARK, render
from matchlake.formulas.tree import Call, Expression, Input, Refuse


def refusals(model: FeatureModel) -> list[tuple[str, str]]:
    """Pairs of a Spark SQL condition on the table, and the message for rows that fulfil it."""
    found: list[tuple[str, str]] = []
    for fitted in model.features:
        if isinstance(fitted, FittedNumber):
            found += _of_number(fitted)
        elif isinstance(fitted, FittedCategories):
            found += fitted.sql_refusals()
    return found


def refusal_sql(model: FeatureModel) -> str | None:
    """SQL of the first message for a row, null for a row that is not refused; None if none is."""
    cases = [f"WHEN {condition} THEN {SPARK.text(text)}" for condition, text in refusals(model)]
    return f"CASE {' '.join(cases)} END" if cases else None


def _of_number(fitted: FittedNumber) -> Iterator[tuple[str, str]]:
    inputs = fitted.inputs()
    for formula in (
        *inputs.values(),
        *(_filled(each, inputs) for each in fitted.formulas().values()),
    ):
        for refuse in _refusals_in(formula):
            yield render(_unrefused(refuse.condition), SPARK), refuse.message


def _filled(formula: Expression, inputs: Mapping[str, Expression]) -> Expression:
    """The formula over the table's columns instead of prepared values."""
    match formula:
        case Input(name):
            return _unrefused(inputs[name])
        case Call(operation, arguments):
            return Call(operation, tuple(_filled(each, inputs) for each in arguments))
        case Refuse(condition, message, value):
            return Refuse(_filled(condition, inputs), message, _filled(value, inputs))
    return formula


def _refusals_in(formula: Expression) -> Iterator[Refuse]:
    match formula:
        case Call(_, arguments):
            for each in arguments:
                yield from _refusals_in(each)
        case Refuse(condition, _, value):
            yield formula
            yield from _refusals_in(condition)
            yield from _refusals_in(value)


def _unrefused(formula: Expression) -> Expression:
    """The formula without errors: the value stands for itself."""
    match formula:
        case Call(operation, arguments):
            return Call(operation, tuple(map(_unrefused, arguments)))
        case Refuse(_, _, value):
            return _unrefused(value)
    return formula
