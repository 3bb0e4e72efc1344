"""Builds a gold feature table: fits its feature set, and writes the state and the rows."""

import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import partial

from pyspark.sql import DataFrame

from matchlake.errors import EngineError
from matchlake.features.feature_tables import (
    FEATURE_COUNTS,
    FEATURE_SETS,
    FEATURE_VOCABULARY,
    count_rows,
    feature_constraints,
    feature_properties,
    feature_table,
    latest_model,
    set_rows,
    unknown_keys,
    vocabulary_rows,
)
from matchlake.features.fit import changed_since
from matchlake.features.model import FeatureModel
from matchlake.features.params import EngineName, FeatureTable
from matchlake.io.delta import Lakehouse
from matchlake.io.delta_properties import add_constraints, drop_constraints, set_properties
from matchlake.io.storage import write_json
from matchlake.lakehouse.feature_engines import Engine, SparkEngine, duckdb_engine

_log = logging.getLogger(__name__)


def build_feature_table(
    lake: Lakehouse,
    params: FeatureTable,
    folder: str | None = None,
    engine: EngineName = "auto",
) -> FeatureModel:
    """Fits one feature set on its source, or reuses its last state. Writes state and table.

    The state is also written as a JSON file below `folder`, if there is one. Raises EngineError if
    `engine` is duckdb and DuckDB does not see the tables, or cannot give the rows of Spark.
    """
    source = lake.read(params.source)
    known = lake.read(FEATURE_SETS.name) if lake.exists(FEATURE_SETS.name) else None
    previous = latest_model(known, params.features.name) if known is not None else None
    build = partial(_build, lake, params, folder, previous)
    if engine != "spark":
        fits = previous is None or not params.reuse_fitted_state
        try:
            with duckdb_engine(lake, params, fits=fits, automatic=engine == "auto") as duckdb:
                return build(duckdb)
        except EngineError as error:
            if engine == "duckdb":
                raise EngineError(
                    f"features.engine is duckdb, but {params.table} needs Spark: {error}. Set "
                    "features.engine to auto or spark."
                ) from None
            _log.info("%s is built by Spark: %s", params.table, error)
    return build(SparkEngine(lake, source))


def _build(
    lake: Lakehouse,
    params: FeatureTable,
    folder: str | None,
    previous: FeatureModel | None,
    engine: Engine,
) -> FeatureModel:
    reused = previous if params.reuse_fitted_state else None
    if reused is not None and (changed := changed_since(reused, params.features)):
        text = "%s reuses %s version %d. The declaration has changed since then in: %s"
        _log.warning(text, params.table, reused.name, reused.version, ", ".join(changed))
    model = reused or engine.fit(params.features, previous)
    if model != previous:
        _save_state(lake, model, folder)
    _write_features(lake, params, model, engine)
    # The statistics of a fit of this run tell the counts without a pass over the source.
    counted = None if reused else model.counts_at_fit()
    _save_counts(lake, params.table, model, counted or engine.count_unknown(model))
    return model


def _save_state(lake: Lakehouse, model: FeatureModel, folder: str | None) -> None:
    """Writes the vocabulary and the file of a state; then the row that makes it current."""
    this = {"feature_set": model.name, "version": model.version}
    vocabulary = lake.frame(vocabulary_rows(model), FEATURE_VOCABULARY)
    lake.replace_where(vocabulary, FEATURE_VOCABULARY, this)
    if folder:
        write_json(folder, model.name, model.version, model.to_json())
    lake.replace_where(lake.frame(set_rows(model), FEATURE_SETS), FEATURE_SETS, this)


def _write_features(
    lake: Lakehouse, params: FeatureTable, model: FeatureModel, engine: Engine
) -> None:
    """Replaces the feature table, with its constraints and the version of the state."""
    constraints = feature_constraints(model, params.layout)
    spec = feature_table(model, params, engine.schema)
    if lake.exists(params.table):
        drop_constraints(lake, params.table, keep=constraints)
    else:  # Constraints of a table without rows cost no pass over the rows.
        lake.create(spec)
        add_constraints(lake, params.table, constraints)
    engine.replace(model, params, spec)
    add_constraints(lake, params.table, constraints)
    set_properties(lake, params.table, feature_properties(model))
    text = "%s: %d features by %s version %d"
    _log.info(text, params.table, len(model.outputs()), model.name, model.version)


def _save_counts(
    lake: Lakehouse, table: str, model: FeatureModel, counted: Mapping[str, int]
) -> None:
    """Adds the counts of values unseen by the fit to gold.feature_counts, and logs them."""
    version = lake.version(table)
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
