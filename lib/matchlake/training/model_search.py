"""The hyperparameter search of train_model."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from pyspark.sql import DataFrame

from matchlake.features.feature_set import FeatureSet
from matchlake.features.fit import fit_features
from matchlake.features.model import FeatureModel
from matchlake.formulas.heads import Head
from matchlake.io.delta import Lakehouse
from matchlake.io.fit_checkpoints import FitCheckpoints, fit_checkpoints
from matchlake.io.mlflow_tracking import Run
from matchlake.learners.frame_checks import checked_classes
from matchlake.learners.protocol import TrainingData
from matchlake.learners.registry import fit_on_cluster, learner_of
from matchlake.model_store.scoring_model import ScoringModel
from matchlake.search.journal import Journal
from matchlake.search.proposals import check_grid
from matchlake.search.space import check_space
from matchlake.search.study import Report, Search
from matchlake.search.target import TrainerTarget
from matchlake.training.feature_scores import selected
from matchlake.training.model_data import (
    ModelRows,
    require_memory,
    training_arrays,
    validation_rows,
)
from matchlake.training.model_params import LOWER_IS_BETTER, ModelParams
from matchlake.training.model_training import (
    balanced_rows,
    cluster_rows,
    fit_here,
    has_prediction,
    read_test_rows,
    score,
)
from matchlake.training.task_metrics import BY_PREDICTION, metric
from matchlake.training.trial_log import TrialLog


@dataclass(frozen=True)
class SearchPlace:
    """The place where a search keeps its trials."""

    lake: Lakehouse
    run: Run
    folder: str
    """The folder of the checkpoints of train_model."""
    resume: bool


def model_search_of(params: ModelParams) -> Search | None:
    """Returns the checked search of a model, or None. It reads no data.

    Raises ParameterError for a space that the trainer does not support.
    """
    if params.search is None:
        return None
    space = check_space(params.search.space, TrainerTarget(params.trainer, params.head_task))
    check_grid(space, params.search)
    return Search(space, params.search, params.deciding_metric not in LOWER_IS_BETTER)


def search_model(
    place: SearchPlace, name: str, params: ModelParams, features: FeatureSet, rows: ModelRows
) -> ModelParams:
    """Runs the search of a model. Returns the parameters with those of the best trial.

    Without a search, the parameters stay as they are. A validation part is split off the training
    part, so no trial sees a row of the test part. Rows are read, and features fitted, once for all
    trials. Trials run in threads of this process, or on the cluster. Raises FitError if all trials
    fail.
    """
    search = model_search_of(params)
    if search is None:
        return params
    declared = f"{params.model_dump_json()}, {features.model_dump_json()}"
    inputs = f"{name}, version {rows.version}, {declared}"
    with fit_checkpoints(
        place.lake.spark, place.folder, inputs, resume=place.resume
    ) as checkpoints:
        journal = Journal(checkpoints.folder / "trials.jsonl", inputs)
        parts = validation_rows(rows, name, params, search.params.validation_fraction)
        trials = _ModelTrials.read(name, params, features, parts, checkpoints)
        log = TrialLog(place.lake, place.run, journal, search, params.deciding_metric)
        best = log.run_search(trials.objective)
    target = TrainerTarget(params.trainer, params.head_task)
    return params.model_copy(update={"trainer": target.with_values(best)})


@dataclass(frozen=True)
class _ModelTrials:
    """The shared data of all trials: features of the smaller training part, and validation rows."""

    name: str
    params: ModelParams
    features: FeatureModel
    fit: Callable[[ModelParams], Head]
    """Fits a head to the smaller training part."""
    validation: pd.DataFrame

    @classmethod
    def read(
        cls,
        name: str,
        params: ModelParams,
        features: FeatureSet,
        parts: tuple[DataFrame, DataFrame],
        checkpoints: FitCheckpoints,
    ) -> "_ModelTrials":
        """Reads the shared data.

        Three Spark jobs and those of `select`; three more on the cluster.
        """
        train, validation = parts
        features, _ = selected(train, params, features)
        fitted = fit_features(train, features)
        # other metrics do not depend on the threshold
        if params.deciding_metric not in BY_PREDICTION:
            params = params.model_copy(update={"threshold": None})
        if learner_of(params.trainer.kind).on_cluster:
            fit = _cluster_fit(params, fitted, train, checkpoints)
        else:
            fit = _local_fit(name, params, fitted, train)
        measured = read_test_rows(validation, params.keys, [fitted])
        return cls(name, params, fitted, fit, measured)

    def objective(self, values: Mapping[str, Any], _report: Report) -> float:
        """Fits with these hyperparameters; returns the deciding metric on the validation part."""
        task = self.params.head_task
        trainer = TrainerTarget(self.params.trainer, task).with_values(values)
        head = self.fit(self.params.model_copy(update={"trainer": trainer}))
        model = ScoringModel(name=self.name, task=task, features=self.features, head=head)
        scored = score(model, self.validation)
        kept = scored.take(np.flatnonzero(has_prediction(scored)))
        return metric(kept, self.params.deciding_metric)


def _local_fit(
    name: str, params: ModelParams, fitted: FeatureModel, train: DataFrame
) -> Callable[[ModelParams], Head]:
    """Returns a fit in this process, to rows that are read and balanced once. One Spark job."""
    require_memory(name, params, fitted, fitted.rows)
    matrix, label = training_arrays(fitted, train, params.keys)
    columns = tuple(output.name for output in fitted.outputs())
    data = TrainingData(matrix, columns, label)
    more = balanced_rows(data, params, fitted)
    return lambda trial: fit_here(data, more, trial, fitted)[0]


def _cluster_fit(
    params: ModelParams, fitted: FeatureModel, train: DataFrame, checkpoints: FitCheckpoints
) -> Callable[[ModelParams], Head]:
    """Returns a fit on the cluster, to rows that are encoded, written and checked once."""
    rows = cluster_rows(fitted, train, str(checkpoints.folder))
    rows = replace(rows, frame=checkpoints.of("parts")(rows.frame))
    labels = checked_classes(rows, params.head_task)
    return lambda trial: fit_on_cluster(rows, trial.trainer, trial.head_task, trial.seed, labels)
