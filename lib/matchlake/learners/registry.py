"""The registry of learners, and the functions that call them."""

from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np

from matchlake.errors import InputError, ParameterError
from matchlake.formulas.heads import Head, Task
from matchlake.learners.checks import check_data
from matchlake.learners.params import (
    CustomParams,
    KerasParams,
    KmeansParams,
    LightgbmParams,
    RParams,
    SklearnParams,
    SparkParams,
    TorchParams,
    XgboostParams,
)
from matchlake.learners.protocol import OnProgress, TrainingData, TrainingFrame, label_text
from matchlake.params import Params


@dataclass(frozen=True)
class Learner:
    """One learner: its parameters, the function `module:name` that fits it, and its tasks."""

    params: type[Params]
    fit: str
    tasks: tuple[Task, ...]
    description: str
    on_cluster: bool = False
    """Whether the rows stay in Spark: see `fit_on_cluster`."""
    takes_weights: bool = False
    """Whether the learner supports row weights, as `balance: {kind: class_weights}` sets them."""

    def resolve(self) -> Any:
        """Returns the `Trainer` or `ClusterTrainer`; imports the learner's library."""
        module, _, name = self.fit.partition(":")
        return getattr(import_module(f"matchlake.learners.{module}"), name)


_ALL: tuple[Task, ...] = ("regression", "classification", "clustering")
LEARNERS: dict[str, Learner] = {
    "sklearn": Learner(
        SklearnParams, "sklearn:fit", _ALL,
        "Linear models, trees and k-means of scikit-learn, as exact heads.", takes_weights=True,
    ),
    "lightgbm": Learner(
        LightgbmParams, "lightgbm:fit", ("regression", "classification"),
        "Gradient boosting of LightGBM, as an exact head.", takes_weights=True,
    ),
    "xgboost": Learner(
        XgboostParams, "xgboost:fit", ("regression", "classification"),
        "Gradient boosting of XGBoost, as an exact head.", takes_weights=True,
    ),
    "spark": Learner(
        SparkParams, "spark:fit", ("regression", "classification"),
        "Linear models and trees of pyspark.ml, as exact heads.", on_cluster=True,
    ),
    "torch": Learner(
        TorchParams, "torch:fit", ("regression", "classification"),
        "A network of PyTorch, as an ONNX graph.",
    ),
    "keras": Learner(
        KerasParams, "keras:fit", ("regression", "classification"),
        "A network of Keras, as an ONNX graph.",
    ),
    "kmeans": Learner(
        KmeansParams, "kmeans:fit", ("clustering",),
        "k-means, one clustering or a sweep of many, as an exact head.",
    ),
    "custom": Learner(
        CustomParams, "custom:fit", _ALL,
        "A Python function that returns a head.", takes_weights=True,
    ),
    "r": Learner(
        RParams, "r:fit", _ALL,
        "A script in R that writes a head.",
    ),
}  # fmt: skip


def learner_of(kind: str) -> Learner:
    """The learner of that kind; raises ParameterError with the known kinds."""
    if kind not in LEARNERS:
        raise ParameterError(
            f"There is no trainer {kind!r}; the trainers are {', '.join(LEARNERS)}."
        )
    return LEARNERS[kind]


def fit_head(
    data: TrainingData,
    params: Any,
    task: Task,
    seed: int,
    on_progress: OnProgress | None = None,
) -> Head:
    """Fits the model that `params` describe, and returns its head.

    Raises ParameterError for a parameter or a task that the learner does not have. Raises
    InputError for rows from which it cannot learn, and for a head with other columns, labels or
    task.
    """
    learner = _learner_for(params, task)
    if data.weights is not None and not learner.takes_weights:
        able = ", ".join(kind for kind, each in LEARNERS.items() if each.takes_weights)
        raise ParameterError(
            f"Trainer {params.kind} does not support row weights. Choose `balance: "
            f"{{kind: smote}}`, "
            f"or one of the trainers {able}."
        )
    check_data(data, task)
    head: Head = learner.resolve()(data, params, task, seed, on_progress)
    _check_head(head, data.columns, task, params.kind)
    if head.labels is not None and data.label is not None:
        _check_labels(head.labels, {label_text(each) for each in np.unique(data.label)}, params)
    return head


def fit_on_cluster(
    rows: TrainingFrame, params: Any, task: Task, seed: int, labels: tuple[str, ...] | None
) -> Head:
    """Fits a model to rows that stay in Spark, and returns its head; `labels` are the classes.

    Raises errors as `fit_head` does.
    """
    head: Head = _learner_for(params, task).resolve()(rows, params, task, seed, labels)
    _check_head(head, rows.columns, task, params.kind)
    return head


def _learner_for(params: Any, task: Task) -> Learner:
    """Returns the learner; raises ParameterError if it does not have the task."""
    learner = learner_of(params.kind)
    if task not in learner.tasks:
        raise ParameterError(
            f"Trainer {params.kind} has no task {task}; it has {', '.join(learner.tasks)}."
        )
    return learner


def _check_labels(labels: tuple[str, ...], known: set[str], params: Any) -> None:
    strange = [each for each in labels if each not in known]
    if strange:
        raise InputError(
            f"Trainer {params.kind} returned a head with labels that no row has: "
            f"{', '.join(strange[:10])}. The rows have {', '.join(sorted(known)[:10])}."
        )


def _check_head(head: Any, columns: tuple[str, ...], task: Task, kind: str) -> None:
    if not isinstance(head, Head):
        raise InputError(
            f"Trainer {kind} returned a value of type {type(head).__name__}; it must return a head "
            "of matchlake.formulas.heads, such as LinearHead."
        )
    if head.task != task:
        raise InputError(f"Trainer {kind} returned a head for {head.task}; the task is {task}.")
    if head.columns != columns:
        raise InputError(
            f"Trainer {kind} returned a head for {len(head.columns)} column(s): "
            f"{', '.join(head.columns[:5])}, ... It must read the {len(columns)} columns of "
            f"its data, in their order: {', '.join(columns[:5])}, ..."
        )
