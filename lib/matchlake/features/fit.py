"""Fits feature sets."""

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
from matchlake.features.categories import FittedCategories, MultiHot
from matchlake.features.feature_set import Feature, FeatureSet
from matchlake.features.learn import learn_categories, learn_number
from matchlake.features.model import FeatureModel
from matchlake.features.names import Names
from matchlake.features.numbers import FittedNumber
from matchlake.features.scaling import NumberFeature
from matchlake.features.statistics import (
    CategoryRequest,
    NumberRequest,
    Statistics,
    collect_statistics,
)

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
    old = _old_categories(features, previous)
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
    _check_names(model)
    if previous is None or model == previous:
        return previous or model
    return model.model_copy(update={"version": previous.version + 1})


def changed_since(model: FeatureModel, features: FeatureSet) -> list[str]:
    """The features, `keys` or `order` in which a declaration is not the one that was fitted."""
    fitted = {each.name: each.feature for each in model.features}
    declared = features.features
    changed = [n for n in fitted | declared if fitted.get(n) != declared.get(n)]
    changed += ["keys"] if model.keys != features.keys else []
    return changed or (["order"] if list(fitted) != list(declared) else [])


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


def _check_names(model: FeatureModel) -> None:
    """Old categories keep their columns, so that a key or number added since can meet one."""
    names = Names()
    for name in (*model.keys, *(output.name for output in model.outputs())):
        if not names.reserve(name):
            raise InputError(
                f"Feature set {model.name}: {name} is already a key, a number or a flag, and a "
                "category's column since an earlier fit. Call the key or feature something else."
            )


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


def _old_categories(
    features: FeatureSet, previous: FeatureModel | None
) -> dict[str, FittedCategories]:
    """What was learned before of features that are still read from the same column."""
    return {
        each.name: each
        for each in (previous.features if previous else ())
        if isinstance(each, FittedCategories)
        and each.name in features.features
        and each.feature.kind == features.features[each.name].kind
        and each.column == features.column(each.name)
    }


def _request(
    feature: Feature, column: str, old: FittedCategories | None
) -> NumberRequest | CategoryRequest:
    if isinstance(feature, NumberFeature):
        return NumberRequest(column, tuple(sorted(feature.needs())), feature.shares())
    return CategoryRequest(
        column=column,
        is_list=isinstance(feature, MultiHot),
        limit=feature.max_categories,
        min_rows=feature.min_rows,
        known=tuple(category.value for category in old.categories) if old else (),
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
            fitted.append(learn_number(name, column, types[name], feature, found.numbers[name]))
        else:
            start = FittedCategories(
                name=name, column=column, type=types[name], feature=feature, categories=()
            )
            fitted.append(learn_categories(start, found.categories[name], old.get(name), names))
    return fitted


def _reserved(features: FeatureSet, old: dict[str, FittedCategories]) -> Names:
    """Names that are settled before any new category asks for one."""
    names = Names()
    for name in (*features.keys, *features.numbers(), *features.flags()):
        names.reserve(name)
    for fitted in old.values():
        for column in (*(c.column for c in fitted.categories), fitted.null_column):
            names.reserve(column or "")
        names.reserve(fitted.other_column or "")
    return names
