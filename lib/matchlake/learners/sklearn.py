"""Estimators of scikit-learn, fitted in one process, as exact heads."""

import logging
from collections.abc import Callable
from importlib import import_module
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from matchlake.errors import InputError, ParameterError
from matchlake.formulas.heads import Head, Task
from matchlake.learners.checks import FLOAT32_MAX, check_features
from matchlake.learners.fit_warnings import recorded_warnings
from matchlake.learners.params import SklearnParams
from matchlake.learners.protocol import OnProgress, TrainingData, targets_of
from matchlake.learners.sklearn_linear import centroids_head, linear_head
from matchlake.learners.sklearn_trees import boosting_head, forest_head, histogram_head

_log = logging.getLogger(__name__)

ToHead = Callable[[Any, TrainingData, tuple[str, ...] | None], Head]


class Estimator(NamedTuple):
    """An estimator that can be converted to an exact head."""

    module: str
    task: Task
    to_head: ToHead
    missing: bool = False
    """Whether it accepts missing values."""
    largest: float = np.finfo(np.float64).max
    """The largest absolute value of a feature that it accepts."""
    refused: tuple[str, ...] = ()
    """Parameters whose models a head cannot represent."""


def _both(name: str, module: str, to_head: ToHead, **more: Any) -> dict[str, Estimator]:
    """An estimator with a classifier and a regressor."""
    return {
        f"{name}Classifier": Estimator(module, "classification", to_head, **more),
        f"{name}Regressor": Estimator(module, "regression", to_head, **more),
    }


_LINEAR, _TREES = "sklearn.linear_model", "sklearn.tree"
_ENSEMBLE, _CLUSTER = "sklearn.ensemble", "sklearn.cluster"
_SINGLE: dict[str, Any] = {"missing": True, "largest": FLOAT32_MAX}
ESTIMATORS: dict[str, Estimator] = {
    **{
        name: Estimator(_LINEAR, "regression", linear_head)
        for name in ("LinearRegression", "Ridge", "Lasso", "ElasticNet", "PoissonRegressor")
    },
    "LogisticRegression": Estimator(_LINEAR, "classification", linear_head),
    **_both("DecisionTree", _TREES, forest_head, **_SINGLE),
    **_both("RandomForest", _ENSEMBLE, forest_head, **_SINGLE),
    **_both("ExtraTrees", _ENSEMBLE, forest_head, **_SINGLE),
    **_both("GradientBoosting", _ENSEMBLE, boosting_head, largest=FLOAT32_MAX),
    **_both(
        "HistGradientBoosting", _ENSEMBLE, histogram_head, missing=True, largest=np.inf,
        refused=("categorical_features",),
    ),
    "KMeans": Estimator(_CLUSTER, "clustering", centroids_head),
    "MiniBatchKMeans": Estimator(_CLUSTER, "clustering", centroids_head),
}  # fmt: skip
"""The estimators by the name of their class. To add one, add a line here."""


def fit(
    data: TrainingData,
    params: SklearnParams,
    task: Task,
    seed: int,
    on_progress: OnProgress | None = None,
) -> Head:
    """Fits an estimator and returns its head.

    Raises ParameterError for an unknown estimator or parameter, and InputError for features that
    the estimator cannot use.
    """
    del on_progress  # an estimator reports nothing while it fits
    allowed = find_estimator(params.estimator, task)
    check_features(data, params.estimator, missing=allowed.missing, largest=allowed.largest)
    label, labels = targets_of(data, task)
    model = _fitted(make_estimator(params, task, seed), data, label, params.estimator)
    return allowed.to_head(model, data, labels)


def find_estimator(name: str, task: Task) -> Estimator:
    """The estimator of that name; raises ParameterError with the nearest name and all names."""
    names = [each for each, estimator in ESTIMATORS.items() if estimator.task == task]
    if name in names:
        return ESTIMATORS[name]
    label = f"Estimators for {task}"
    if name in ESTIMATORS:
        reason = f"{name} is for {ESTIMATORS[name].task}, but the task is {task}."
        raise ParameterError(f"{reason} {label}: {', '.join(names)}.")
    raise ParameterError.unknown(f"There is no estimator {name!r}.", name, label, names)


def make_estimator(params: SklearnParams, task: Task, seed: int) -> Any:
    """The estimator with its parameters, not fitted yet; raises ParameterError for unknown ones."""
    allowed = find_estimator(params.estimator, task)
    made = getattr(import_module(allowed.module), params.estimator)()
    known = [name for name in made.get_params() if name not in allowed.refused]
    for name in params.params:
        if name not in known:
            reason = f"{params.estimator} has no parameter {name!r}."
            raise ParameterError.unknown(reason, name, "Parameters", known)
    seeded = {"random_state": seed} if "random_state" in known else {}
    return made.set_params(**(seeded | params.params))


def _fitted(model: Any, data: TrainingData, label: npt.NDArray[Any] | None, name: str) -> Any:
    from sklearn.utils._param_validation import InvalidParameterError  # noqa: PLC0415

    weights = {} if data.weights is None else {"sample_weight": data.weights}
    with recorded_warnings() as raised:
        try:
            model.fit(data.matrix, label, **weights)
        except InvalidParameterError as error:
            raise ParameterError(f"{name}: {_first_line(error)}") from None
        except (ValueError, TypeError) as error:
            raise InputError(f"{name} could not be fitted: {_first_line(error)}") from None
    for text in dict.fromkeys(raised):
        _log.warning("%s: %s", name, text)
    return model


def _first_line(error: object) -> str:
    return str(error).strip().partition("\n")[0]
