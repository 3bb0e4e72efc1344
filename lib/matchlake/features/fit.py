"""Fits feature sets."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Union

import pyarrow as pa

from matchlake.errors import InputError, SchemaError
from matchlake.features.duckdb_statistics import duckdb_statistics
from matchlake.features.duckdb_table import DuckTable
from matchlake.features.feature_set import FeatureSet
from matchlake.features.fitted import Declared, FittedFeature
from matchlake.features.kinds import FITTED
from matchlake.features.model import FeatureModel
from matchlake.features.names import Names
from matchlake.features.requests import Request, Statistics
from matchlake.features.table_statistics import spark_types, table_statistics

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

Table = Union["DataFrame", pa.Table, DuckTable]
"""A Spark frame, an Arrow table, or a table that DuckDB reads."""


def fit_features(
    frame: Table, features: FeatureSet, previous: FeatureModel | None = None
) -> FeatureModel:
    """Learns a feature set from the columns of a Spark frame or of an Arrow table.

    A Spark frame starts one query; means and deviations need a second pass over it. An Arrow table
    needs no Spark, and its quantiles are exact. A table of DuckDB needs no Spark and has no
    quantiles.

    With the `previous` model of the set, all its categories keep their order and their columns,
    and new categories follow them. If the new model differs, its version is one higher; otherwise
    the previous model is returned. Raises SchemaError for a missing column or a type that an
    encoder does not take, InputError for data that the options refuse.
    """
    declared = _check_columns(frame, features)
    before = _comparable(features, previous)
    requests = {
        each.name: each.feature.request(
            each.column, before[each.name].known_categories() if each.name in before else ()
        )
        for each in declared
    }
    statistics = _statistics(frame, requests)
    if not statistics.rows:
        raise InputError(f"Feature set {features.name}: there are no rows to fit on.")
    names = _reserved(features, before)
    fitted = tuple(
        FITTED[each.feature.form].learn(
            each, statistics.found[each.name], before.get(each.name), names
        )
        for each in declared
    )
    model = FeatureModel.model_validate(
        {
            "name": features.name,
            "version": previous.version if previous else 1,
            "rows": statistics.rows,
            "keys": features.keys,
            "features": fitted,
        }
    )
    _check_names(model)
    if previous is None or model == previous:
        return previous or model
    return model.model_copy(update={"version": previous.version + 1})


def changed_since(model: FeatureModel, features: FeatureSet) -> list[str]:
    """The features, or `keys` or `order`, in which a declaration differs from the fitted one."""
    fitted = {each.name: each.feature for each in model.features}
    declared = features.features
    changed = [n for n in fitted | declared if fitted.get(n) != declared.get(n)]
    changed += ["keys"] if model.keys != features.keys else []
    return changed or (["order"] if list(fitted) != list(declared) else [])


def _statistics(frame: Table, requests: Mapping[str, Request]) -> Statistics:
    if isinstance(frame, pa.Table):
        return table_statistics(frame, requests)
    if isinstance(frame, DuckTable):
        return duckdb_statistics(frame, requests)
    from matchlake.features.statistics import collect_statistics  # noqa: PLC0415 - brings Spark

    return collect_statistics(frame, requests)


def _types(frame: Table) -> dict[str, str]:
    if isinstance(frame, pa.Table):
        return spark_types(frame)
    if isinstance(frame, DuckTable):
        return dict(frame.types)
    return {field.name: field.dataType.simpleString() for field in frame.schema}


def _check_columns(frame: Table, features: FeatureSet) -> list[Declared]:
    """The declared features with the types of their columns."""
    types = _types(frame)
    read = {name: features.column(name) for name in features.features}
    missing = sorted({*read.values(), *features.keys} - types.keys())
    if missing:
        raise SchemaError.missing(f"the table of feature set {features.name}", missing, types)
    for name, column in read.items():
        feature = features.features[name]
        if not feature.accepts(types[column]):
            raise SchemaError(
                f"Feature {name} ({feature.kind}) needs {feature.takes}, but column {column} is "
                f"{types[column]}. Cast the column, or choose another kind."
            )
    return [
        Declared(name, column, types[column], features.features[name])
        for name, column in read.items()
    ]


def _check_names(model: FeatureModel) -> None:
    """Raises InputError if a new key or number has the name of an earlier category column."""
    names = Names()
    for name in (*model.keys, *(output.name for output in model.outputs())):
        if not names.reserve(name):
            raise InputError(
                f"Feature set {model.name}: {name} is a key or a feature, but an earlier fit gave "
                "this name to the column of a category. Rename the key or the feature."
            )


def _comparable(features: FeatureSet, previous: FeatureModel | None) -> dict[str, FittedFeature]:
    """The previous features of the same kind that still read the same column."""
    return {
        each.name: each
        for each in (previous.features if previous else ())
        if each.name in features.features
        and each.feature.kind == features.features[each.name].kind
        and each.column == features.column(each.name)
    }


def _reserved(features: FeatureSet, before: dict[str, FittedFeature]) -> Names:
    """The names that are settled before any new category gets one."""
    names = Names()
    retained = [name for fitted in before.values() for name in fitted.kept_names()]
    for name in (*features.keys, *features.fixed_names(), *retained):
        names.reserve(name)
    return names
