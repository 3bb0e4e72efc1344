"""Scores a table with the champion of each model of conf, and writes the table of predictions."""

import logging
import sys

from matchlake.errors import FitError, MatchlakeError
from matchlake.lakehouse.registered_models import registered_model
from matchlake.lakehouse.rollback import settled_history
from matchlake.lakehouse.views import publish_views
from matchlake.model_store.forecast_model import load_forecast_model
from matchlake.model_store.scoring_folder import SCORING, load_scoring_model
from matchlake.reports.metric_views import cluster_metrics_name
from matchlake.runtime import Flag, Runtime, run_job
from matchlake.training.forecasting import forecasts
from matchlake.training.model_scoring import count_refused, predictions, predictions_table

_log = logging.getLogger("matchlake.score_model")

FLAGS = (Flag("--model", "model_jobs.names", "NAME", "a model of conf; may be repeated"),)


def run(runtime: Runtime) -> None:
    """Replaces the table of each chosen model. If a model fails, the others are still scored."""
    failed = []
    for name in runtime.config.chosen_models:
        try:
            score_model(runtime, name)
        except MatchlakeError as error:
            failed.append(f"models.{name}: {error}")
            _log.error("models.%s: no table is written: %s", name, error)
    if failed:
        raise FitError("\n".join(failed))


def score_model(runtime: Runtime, name: str) -> None:
    """Writes the predictions of one champion in one commit, and notes the version of the table."""
    lake, params = runtime.lakehouse, runtime.config.models[name]
    model = registered_model(runtime.config, runtime.tracker, name)
    aliases = settled_history(lake, model)
    champion = model.tracker.require_champion()
    source = params.score_rows or params.rows
    with model.tracker.files(champion, f"artifacts/{SCORING}") as folder:
        if params.task == "forecasting":
            rows = forecasts(load_forecast_model(folder), lake.read(source), champion.version)
        else:
            scoring = load_scoring_model(folder)
            rows = predictions(scoring, lake.read(source), source, champion.version)
    lake.replace(rows, predictions_table(params, rows))
    aliases.note_tables(champion.version, {params.table: lake.version(params.table)})
    model.require_still_champion(champion.version)
    total, refused = count_refused(lake.read(params.table))
    level = logging.WARNING if refused else logging.INFO
    text = "%s: %d rows by version %s, %d of them without a prediction"
    _log.log(level, text, params.table, total, champion.version, refused)
    if params.task == "clustering":
        publish_views(lake, runtime.config, [cluster_metrics_name(params.table)])


if __name__ == "__main__":
    sys.exit(run_job("score_model", run, flags=FLAGS))
