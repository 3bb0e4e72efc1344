"""The hyperparameter search of train_model."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pyspark.sql import DataFrame

from matchlake.features.feature_set import FeatureSet
from matchlake.features.fit import fit_features
from matchlake.features.model import FeatureModel
from matchlake.io.delta import Lakehouse
from matchlake.io.fit_checkpoints import fit_checkpoints
from matchlake.io.mlflow_tracking import Run
from matchlake.learners.protocol import TrainingData
from matchlake.learners.registry import fit_head, learner_of
from matchlake.model_store.scoring_model import ScoringModel
from matchlake.search.journal import Journal
from matchlake.search.kinds import check_grid
from matchlake.search.space import check_space
from matchlake.search.study import Hooks, Report, Search, run_search
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
    fit_cluster_head,
    has_prediction,
    read_rows_for,
    score,
)
from matchlake.training.task_metrics import metric
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
    and features are read and fitted once for all trials, which fit in threads of this process.
    Raises FitError if all trials fail.
    """
    search = model_search_of(params)
    if search is None:
        return params
    inputs = f"{name}, version {rows.version}, {params.model_dump_json()}"
    with _journal(place, inputs) as journal:
        trials = _ModelTrials.read(name, params, features, rows, place.folder)
        log = TrialLog(
            place.lake, place.run, journal, place.run.model, params.deciding_metric, search.maximize
        )
        with log.open():
            hooks = Hooks(finished=log.finished)
            found = run_search(trials.objective, search, journal, hooks)
        log.log_result(found, search)
    target = TrainerTarget(params.trainer, params.head_task)
    return params.model_copy(update={"trainer": target.with_values(found.best.values)})


@contextmanager
def _journal(place: SearchPlace, inputs: str) -> Iterator[Journal]:
    """The journal in a folder that is removed when the search succeeds."""
    spark = place.lake.spark
    with fit_checkpoints(spark, place.folder, inputs, resume=place.resume) as checkpoints:
        yield Journal(Path(checkpoints.folder) / "trials.jsonl", inputs)


@dataclass(frozen=True)
class _ModelTrials:
    """The data of all trials: features of the smaller training part, and validation rows."""

    name: str
    params: ModelParams
    features: FeatureModel
    train: DataFrame
    data: TrainingData | None
    """The training part in this process; None if the trainer fits on the cluster."""
    validation: pd.DataFrame
    folder: str

    @classmethod
    def read(
        cls, name: str, params: ModelParams, features: FeatureSet, rows: ModelRows, folder: str
    ) -> "_ModelTrials":
        """Three Spark jobs, and those of `select`."""
        train, validation = validation_rows(rows.train, params)
        features, _ = selected(train, params, features)
        fitted = fit_features(train, features)
        data = None
        if not learner_of(params.trainer.kind).on_cluster:
            require_memory(name, params, fitted, fitted.rows)
            matrix, label = training_arrays(fitted, train, params.keys)
            columns = tuple(output.name for output in fitted.outputs())
            data = balanced_rows(TrainingData(matrix, columns, label), params, fitted)
        measured = read_rows_for(validation, params.keys, [fitted])
        return cls(name, params, fitted, train, data, measured, folder)

    def objective(self, values: Mapping[str, Any], _report: Report) -> float:
        """The deciding metric of a fit with these hyperparameters, on the validation part."""
        params = self.params
        trainer = TrainerTarget(params.trainer, params.head_task).with_values(values)
        if self.data is None:
            trial = params.model_copy(update={"trainer": trainer})
            head, _ = fit_cluster_head(trial, self.features, self.train, self.folder)
        else:
            head = fit_head(self.data, trainer, params.head_task, params.seed)
        model = ScoringModel(
            name=self.name, task=params.head_task, features=self.features, head=head
        )
        scored = score(model, self.validation)
        return metric(scored.take(np.flatnonzero(has_prediction(scored))), params.deciding_metric)
