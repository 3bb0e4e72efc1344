"""Fits feature sets."""

import logging

from pyspark.sql import DataFrame
from pyspark.sql.types import (
    ArrayType,
    BooleanType,
    DataType,
    DateType,
    IntegralType,
    NumericType,
    StringType,
)

from matchlake.errors import InputError, SchemaError
from matchlake.features.categories import Category, CategoryFeature, FittedCategories, MultiHot
from matchlake.features.feature_set import Feature, FeatureSet
from matchlake.features.model import FeatureModel
from matchlake.features.names import Names
from matchlake.features.numbers import FittedNumber
from matchlake.features.scaling import NumberFeature, NumberStatistics
from matchlake.features.statistics import (
    CategoryCounts,
    CategoryRequest,
    NumberRequest,
    Statistics,
    collect_statistics,
)

_log = logging.getLogger(__name__)

_SINGLE = (StringType, IntegralType, BooleanType, DateType)
_NUMBER = (NumericType, BooleanType)


def fit_features(
    frame: DataFrame, features: FeatureSet, previous: FeatureModel | None = None
) -> FeatureModel:
    """Learns a feature set from `frame`, whose columns it reads; starts one Spark job.

    Given the `previous` model of the set, categories keep their order and their columns, also
    those no longer there, and new ones come after them; the version rises by one where anything
    differs, else the previous model is given back. Raises SchemaError for a missing column or a
    type that a feature cannot take, InputError for data that a feature's policies refuse.
    """
    types = _check_columns(frame, features)
    old = _old_categories(previous)
    requests = {
        name: _request(feature, features.column(name), old.get(name))
        for name, feature in features.features.items()
    }
    found = collect_statistics(frame, requests)
    if not found.rows:
        raise InputError(f"Feature set {features.name}: there are no rows to fit on.")
    model = FeatureModel(
        name=features.name,
        version=previous.version if previous else 1,
        rows=found.rows,
        keys=features.keys,
        features=tuple(_fit_all(features, found, types, old)),
    )
    if previous and model != previous:
        model = model.model_copy(update={"version": previous.version + 1})
    return model


def _check_columns(frame: DataFrame, features: FeatureSet) -> dict[str, str]:
    """The type of each feature's column, as Spark names it."""
    there = {field.name: field.dataType for field in frame.schema}
    wanted = {name: features.column(name) for name in features.features}
    missing = sorted({*wanted.values(), *features.keys} - there.keys())
    if missing:
        raise SchemaError(
            f"Feature set {features.name} reads {', '.join(missing)}, which the table lacks: "
            f"it has {', '.join(there)}."
        )
    for name, column in wanted.items():
        _check_type(name, features.features[name], column, there[column])
    return {name: there[column].simpleString() for name, column in wanted.items()}


def _check_type(name: str, feature: Feature, column: str, found: DataType) -> None:
    if isinstance(feature, NumberFeature):
        fits, wanted = isinstance(found, _NUMBER), "a number or a boolean"
    elif isinstance(feature, MultiHot):
        inner = found.elementType if isinstance(found, ArrayType) else None
        fits, wanted = isinstance(inner, _SINGLE), "a list of texts, integers, booleans or dates"
    else:
        fits, wanted = isinstance(found, _SINGLE), "a text, an integer, a boolean or a date"
    if not fits:
        raise SchemaError(
            f"Feature {name} ({feature.kind}) needs {wanted}, but column {column} is "
            f"{found.simpleString()}. Cast the column, or choose another kind."
        )


def _old_categories(previous: FeatureModel | None) -> dict[str, FittedCategories]:
    fitted = previous.features if previous else ()
    return {each.name: each for each in fitted if isinstance(each, FittedCategories)}


def _request(
    feature: Feature, column: str, old: FittedCategories | None
) -> NumberRequest | CategoryRequest:
    if isinstance(feature, NumberFeature):
        return NumberRequest(column)
    return CategoryRequest(
        column=column,
        elements=isinstance(feature, MultiHot),
        limit=feature.max_categories,
        min_rows=feature.min_rows,
        known=old.values if old else (),
    )


