"""The hyperparameter search of train_recommender."""

import shutil
from collections.abc import Mapping
from typing import Any

from matchlake.io.delta import Lakehouse
from matchlake.io.fit_checkpoints import FitCheckpoints
from matchlake.io.mlflow_tracking import Run
from matchlake.recommender.algorithms import algorithm_of
from matchlake.recommender.als.params import AlsParams
from matchlake.recommender.fit_params import FitParams
from matchlake.recommender.progress import Progress, ProgressCallback
from matchlake.recommender.protocol import FitContext, Recommender, TrainingInputs
from matchlake.recommender.split import Split, SplitParams, split
from matchlake.search.journal import Journal
from matchlake.search.params import SearchParams
from matchlake.search.space import check_space
from matchlake.search.study import Report, Search
from matchlake.search.target import FieldsTarget
from matchlake.training.collapse import require_learned
from matchlake.training.evaluation import evaluate, value_of
from matchlake.training.params import LOWER_IS_BETTER, SideTables, TrainParams
from matchlake.training.side_features import Sides, fit_encoders
from matchlake.training.trial_log import TrialLog

_COVERAGE, _NOMINAL = "interval_coverage_90", 0.9


def validation_split(params: SplitParams, search: SearchParams) -> SplitParams:
    """Returns the split of the validation part: like that of the test part, with another seed.

    A split by time takes the latest rows, even if the test part starts at a fixed cutoff.
    """
    kept = params.model_dump(exclude_defaults=True, exclude={"cutoff", "test_fraction", "seed"})
    fraction = (
        {}
        if params.kind in ("last_n", "recommender")
        else {"test_fraction": search.validation_fraction}
    )
    return SplitParams.model_validate({**kept, **fraction, "seed": params.seed + 1})


def deciding(metric: str) -> tuple[str, bool]:
    """Returns what a search by `metric` measures, and whether larger values are better."""
    if metric == _COVERAGE:
        return f"distance of {_COVERAGE} from {_NOMINAL}", False
    return metric, metric not in LOWER_IS_BETTER


class RecommenderTrials:
    """Fits the algorithm of `params` to one part, and measures it on the other part."""

    def __init__(
        self, parts: Split, params: TrainParams, sides: Sides, checkpoints: FitCheckpoints
    ) -> None:
        self._parts, self._params, self._sides = parts, params, sides
        self._checkpoints = checkpoints

    def objective(self, values: Mapping[str, Any], report: Report) -> float:
        """Fits with these hyperparameters; returns the deciding metric.

        Its checkpoints are removed at the end.
        """
        checkpoints = self._checkpoints.of(f"trial-{report.number}")
        shutil.rmtree(checkpoints.folder, ignore_errors=True)
        try:
            fitted = FieldsTarget(self._params.fit_params).with_values(values)
            return self._measure(self._fit(fitted, report, checkpoints))
        finally:
            shutil.rmtree(checkpoints.folder, ignore_errors=True)

    def _fit(self, fitted: FitParams, report: Report, checkpoints: FitCheckpoints) -> Recommender:
        search = self._params.search
        prune = search is not None and search.prune
        users, items, encoders = self._sides
        validation = self._parts.test if prune else None
        inputs = TrainingInputs(self._parts.train, users, items, encoders, validation)
        context = FitContext(checkpoints, None, _to_report(report, fitted, self._params.metric))
        algorithm = algorithm_of(self._params.algorithm)
        model: Recommender = algorithm.resolve(algorithm.fit)(inputs, fitted, context)
        require_learned(model)
        return model

    def _measure(self, model: Recommender) -> float:
        params = self._params
        figures = evaluate({"trial": model}, self._parts, params.ranking, params.azure_ml_modes)
        value = value_of(figures["trial"], params.metric)
        return abs(value - _NOMINAL) if params.metric == _COVERAGE else value


def search_recommender(
    lake: Lakehouse,
    run: Run,
    parts: Split,
    params: TrainParams,
    sides: tuple[Sides, SideTables],
    checkpoints: FitCheckpoints,
) -> TrainParams:
    """Runs the search. Returns the parameters with the hyperparameters of the best trial.

    Without a search, the parameters stay as they are. A validation part is split off the training
    part of `parts`, so no trial sees a test row. `sides` are the features and their declarations.
    Each trial is a line of the journal beside the checkpoints, a child run, and a row of
    `gold.trials`. Raises FitError if all trials fail.
    """
    if params.search is None:
        return params
    target = FieldsTarget(params.fit_params)
    metric, maximize = deciding(params.metric)
    search = Search(check_space(params.search.space, target), params.search, maximize)
    again = validation_split(params.split, params.search)
    checkpoints = checkpoints.of("search")
    smaller = Split(*map(checkpoints.of("parts"), split(parts.train, again)))
    encoded = fit_encoders(*sides, smaller.train)
    trials = RecommenderTrials(smaller, params, encoded, checkpoints)
    journal = Journal(checkpoints.folder / "trials.jsonl", params.search.model_dump_json())
    best = TrialLog(lake, run, journal, search, metric).run_search(trials.objective)
    return params.model_copy(update={params.algorithm: target.with_values(best)})


def _to_report(report: Report, params: FitParams, metric: str) -> ProgressCallback:
    """Reports the validation metric of an ALS fit, with the sign of the deciding metric."""
    lower = isinstance(params, AlsParams) and params.feedback == "explicit"
    sign = 1.0 if lower != deciding(metric)[1] else -1.0

    def callback(progress: Progress) -> None:
        if progress.metric is not None:
            report(progress.iteration, sign * progress.metric)

    return callback
