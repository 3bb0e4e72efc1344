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
    """Where a search keeps its trials."""

    lake: Lakehouse
    run: Run
    folder: str
    """The folder of the checkpoints of train_model."""
    resume: bool


def model_search_of(params: ModelParams) -> Search | None:
    """The search that a model declares, checked before anything is read; None without one.

    Raises ParameterError for a space that its trainer cannot take.
    """
    if params.search is None:
        return None
    space = check_space(params.search.space, TrainerTarget(params.trainer, params.head_task))
    check_grid(space, params.search)
    return Search(space, params.search, params.deciding_metric not in LOWER_IS_BETTER)


def search_model(
    place: SearchPlace, name: str, params: ModelParams, features: FeatureSet, rows: ModelRows
) -> ModelParams:
    """The parameters with those of the best trial for the trainer; as they are without a search.

    A validation part is split off the training part, so no trial sees a row of the test part. Rows
    and features are read and fitted once for all trials, which fit in threads of this process, or
    on the cluster. Raises FitError if all trials fail.
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
    """What all trials share: features of the smaller training part, and validation rows."""

    name: str
    params: ModelParams
    features: FeatureModel
    fit: Callable[[ModelParams], Head]
    """Fits to the smaller training part."""
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
        """Three Spark jobs, and those of `select`; for a trainer on the cluster, three more."""
        train, validation = parts
        features, _ = selected(train, params, features)
        fitted = fit_features(train, features)
        if params.deciding_metric not in BY_PREDICTION:  # the others do not depend on a threshold
            params = params.model_copy(update={"threshold": None})
        if learner_of(params.trainer.kind).on_cluster:
            fit = _cluster_fit(params, fitted, train, checkpoints)
        else:
            fit = _local_fit(name, params, fitted, train)
        measured = read_test_rows(validation, params.keys, [fitted])
        return cls(name, params, fitted, fit, measured)

    def objective(self, values: Mapping[str, Any], _report: Report) -> float:
        """The deciding metric of a fit with these hyperparameters, on the validation part."""
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
    """A fit in this process, to rows that are read and balanced once. One Spark job."""
    require_memory(name, params, fitted, fitted.rows)
    matrix, label = training_arrays(fitted, train, params.keys)
    columns = tuple(output.name for output in fitted.outputs())
    data = TrainingData(matrix, columns, label)
    more = balanced_rows(data, params, fitted)
    return lambda trial: fit_here(data, more, trial, fitted)[0]


def _cluster_fit(
    params: ModelParams, fitted: FeatureModel, train: DataFrame, checkpoints: FitCheckpoints
) -> Callable[[ModelParams], Head]:
    """A fit on the cluster, to rows that are encoded, written and checked once."""
    rows = cluster_rows(fitted, train, str(checkpoints.folder))
    rows = replace(rows, frame=checkpoints.of("parts")(rows.frame))
    labels = checked_classes(rows, params.head_task)
    return lambda trial: fit_on_cluster(rows, trial.trainer, trial.head_task, trial.seed, labels)