def _fit_all(
    features: FeatureSet,
    found: Statistics,
    types: dict[str, str],
    old: dict[str, FittedCategories],
) -> list[FittedNumber | FittedCategories]:
    names = _reserved(features, old)
    fitted: list[FittedNumber | FittedCategories] = []
    for name, feature in features.features.items():
        column = features.column(name)
        if isinstance(feature, NumberFeature):
            learned = _learn_number(name, feature, column, found)
            fitted.append(
                FittedNumber(
                    name=name, column=column, type=types[name], feature=feature, learned=learned
                )
            )
        else:
            start = FittedCategories(
                name=name, column=column, type=types[name], feature=feature, categories=()
            )
            fitted.append(_learn_categories(start, found.categories[name], old.get(name), names))
    return fitted


def _reserved(features: FeatureSet, old: dict[str, FittedCategories]) -> Names:
    """Names that are settled before any new category asks for one."""
    names = Names()
    for key in features.keys:
        names.reserve(key)
    for name, feature in features.features.items():
        if isinstance(feature, NumberFeature):
            names.reserve(name)
            if feature.flag_nulls:
                names.reserve(f"{name}_null")
        elif name in old:
            for output in old[name].outputs():
                names.reserve(output.name)
    return names


def _learn_number(
    name: str, feature: NumberFeature, column: str, found: Statistics
) -> NumberStatistics:
    learned = found.numbers[name].asDict()
    if not learned["rows"]:
        raise InputError(
            f"Feature {name}: column {column} has no finite value in {found.rows} rows, so there "
            "is no range to learn. Leave the feature out, or mend the column."
        )
    if feature.nulls == "error" and learned["missing"]:
        raise InputError(
            f"Feature {name}: column {column} has {learned['missing']} missing value(s), and its "
            "policy `nulls` is error. Mend the column, or choose keep or a number."
        )
    return NumberStatistics(**learned)


def _learn_categories(
    start: FittedCategories,
    counts: CategoryCounts,
    old: FittedCategories | None,
    names: Names,
) -> FittedCategories:
    feature = start.feature
    if feature.nulls == "error" and counts.missing:
        raise InputError(
            f"Feature {start.name}: column {start.column} has {counts.missing} null(s), and its "
            "policy `nulls` is error. Mend the column, or choose zero or column."
        )
    nulls, other = _extra_columns(start.name, feature, old, names)
    kept = _kept(start.name, feature, counts, old, names)
    cut = counts.present - sum(category.rows for category in kept)
    if cut and feature.other == "error":
        raise InputError(
            f"Feature {start.name}: max_categories and min_rows leave {cut} value(s) of column "
            f"{start.column} without a column, and its policy `other` is error. "
            "Widen the limits, or choose zero or column."
        )
    if cut:
        _log.info(
            "%s: %d of %d values have no column of their own", start.name, cut, counts.present
        )
    return start.model_copy(
        update={
            "categories": kept,
            "null_column": nulls,
            "other_column": other,
            "null_rows": counts.missing,
            "other_rows": cut,
        }
    )


def _extra_columns(
    name: str, feature: CategoryFeature, old: FittedCategories | None, names: Names
) -> tuple[str | None, str | None]:
    """The columns of null and of other values, where the policies ask for them."""
    null = (old and old.null_column) or None
    other = (old and old.other_column) or None
    if feature.nulls == "column":
        null = null or names.claim(name, "null")
    if feature.other == "column":
        other = other or names.claim(name, "other")
    return (
        null if feature.nulls == "column" else None,
        other if feature.other == "column" else None,
    )


def _kept(
    name: str,
    feature: CategoryFeature,
    counts: CategoryCounts,
    old: FittedCategories | None,
    names: Names,
) -> tuple[Category, ...]:
    """The old categories in their order, then the most frequent new ones up to the limit."""
    rows = dict(counts.values)
    before = old.categories if old else ()
    kept = [c.model_copy(update={"rows": rows.get(c.value, 0)}) for c in before]
    known = {category.value for category in before}
    for value, count in counts.values:
        if len(kept) >= feature.max_categories:
            break
        if value not in known and count >= feature.min_rows:
            kept.append(Category(value=value, column=names.claim(name, value), rows=count))
    return tuple(kept)
