"""Counts of values beyond what the fit has seen."""

from collections.abc import Sequence

from pyspark.sql import Column
from pyspark.sql import functions as F

from matchlake.features.categories import FittedCategories
from matchlake.features.numbers import FittedNumber
from matchlake.formulas.sql import SPARK, number_text, render, text_input

Fitted = FittedNumber | FittedCategories


def unknown_counters(features: Sequence[Fitted]) -> list[Column]:
    """The rows, and a count for each condition: `FEATURE.null`, `.below`, `.above`, `.other`."""
    return [
        F.count(F.lit(1)).alias("rows"),
        *_counters(features),
    ]


def _counters(features: Sequence[Fitted]) -> list[Column]:
    return [
        F.expr(f"count_if({condition})").alias(f"{name}.{what}")
        for (name, what), condition in _conditions(features).items()
    ]


def _conditions(features: Sequence[Fitted]) -> dict[tuple[str, str], str]:
    """Spark SQL conditions on the table's columns, by feature and by what they find."""
    found: dict[tuple[str, str], str] = {}
    for fitted in features:
        if isinstance(fitted, FittedNumber):
            value = render(fitted.raw, SPARK)
            learned = fitted.learned
            found[fitted.name, "null"] = f"{value} IS NULL"
            found[fitted.name, "below"] = f"{value} < {number_text(learned.minimum)}"
            found[fitted.name, "above"] = f"{value} > {number_text(learned.maximum)}"
        else:
            value = text_input(fitted.column, fitted.type, SPARK)
            found[fitted.name, "null"] = f"{value} IS NULL"
            found[fitted.name, "other"] = fitted.sql_other(value, SPARK)
    return found
