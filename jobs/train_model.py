"""Trains the models of conf: rows -> split -> features and fit -> gate -> a registered version."""

import logging
import sys

from matchlake.errors import FitError, MatchlakeError
from matchlake.io.model_versions import CHAMPION, ModelVersion
from matchlake.lakehouse.registered_models import registered_model
from matchlake.lakehouse.rollback import settled_history
from matchlake.model_store.forecast_model import forecast_flavor, save_forecast_model
from matchlake.model_store.scoring_folder import SCORING, save_scoring_model, scoring_flavor
from matchlake.runtime import Flag, Runtime, run_job
from matchlake.training.feature_scores import write_scores
from matchlake.training.forecasting import backtest
from matchlake.training.importance import importance_table
from matchlake.training.model_card import forecast_card, model_card
from matchlake.training.model_data import read_rows
from matchlake.training.model_evaluation import evaluate_model, flat, plots, tables
from matchlake.training.model_gate import TEST_PART, test_part
from matchlake.training.model_plots import importance_plots
from matchlake.training.model_search import SearchPlace, model_search_of, search_model
from matchlake.training.model_training import train

_log = logging.getLogger("matchlake.train_model")

_SAMPLE = 1_000
"""Number of test rows from which the rows that verify exports are taken."""

FLAGS = (Flag("--model", "model_jobs.names", "NAME", "a model of conf; may be repeated"),)


def run(runtime: Runtime) -> None:
    """Trains each chosen model. If a model fails, the others are still trained."""
    failed = []
    for name in runtime.config.chosen_models:
        try:
            made = train_model(runtime, name)
        except MatchlakeError as error:
            failed.append(f"models.{name}: {error}")
            _log.error("models.%s is not trained: %s", name, error)
            continue
        alias = made.aliases[0]
        level = logging.INFO if alias == CHAMPION else logging.WARNING
        _log.log(level, "%s %s is %s: %s", name, made.version, alias, made.tags["decision"])
    if not runtime.config.chosen_models:
        _log.warning("conf declares no models: see `models` in conf/README.md")
    if failed:
        raise FitError("\n".join(failed))


def train_model(runtime: Runtime, name: str) -> ModelVersion:
    """Fits one model, compares it with its champion, and registers the version with its alias."""
    lake, params = runtime.lakehouse, runtime.config.models[name]
    if params.task == "forecasting":
        return train_forecast(runtime, name)
    features = runtime.config.features_of(name)
    model = registered_model(runtime.config, runtime.tracker, name)
    aliases = settled_history(lake, model)
    model_search_of(params)  # refuses unusable parameters before anything is read
    rows = read_rows(lake, name, params, features)
    with model.tracker.run(f"train_model {name}") as run, model.tracker.scratch() as scratch:
        run.log_params(params.model_dump(mode="json", exclude={"features"}))
        run.log_input(params.rows, rows.version)
        place = SearchPlace(
            *(lake, run, f"{runtime.config.checkpoints}/train_model"),
            resume=runtime.config.model_jobs.resume,
        )
        params = search_model(place, name, params, features, rows)
        trained = train(name, params, features, rows, runtime.config.checkpoints)
        if trained.scores is not None:
            write_scores(lake, run, trained.scores)
        found = evaluate_model(trained, rows.test, params, model.tracker)
        run.log_metrics({**flat(found.figures), **found.counts, **trained.counts})
        for file, table in tables(trained, found).items():
            run.log_table(table, file)
        for file, figure in plots(trained, found).items():
            run.log_figure(figure, file)
        run.log_text(
            model_card(params, trained, rows, found.figures, found.decision), "model_card.md"
        )
        save_scoring_model(trained.model, scratch / SCORING, found.test.head(_SAMPLE))
        uri = run.log_model(scoring_flavor(scratch / SCORING))
        tags = {TEST_PART: test_part(params)}
        return run.register(uri, found.decision, tags, record=aliases.recording("train"))


def train_forecast(runtime: Runtime, name: str) -> ModelVersion:
    """Fits the series of one model, compares with its champion, and registers the version."""
    lake, params = runtime.lakehouse, runtime.config.models[name]
    model = registered_model(runtime.config, runtime.tracker, name)
    aliases = settled_history(lake, model)
    with model.tracker.run(f"train_model {name}") as run, model.tracker.scratch() as scratch:
        run.log_params(params.model_dump(mode="json", exclude={"features"}))
        made = backtest(lake, name, params, model.tracker)
        run.log_input(params.rows, made.version)
        run.log_metrics(flat(made.figures))
        if made.importances:
            run.log_table(importance_table(made.importances), "importance.json")
        for file, figure in importance_plots(made.importances).items():
            run.log_figure(figure, file)
        run.log_text(forecast_card(params, made), "model_card.md")
        save_forecast_model(made.model, scratch / SCORING)
        uri = run.log_model(forecast_flavor(scratch / SCORING, SCORING))
        tags = {TEST_PART: test_part(params)}
        return run.register(uri, made.decision, tags, record=aliases.recording("train"))


if __name__ == "__main__":
    sys.exit(run_job("train_model", run, flags=FLAGS))
