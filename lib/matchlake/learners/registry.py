"""The registry of learners, and the one door through which they are called."""

from dataclasses import dataclass
from importlib import import_module
from typing import Any

from matchlake.errors import InputError, ParameterError
from matchlake.formulas.heads import Head, Task
from matchlake.learners.checks import check_data
from matchlake.learners.params import CustomParams, KmeansParams, LightgbmParams, SklearnParams
from matchlake.learners.protocol import OnProgress, Trainer, TrainingData
from matchlake.params import Params


@dataclass(frozen=True)
class Learner:
    """One learner: its parameters, the function `module:name` that fits it, and its tasks."""

    params: type[Params]
    fit: str
    tasks: tuple[Task, ...]
    description: str

    def resolve(self) -> Trainer:
        """The function; imports the learner's library."""
        module, _, name = self.fit.partition(":")
        function: Trainer = getattr(import_module(f"matchlake.learners.{module}"), name)
        return function


_ALL: tuple[Task, ...] = ("regression", "classification", "clustering")
LEARNERS: dict[str, Learner] = {
    "sklearn": Learner(
        SklearnParams, "sklearn:fit", _ALL,
        "Linear models, trees and k-means of scikit-learn, as exact heads.",
    ),
    "lightgbm": Learner(
        LightgbmParams, "lightgbm:fit", ("regression", "classification"),
        "Gradient boosting of LightGBM, as an exact head.",
    ),
    "kmeans": Learner(
        KmeansParams, "kmeans:fit", ("clustering",),
        "k-means, one or a sweep of many at once, as an exact head.",
    ),
    "custom": Learner(
        CustomParams, "custom:fit", _ALL,
        "A Python function that returns a head.",
    ),
}  # fmt: skip


def learner_of(kind: str) -> Learner:
    """The learner of that kind; raises ParameterError with the known kinds."""
    if kind not in LEARNERS:
        raise ParameterError(f"No trainer {kind!r}; there are {', '.join(LEARNERS)}.")
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
    InputError for rows that it cannot learn from, and for a head of other columns or another task.
    """
    learner = learner_of(params.kind)
    if task not in learner.tasks:
        raise ParameterError(
            f"Trainer {params.kind} has no task {task}; it has {', '.join(learner.tasks)}."
        )
    check_data(data, task)
    head = learner.resolve()(data, params, task, seed, on_progress)
    _check_head(head, data, task, params.kind)
    return head


def _check_head(head: Any, data: TrainingData, task: Task, kind: str) -> None:
    if not isinstance(head, Head):
        raise InputError(
            f"Trainer {kind} returned a value of type {type(head).__name__}; it must return a head "
            "of matchlake.formulas.heads, such as LinearHead."
        )
    if head.task != task:
        raise InputError(f"Trainer {kind} returned a head for {head.task}; the task is {task}.")
    if head.columns != data.columns:
        raise InputError(
            f"Trainer {kind} returned a head for {len(head.columns)} column(s): "
            f"{', '.join(head.columns[:5])}, ... It must read the {len(data.columns)} columns of "
            f"its data, in their order: {', '.join(data.columns[:5])}, ..."
        )
