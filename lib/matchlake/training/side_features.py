"""Reads the features of users and items for a fit, as `features.tables` declares them.

`build_features` fits each feature set for the gold tables. A training job fits the same set again
for its evaluation. The registered model takes the fitted state from `gold.feature_sets`.
"""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from pydantic import ValidationError
from pyspark.sql import DataFrame

from matchlake.features.feature_set import FeatureSet
from matchlake.features.feature_tables import FEATURE_SETS, latest_model
from matchlake.features.fit import changed_since, fit_features
from matchlake.features.model import FeatureModel
from matchlake.features.params import FeatureTable
from matchlake.io.delta import Lakehouse
from matchlake.recommender.columns import require_columns
from matchlake.schemas import INTERACTIONS, ITEM_ID, USER_ID
from matchlake.training.params import SideTables

_log = logging.getLogger(__name__)

_FILE = "side_features.json"

Encoder = FeatureSet | FeatureModel | None
"""The features of users or items: a declared set, a fitted set, or None for the default."""


class Sides(NamedTuple):
    """The features of users and items, one row per id; None without features."""

    users: DataFrame | None = None
    items: DataFrame | None = None
    encoders: tuple[Encoder, Encoder] = (None, None)


def save_side_tables(folder: Path, tables: SideTables) -> None:
    """Writes the declarations beside a saved model, so that scoring reads the same columns."""
    (folder / _FILE).write_text(tables.model_dump_json(), encoding="utf-8")


def load_side_tables(folder: Path, declared: SideTables) -> SideTables:
    """Loads the declarations that `save_side_tables` wrote into `folder`.

    If the file is missing or no longer valid, logs a warning and returns `declared`.
    """
    try:
        return SideTables.model_validate_json((folder / _FILE).read_bytes())
    except (OSError, ValidationError) as error:
        message = str(error).splitlines()[0]
        _log.warning(
            "the model folder has no valid feature declarations, so those of conf are used: %s",
            message,
        )
        return declared


def input_versions(lakehouse: Lakehouse, tables: SideTables) -> dict[str, int]:
    """Returns the current version of each table that a fit reads, if the table exists."""
    sources = [table.source for table in (tables.users, tables.items) if table]
    states = [FEATURE_SETS.name] if sources else []
    names = [INTERACTIONS.name, *filter(lakehouse.exists, [*sources, *states])]
    return {table: lakehouse.version(table) for table in names}


def read_sides(
    lakehouse: Lakehouse,
    tables: SideTables,
    interactions: DataFrame,
    versions: Mapping[str, int] | None = None,
) -> Sides:
    """Reads the columns of the features, with a row for every id of `interactions`.

    The tables are read at `versions`, or at their current version. An id without a row gets a row
    of nulls: its features count as missing. The number of such ids is logged. Runs one Spark job
    for users and one for items. Raises SchemaError if a source lacks a column.
    """
    each = ((tables.users, USER_ID), (tables.items, ITEM_ID))
    users, items = (_side(lakehouse, t, interactions, key, versions or {}) for t, key in each)
    return Sides(users, items)


def fit_encoders(sides: Sides, tables: SideTables, train: DataFrame) -> Sides:
    """Fits encoders on only the users and items of `train`; returns `sides` with them.

    They are for the evaluation. A state fitted on all rows would contain the ranges and categories
    of users and items that only the test part has. Without `train.refit_on_all_data` the evaluated
    model is registered, with these encoders. Runs one Spark job for users and one for items.
    """
    users, items = (
        None if frame is None or table is None else _fit(frame, table, train, key)
        for frame, table, key in (
            (sides.users, tables.users, USER_ID),
            (sides.items, tables.items, ITEM_ID),
        )
    )
    return sides._replace(encoders=(users, items))


def read_encoders(
    lakehouse: Lakehouse, sides: Sides, tables: SideTables, versions: Mapping[str, int]
) -> Sides:
    """Returns `sides` with the newest states of `gold.feature_sets` as encoders.

    They are for the registered model: a value then has the same encoding in the gold tables, in SQL
    and in the predictions of the model. If no state matches the declaration in conf, logs a
    warning; the fit then fits the declared set on all rows of `sides`. Runs one Spark job for users
    and one for items.
    """
    states = None
    if FEATURE_SETS.name in versions:
        states = lakehouse.read(FEATURE_SETS.name, versions[FEATURE_SETS.name])
    users, items = (
        None if frame is None or table is None else _state(states, table)
        for frame, table in ((sides.users, tables.users), (sides.items, tables.items))
    )
    return sides._replace(encoders=(users, items))


def _fit(frame: DataFrame, table: FeatureTable, train: DataFrame, key: str) -> FeatureModel:
    rows = frame.join(train.select(key).distinct(), key, "semi")
    return fit_features(rows, table.features.model_copy(update={"keys": (key,)}))


def _state(states: DataFrame | None, table: FeatureTable) -> FeatureSet | FeatureModel:
    declared = table.features
    state = latest_model(states, declared.name) if states is not None else None
    if state is not None and (table.reuse_fitted_state or not changed_since(state, declared)):
        return state
    _log.warning(
        "%s has no state of feature set %s as declared, so the model fits its own state. To use a "
        "shared state, run build_features before train_recommender",
        FEATURE_SETS.name,
        declared.name,
    )
    return declared


def _side(
    lakehouse: Lakehouse,
    table: FeatureTable | None,
    interactions: DataFrame,
    key: str,
    versions: Mapping[str, int],
) -> DataFrame | None:
    if table is None:
        return None
    if not lakehouse.exists(table.source):
        _log.warning("%s is missing: the fit has no features for %s", table.source, key)
        return None
    declared = table.features
    columns = dict.fromkeys(declared.column(name) for name in declared.features)
    source = lakehouse.read(table.source, versions.get(table.source))
    require_columns(source, (key, *columns), table.source)
    known = source.select(key, *columns)
    unknown = interactions.select(key).distinct().join(known, key, "anti")
    count = unknown.count()
    if count:
        text = "%d %s(s) with ratings have no row in %s: their features count as missing"
        _log.warning(text, count, key, table.source)
    return known.unionByName(unknown, allowMissingColumns=True)
