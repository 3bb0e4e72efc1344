"""silver.interactions -> split -> fit -> evaluation -> a run and a registered version in MLflow."""

import logging
import sys

from pyspark.sql import DataFrame

from matchlake.io.fit_checkpoints import Cuts, run_cuts
from matchlake.io.task_values import set_task_value
from matchlake.model_store.mlflow_flavor import EVALUATED, FACTORS, pyfunc_flavor
from matchlake.model_store.spark import save_model
from matchlake.recommender.als.model import FactorModel
from matchlake.recommender.baselines.bias import fit_bias
from matchlake.recommender.baselines.popularity import fit_popularity
from matchlake.recommender.matchbox.model import MatchboxModel
from matchlake.recommender.progress import OnProgress
from matchlake.recommender.split import Split, split
from matchlake.runtime import Runtime, run_job
from matchlake.schemas import INTERACTIONS
from matchlake.training.evaluation import Recommender, evaluate, flat_figures, not_beaten
from matchlake.training.params import TrainParams
from matchlake.training.plots import training_plots
from matchlake.training.progress_bar import fit_bar
from matchlake.training.promotion import SPLIT_TAG, judge
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
    log_posterior,
    note_training,
    progress_to,
    with_strength,
)

_log = logging.getLogger("matchlake.train_recommender")


def run(runtime: Runtime) -> None:
    """Trains, measures against the baselines and the champion, registers with the alias earned."""
    params, tracker = runtime.config.train, runtime.tracker
    lakehouse, name = runtime.lakehouse, params.algorithm
    tables = runtime.config.side_tables
    versions = input_versions(lakehouse, tables)
    history = lakehouse.read(INTERACTIONS.name, versions[INTERACTIONS.name])
    interactions = with_strength(history, params)
    sides = read_sides(lakehouse, tables, interactions, versions)
    what = f"versions {versions}, {params.model_dump_json(exclude={'resume'})}, {tables}"
    place = f"{runtime.config.checkpoints}/train_recommender"
    with (
        run_cuts(runtime.spark, place, what, resume=params.resume) as cuts,
        tracker.run("train_recommender") as run,
        tracker.scratch() as scratch,
    ):
        parts = Split(*map(cuts.of("parts"), split(interactions, params.split)))
        run.log_params(params.model_dump(mode="json"))
        for table, version in versions.items():
            run.log_input(table, version)
        evaluated = fit_encoders(sides, tables, parts.train)
        model = _fit(parts.train, params, evaluated, cuts.of("fit"), progress_to(run))
        models = {name: model, **_baselines(parts, cuts.of("baselines"))}
        figures = evaluate(models, parts, params.ranking, params.modes)
        run.log_metrics(flat_figures(figures, name))
        log_posterior(run, model)
        for other in not_beaten(figures, name, params.metric):
            _log.warning("%s is no better than the baseline %s in %s", name, other, params.metric)
        scored = model.score(parts.test) if model.predicts_ratings else None
        for file, figure in training_plots(figures, scored).items():
            run.log_figure(figure, file)
        decision = judge(tracker, lakehouse, (model, figures[name]), parts, params, cuts.of("gate"))
        save_model(model, scratch / EVALUATED)
        served = model
        if params.refit:
            sides = read_encoders(lakehouse, sides, tables, versions)
            served = _fit(interactions, params, sides, cuts.of("refit"))
        save_model(served, scratch / FACTORS)
        note_training(scratch / FACTORS, params)
        save_side_tables(scratch / FACTORS, tables)
        uri = run.log_model(pyfunc_flavor(scratch))
        tags = {SPLIT_TAG: params.split.model_dump_json(), "decision": decision.reason}
        registered = run.register(uri, decision.alias, tags)
    set_task_value("alias", decision.alias)
    _log.info("version %s is %s: %s", registered.version, decision.alias, decision.reason)


def _fit(
    frame: DataFrame, params: TrainParams, sides: Sides, cuts: Cuts, *told: OnProgress
) -> FactorModel | MatchboxModel:
    with fit_bar(cuts.folder.name, params.als.iterations) as bar:
        return fit_model(frame, params, sides, cuts, bar, *told)


def _baselines(parts: Split, cuts: Cuts) -> dict[str, Recommender]:
    return {
        "popularity": fit_popularity(parts.train, cut=cuts),
        "bias": fit_bias(parts.train, cut=cuts),
    }


if __name__ == "__main__":
    sys.exit(run_job("train_recommender", run))
