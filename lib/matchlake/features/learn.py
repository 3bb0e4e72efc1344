"""From the statistics of a column to what a feature learns of it."""

import logging
from typing import Any

from pydantic import ValidationError

from matchlake.errors import InputError
from matchlake.features.categories import Category, CategoryFeature, FittedCategories
from matchlake.features.names import Names
from matchlake.features.numbers import FittedNumber
from matchlake.features.scaling import NumberFeature, NumberStatistics
from matchlake.features.statistics import CategoryCounts

_log = logging.getLogger(__name__)


def learn_number(
    name: str, column: str, type_name: str, feature: NumberFeature, found: dict[str, Any]
) -> FittedNumber:
    """The fitted feature; raises InputError where the data cannot bear it."""
    if not found["rows"]:
        raise InputError(
            f"Feature {name}: column {column} has no finite value, so there is nothing to learn "
            "from. Leave the feature out, or mend the column."
        )
    if feature.nulls == "error" and found["missing"]:
        raise InputError(
            f"Feature {name}: column {column} has {found['missing']} missing value(s), and its "
            "policy `nulls` is error. Mend the column, or choose another policy."
        )
    if any(found[need] is None for need in feature.needs()):
        raise InputError(
            f"Feature {name}: column {column} has no positive value, so it has no logarithm to "
            "learn from. Choose another scaler."
        )
    try:
        learned = NumberStatistics(**found)
    except ValidationError:
        raise InputError(
            f"Feature {name}: the values of column {column}, {found['minimum']!r} to "
            f"{found['maximum']!r}, are too large to sum up. Scale the column before."
        ) from None
    fitted = FittedNumber.model_validate(
        {"name": name, "column": column, "type": type_name, "feature": feature, "learned": learned}
    )
    fitted.formulas()
    return fitted


def learn_categories(
    start: FittedCategories, counts: CategoryCounts, old: FittedCategories | None, names: Names
) -> FittedCategories:
    """`start` with its categories; raises InputError where its policies refuse the data.

    Those of `old` stay where they are, new ones come after them and take their names from `names`.
    """
    feature = start.feature
    if feature.nulls == "error" and counts.missing:
        raise InputError(
            f"Feature {start.name}: column {start.column} has {counts.missing} null(s), and its "
            "policy `nulls` is error. Mend the column, or choose zero or column."
        )
    null, other = _extra_columns(start.name, feature, old, names)
    kept = _kept(start.name, feature, counts, old, names)
    cut = counts.present - sum(category.rows for category in kept)
    if cut and feature.other == "error":
        raise InputError(
            f"Feature {start.name}: the limits leave {cut} value(s) of column {start.column} "
            "without a column, and its policy `other` is error. Widen max_categories, min_rows "
            "and coverage, or choose zero or column."
        )
    if cut:
        _log.info(
            "%s: %d of %d values have no column of their own", start.name, cut, counts.present
        )
    found = {"null_column": null, "other_column": other, "categories": kept}
    return start.model_copy(update=found | {"null_rows": counts.missing, "other_rows": cut})


def _extra_columns(
    name: str, feature: CategoryFeature, old: FittedCategories | None, names: Names
) -> tuple[str | None, str | None]:
    """The columns of null and of other values, where the policies ask for them."""
    null = other = None
    if feature.nulls == "column":
        null = (old.null_column if old else None) or names.claim(name, "null")
    if feature.other == "column":
        other = (old.other_column if old else None) or names.claim(name, "other")
    return null, other


def _kept(
    name: str,
    feature: CategoryFeature,
    counts: CategoryCounts,
    old: FittedCategories | None,
    names: Names,
) -> tuple[Category, ...]:
    """The old categories in their order, then the most frequent new ones within the limits."""
    rows = dict(counts.values)
    before = old.categories if old else ()
    kept = [c.model_copy(update={"rows": rows.get(c.value, 0)}) for c in before]
    covered = sum(category.rows for category in kept)
    known = {category.value for category in before}
    for value, count in counts.values:
        if value in known or count < feature.min_rows:
            continue
        full = len(kept) >= feature.max_categories
        if full or covered >= feature.coverage * counts.present:
            break
        kept.append(Category(value=value, column=names.claim(name, value), rows=count))
        covered += count
    return tuple(kept)
