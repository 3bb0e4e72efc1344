"""silver.interactions -> split -> fit -> evaluation -> a run and a registered version in MLflow."""

import logging
import sys
from datetime import UTC, datetime
from pathlib import Path

from pyspark.sql import DataFrame

from matchlake.io.fit_checkpoints import FitCheckpoints, fit_checkpoints
from matchlake.io.mlflow_tracking import Run
from matchlake.io.model_versions import CHAMPION, Descriptions
from matchlake.io.task_values import set_task_value
from matchlake.lakehouse.registered_models import RECOMMENDER, registered_model
from matchlake.lakehouse.rollback import settled_history
from matchlake.model_store.mlflow_flavor import EVALUATED, FACTORS, pyfunc_flavor
from matchlake.model_store.seen_items import save_seen_items
from matchlake.model_store.spark import save_model
from matchlake.recommender.baselines.bias import fit_bias
from matchlake.recommender.baselines.popularity import fit_popularity
from matchlake.recommender.progress import ProgressCallback
from matchlake.recommender.protocol import Recommender
from matchlake.recommender.split import Split, split
from matchlake.runtime import Runtime, run_job
from matchlake.schemas import INTERACTIONS
from matchlake.training.collapse import require_learned
from matchlake.training.descriptions import MODEL, describe_run, describe_version, run_name
from matchlake.training.evaluation import Figures, evaluate, flat_figures
from matchlake.training.params import SideTables, TrainParams
from matchlake.training.plots import training_plots
from matchlake.training.progress_bar import fit_bar
from matchlake.training.promotion import SPLIT_TAG, decide_promotion
from matchlake.training.recommender_search import search_recommender
from matchlake.training.side_features import (
    Sides,
    fit_encoders,
    input_versions,
    read_encoders,
    read_sides,
    save_side_tables,
)
from matchlake.training.steps import (
    fit_model,
    log_diagnostics,
    progress_to,
    save_training_params,
    with_weight,
)

_log = logging.getLogger("matchlake.train_recommender")


def run(runtime: Runtime) -> None:
    """Fits, compares with the baselines and the champion, registers the version with its alias."""
    params, tables = runtime.config.train, runtime.config.side_tables
    lakehouse, tracker = runtime.lakehouse, runtime.tracker
    versions = input_versions(lakehouse, tables)
    history = lakehouse.read(INTERACTIONS.name, versions[INTERACTIONS.name])
    interactions = with_weight(history, params)
    sides = read_sides(lakehouse, tables, interactions, versions)
    label = f"versions {versions}, {params.model_dump_json(exclude={'resume'})}, {tables}"
    path = f"{runtime.config.checkpoints}/train_recommender"
    aliases = settled_history(lakehouse, registered_model(runtime.config, tracker, RECOMMENDER))
    with (
        fit_checkpoints(runtime.spark, path, label, resume=params.resume) as checkpoints,
        tracker.run(run_name(params, datetime.now(UTC)), describe_run(params, versions)) as run,
        tracker.scratch() as scratch,
    ):
        parts = Split(*map(checkpoints.of("parts"), split(interactions, params.split)))
        run.log_params(params.model_dump(mode="json"))
        for table, version in versions.items():
            run.log_input(table, version)
        params = search_recommender(lakehouse, run, parts, params, (sides, tables), checkpoints)
        evaluated = fit_encoders(sides, tables, parts.train)
        model = _fit(parts.train, params, evaluated, checkpoints.of("fit"), progress_to(run))
        figures = _evaluate(run, model, parts, params, checkpoints.of("baselines"))
        decision = decide_promotion(
            tracker, lakehouse, (model, figures), parts, params, checkpoints.of("gate")
        )
        save_model(model, scratch / EVALUATED)
        served, fitted = model, parts.train
        if params.refit_on_all_data:
            sides, fitted = read_encoders(lakehouse, sides, tables, versions), interactions
            served = _fit(fitted, params, sides, checkpoints.of("refit"))
        _save(scratch / FACTORS, served, fitted, params, tables)
        uri = run.log_model(pyfunc_flavor(scratch))
        tags = {SPLIT_TAG: params.split.model_dump_json()}
        about = Descriptions(MODEL, describe_version(figures, params, decision.reason))
        made = run.register(uri, decision, tags, about, aliases.recording("train"))
    (alias,) = made.aliases
    set_task_value("alias", alias)
    level = logging.INFO if alias == CHAMPION else logging.WARNING
    _log.log(level, "version %s is %s: %s", made.version, alias, made.tags["decision"])


def _fit(
    frame: DataFrame,
    params: TrainParams,
    sides: Sides,
    checkpoints: FitCheckpoints,
    *callbacks: ProgressCallback,
) -> Recommender:
    iterations = getattr(params.fit_params, "iterations", 1)
    with fit_bar(checkpoints.folder.name, iterations) as bar:
        model = fit_model(frame, params, sides, checkpoints, bar, *callbacks)
    require_learned(model)
    return model


def _evaluate(
    run: Run, model: Recommender, parts: Split, params: TrainParams, checkpoints: FitCheckpoints
) -> dict[str, Figures]:
    """Measures the model beside the baselines on the test part; logs metrics and plots."""
    models = {
        "popularity": fit_popularity(parts.train, checkpoint=checkpoints),
        "bias": fit_bias(parts.train, checkpoint=checkpoints),
        params.algorithm: model,
    }
    figures = evaluate(models, parts, params.ranking, params.azure_ml_modes)
    run.log_metrics(flat_figures(figures, params.algorithm))
    log_diagnostics(run, model)
    scored = model.score(parts.test) if model.predicts_ratings else None
    for file, figure in training_plots(figures, scored, params.metric).items():
        run.log_figure(figure, file)
    return figures


def _save(
    folder: Path, model: Recommender, fitted: DataFrame, params: TrainParams, tables: SideTables
) -> None:
    """Writes the model, and what scoring needs beside it."""
    save_model(model, folder)
    save_seen_items(fitted, folder)
    save_training_params(folder, params)
    save_side_tables(folder, tables)


if __name__ == "__main__":
    sys.exit(run_job("train_recommender", run))
