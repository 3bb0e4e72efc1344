"""Builds the gold feature tables of users and items, and their fitted states."""

import logging
import sys
from datetime import UTC, datetime

from pyspark.sql import DataFrame

from matchlake.features.feature_tables import (
    FEATURE_COUNTS,
    FEATURE_SETS,
    FEATURE_VOCABULARY,
    count_rows,
    feature_constraints,
    feature_properties,
    feature_rows,
    feature_table,
    latest_model,
    set_rows,
    unknown_keys,
    vocabulary_rows,
)
from matchlake.features.fit import changed_since, fit_features
from matchlake.features.model import FeatureModel
from matchlake.features.params import FeatureTable
from matchlake.io.delta_properties import add_constraints, drop_constraints, set_properties
from matchlake.io.storage import write_json
from matchlake.lakehouse.views import publish_views
from matchlake.runtime import Runtime, run_job
from matchlake.schemas import INTERACTIONS

_log = logging.getLogger("matchlake.build_features")


def run(runtime: Runtime) -> None:
    """Writes each gold feature table and its fitted state."""
    lake = runtime.lakehouse
    interactions = lake.read(INTERACTIONS.name) if lake.exists(INTERACTIONS.name) else None
    for table in runtime.config.features.tables.values():
        if not table.required and not (
            lake.exists(table.source) and lake.read(table.source).head(1)
        ):
            _log.warning("%s is left out: %s has no rows", table.table, table.source)
            continue
        model = build_table(runtime, table)
        if interactions is not None:
            report_unknown(interactions, lake.read(table.source), model.keys)
    publish_views(lake, runtime.config)


def build_table(runtime: Runtime, params: FeatureTable) -> FeatureModel:
    """Fits one feature set on its source, or reuses its last state; writes state and table."""
    lake = runtime.lakehouse
    source = lake.read(params.source)
    known = lake.read(FEATURE_SETS.name) if lake.exists(FEATURE_SETS.name) else None
    previous = latest_model(known, params.features.name) if known is not None else None
    reused = previous if params.reuse_fitted_state else None
    if reused is not None and (changed := changed_since(reused, params.features)):
        text = "%s reuses %s version %d. The declaration has changed since then in: %s"
        _log.warning(text, params.table, reused.name, reused.version, ", ".join(changed))
    model = reused or fit_features(source, params.features, previous)
    if model != previous:
        save_state(runtime, model)
    write_features(runtime, params, model, source)
    return model


def save_state(runtime: Runtime, model: FeatureModel) -> None:
    """Writes the state's vocabulary and its file, and last the row that makes it the newest."""
    lake, folder = runtime.lakehouse, runtime.config.features.folder
    this = {"feature_set": model.name, "version": model.version}
    vocabulary = lake.frame(vocabulary_rows(model), FEATURE_VOCABULARY)
    lake.replace_where(vocabulary, FEATURE_VOCABULARY, this)
    if folder:
        write_json(folder, model.name, model.version, model.to_json())
    lake.replace_where(lake.frame(set_rows(model), FEATURE_SETS), FEATURE_SETS, this)


def write_features(
    runtime: Runtime, params: FeatureTable, model: FeatureModel, source: DataFrame
) -> None:
    """Replaces the feature table, with its constraints and the state's version."""
    lake = runtime.lakehouse
    constraints = feature_constraints(model, params.layout)
    if lake.exists(params.table):
        drop_constraints(lake, params.table, keep=constraints)
    spec = feature_table(model, params, source.schema)
    lake.replace(feature_rows(model, params, source), spec)
    add_constraints(lake, params.table, constraints)
    set_properties(lake, params.table, feature_properties(model))
    text = "%s: %d features by %s version %d"
    _log.info(text, params.table, len(model.outputs()), model.name, model.version)
    save_counts(runtime, params.table, model, source)


def save_counts(runtime: Runtime, table: str, model: FeatureModel, source: DataFrame) -> None:
    """Adds the counts of values that the fit has not seen to gold.feature_counts, and logs them."""
    lake, version = runtime.lakehouse, runtime.lakehouse.version(table)
    counted = model.count_unknown(source).collect()[0].asDict()
    rows = count_rows(model, counted, (table, version, datetime.now(UTC)))
    this = {"table_name": table, "table_version": version}
    lake.replace_where(lake.frame(rows, FEATURE_COUNTS), FEATURE_COUNTS, this)
    unknown = [f"{name} {count}" for name, count in counted.items() if count and name != "rows"]
    _log.info("%s: values that the fit has not seen: %s", table, ", ".join(unknown) or "none")


def report_unknown(interactions: DataFrame, entities: DataFrame, keys: tuple[str, ...]) -> None:
    """Logs how many interactions refer to a user or an item that its table lacks."""
    for key in set(keys) & set(interactions.columns):
        found = unknown_keys(interactions, entities, key).collect()[0]
        if found["interactions"]:
            text = "%d interactions have one of %d unknown %s value(s); they are kept"
            _log.warning(text, found["interactions"], found["keys"], key)


if __name__ == "__main__":
    sys.exit(run_job("build_features", run))
