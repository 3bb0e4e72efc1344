"""Bronze to silver and gold: the latest ratings, and features of users and items."""

import logging
import sys
from datetime import UTC, datetime

from pyspark.sql import DataFrame

from matchlake.features.feature_set import FeatureTable
from matchlake.features.fit import changed_since, fit_features
from matchlake.features.interactions import latest_interactions, unknown_keys
from matchlake.features.model import FeatureModel
from matchlake.features.tables import (
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
    vocabulary_rows,
)
from matchlake.io.delta_properties import add_constraints, drop_constraints, set_properties
from matchlake.io.states import save_state
from matchlake.lakehouse.views import publish_views
from matchlake.runtime import Runtime, run_job
from matchlake.schemas import INTERACTIONS

_log = logging.getLogger("matchlake.build_features")


def run(runtime: Runtime) -> None:
    """Writes silver.interactions, then each gold feature table and its fitted state."""
    wanted, lake = runtime.config.features, runtime.lakehouse
    lake.replace(latest_interactions(lake.read(wanted.ratings)), INTERACTIONS)
    interactions = lake.read(INTERACTIONS.name)
    _log.info("%s: %d rows", INTERACTIONS.name, interactions.count())
    for table in wanted.tables.values():
        if not table.required and not (
            lake.exists(table.source) and lake.read(table.source).head(1)
        ):
            _log.warning("%s is left out: %s has no rows", table.table, table.source)
            continue
        model = build_table(runtime, table)
        report_unknown(interactions, lake.read(table.source), model.keys)
    publish_views(lake, runtime.config)


def build_table(runtime: Runtime, wanted: FeatureTable) -> FeatureModel:
    """Fits one feature set on its source, or takes its last state; writes state and table."""
    lake = runtime.lakehouse
    source = lake.read(wanted.source)
    known = lake.read(FEATURE_SETS.name) if lake.exists(FEATURE_SETS.name) else None
    previous = latest_model(known, wanted.features.name) if known is not None else None
    kept = previous if not wanted.refit else None
    if kept is not None and (changed := changed_since(kept, wanted.features)):
        text = "%s stays as %s version %d was fitted, other than declared in: %s (refit is false)"
        _log.warning(text, wanted.table, kept.name, kept.version, ", ".join(changed))
    model = kept or fit_features(source, wanted.features, previous)
    if model != previous:
        save_model(runtime, model)
    write_features(runtime, wanted, model, source)
    return model


def save_model(runtime: Runtime, model: FeatureModel) -> None:
    """Writes the state's vocabulary, its file, and last the row that makes it the newest."""
    spark, lake = runtime.spark, runtime.lakehouse
    this = {"feature_set": model.name, "version": model.version}
    vocabulary = spark.createDataFrame(vocabulary_rows(model), FEATURE_VOCABULARY.struct())
    lake.replace_where(vocabulary, FEATURE_VOCABULARY, this)
    if runtime.config.features.folder:
        save_state(runtime.config.features.folder, model.name, model.version, model.to_json())
    state = spark.createDataFrame(set_rows(model), FEATURE_SETS.struct())
    lake.replace_where(state, FEATURE_SETS, this)


def write_features(
    runtime: Runtime, wanted: FeatureTable, model: FeatureModel, source: DataFrame
) -> None:
    """Replaces the table, with its constraints and the state's version."""
    lake = runtime.lakehouse
    constraints = feature_constraints(model, wanted.layout)
    if lake.exists(wanted.table):
        drop_constraints(lake, wanted.table, keep=constraints)
    spec = feature_table(model, wanted, source.schema)
    lake.replace(feature_rows(model, wanted, source), spec)
    add_constraints(lake, wanted.table, constraints)
    set_properties(lake, wanted.table, feature_properties(model))
    text = "%s: %d features by %s version %d"
    _log.info(text, wanted.table, len(model.outputs()), model.name, model.version)
    save_counts(runtime, wanted.table, model, source)


def save_counts(runtime: Runtime, table: str, model: FeatureModel, source: DataFrame) -> None:
    """Adds to gold.feature_counts what the fit has not seen, whatever the policies, and logs it."""
    lake, version = runtime.lakehouse, runtime.lakehouse.version(table)
    counted = model.count_unknown(source).collect()[0].asDict()
    rows = count_rows(model, counted, (table, version, datetime.now(UTC)))
    frame = runtime.spark.createDataFrame(rows, FEATURE_COUNTS.struct())
    this = {"table_name": table, "table_version": version}
    lake.replace_where(frame, FEATURE_COUNTS, this)
    unknown = [f"{name} {count}" for name, count in counted.items() if count and name != "rows"]
    _log.info("%s: beyond the fit: %s", table, ", ".join(unknown) or "nothing")


def report_unknown(interactions: DataFrame, entities: DataFrame, keys: tuple[str, ...]) -> None:
    """Logs how many interactions refer to a user or an item that its table lacks."""
    for key in set(keys) & set(interactions.columns):
        found = unknown_keys(interactions, entities, key).collect()[0]
        if found["interactions"]:
            text = "%d interactions are of %d unknown %s value(s); they are kept"
            _log.warning(text, found["interactions"], found["keys"], key)


if __name__ == "__main__":
    sys.exit(run_job("build_features", run))
