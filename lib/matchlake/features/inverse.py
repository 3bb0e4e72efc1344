"""The way back: from output columns to the columns they were made from."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from matchlake.features.categories import FittedCategories
from matchlake.features.numbers import FittedNumber
from matchlake.formulas.numpy import ARRAYS, bind
from matchlake.formulas.sql import SPARK, render

Fitted = FittedNumber | FittedCategories


def inverse_sql(features: tuple[Fitted, ...]) -> dict[str, str]:
    """Spark SQL for each source column that a feature leads back to, by the column's name.

    Of several features of one column the first counts. Numbers come back as doubles, categories in
    their column's own type; what has no category of its own comes back as null. But with
    `drop_first` a row of zeros is the first category, also where it was a null or another value by
    the policy zero, and lists come back without that category.
    """
    found: dict[str, str] = {}
    for fitted in features:
        text = _number_sql(fitted) if isinstance(fitted, FittedNumber) else _category_sql(fitted)
        if text is not None:
            found.setdefault(fitted.column, text)
    return found


def inverse_arrays(
    features: tuple[Fitted, ...], columns: Mapping[str, npt.NDArray[Any]], rows: int
) -> dict[str, npt.NDArray[Any]]:
    """The same on arrays of output columns of so many rows; categories come back as their text."""
    found: dict[str, npt.NDArray[Any]] = {}
    for fitted in features:
        if isinstance(fitted, FittedCategories):
            found.setdefault(fitted.column, _category_array(fitted, columns, rows))
            continue
        formula = fitted.inverse()
        if formula is not None and fitted.column not in found:
            with np.errstate(all="ignore"):
                values = bind(formula, ARRAYS)({fitted.name: columns[fitted.name]})
            found[fitted.column] = values
    return found


def _number_sql(fitted: FittedNumber) -> str | None:
    formula = fitted.inverse()
    return render(formula, SPARK) if formula is not None else None


def _category_sql(fitted: FittedCategories) -> str:
    chosen = [
        f"WHEN {SPARK.identifier(c.column)} = 1 THEN {SPARK.text(c.value)}" for c in fitted.shown
    ]
    if fitted.is_list:
        value = f"array_compact(array({', '.join(f'CASE {each} END' for each in chosen)}))"
        if fitted.null_column:
            gone = f"{SPARK.identifier(fitted.null_column)} = 1"
            value = f"CASE WHEN {gone} THEN NULL ELSE {value} END"
    else:
        chosen += [
            f"WHEN {SPARK.identifier(name)} = 1 THEN NULL"
            for name in (fitted.null_column, fitted.other_column)
            if name
        ]
        value = _rest_sql(fitted)
        if chosen:
            value = f"CASE {' '.join(chosen)} ELSE {value} END"
    return f"CAST({value} AS {fitted.type})"


def _rest_sql(fitted: FittedCategories) -> str:
    rest = _rest(fitted)
    return "NULL" if rest is None else SPARK.text(rest)


def _rest(fitted: FittedCategories) -> str | None:
    """What a row of zeros comes back as."""
    dropped = fitted.feature.drop_first and fitted.categories
    return fitted.categories[0].value if dropped else None


def _category_array(
    fitted: FittedCategories, columns: Mapping[str, npt.NDArray[Any]], rows: int
) -> npt.NDArray[np.object_]:
    outputs = [output.name for output in fitted.outputs()]
    # One more, of zeros: a feature may have no column at all.
    matrix = np.column_stack([*(columns[name] for name in outputs), np.zeros(rows)])
    values: list[str | None] = [category.value for category in fitted.shown]
    shown = len(values)
    values += [None] * (len(outputs) - shown)
    back = np.empty(len(matrix), dtype=object)
    if fitted.is_list:
        null = outputs.index(fitted.null_column) if fitted.null_column else None
        for row, ones in enumerate(matrix == 1):
            gone = null is not None and ones[null]
            back[row] = None if gone else [values[i] for i in np.flatnonzero(ones[:shown])]
        return back
    has_one = (matrix == 1).any(axis=1)
    texts = np.array([*values, _rest(fitted)], dtype=object)
    back[:] = texts[np.where(has_one, (matrix == 1).argmax(axis=1), len(values))]
    return back
