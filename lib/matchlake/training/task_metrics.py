"""Metrics of classifications, regressions, clusterings and forecasts on a test part, in memory.

Some metrics are the mean of a loss per row. For them, losses are computed once for all resamples of
the test part. The other metrics are those of scikit-learn, which is imported on first use.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Doubles = npt.NDArray[np.float64]

BY_PREDICTION = frozenset(("accuracy", "precision", "recall", "f1"))
"""Metrics of a classification that use the predicted class, so they depend on a threshold."""
_LEAST = float(np.finfo(np.float64).eps)
"""Smaller probabilities are raised to this value, as in scikit-learn."""


@dataclass(frozen=True)
class Scored:
    """Predictions for the rows of a test part; every array has one entry per row."""

    prediction: Array
    """The prediction: a class, a number, or the number of the cluster."""
    truth: Array = field(default_factory=lambda: np.empty(0))
    """The label; empty for a clustering."""
    scores: Doubles = field(default_factory=lambda: np.empty((0, 0)))
    """The probability of each class, or the distance to each centre: one column each."""
    classes: tuple[str, ...] = ()
    """The classes, in the order of the columns of `scores`."""
    features: Doubles = field(default_factory=lambda: np.empty((0, 0)))
    """The features of a clustering: one column each."""

    def __len__(self) -> int:
        return len(self.prediction)

    def take(self, rows: Array) -> "Scored":
        """Returns some rows, by their positions."""
        parts = {
            name: getattr(self, name) for name in ("prediction", "truth", "scores", "features")
        }
        return replace(self, **{n: part[rows] for n, part in parts.items() if len(part)})


def classified(
    truth: Array, probabilities: Doubles, classes: tuple[str, ...], threshold: float | None = None
) -> Scored:
    """Returns a scored classification; classes unknown to the model have the probability 0.

    With a threshold, the second of two classes is predicted if its probability is above the
    threshold.
    """
    chosen = predicted_places(probabilities, threshold)
    unknown = tuple(sorted({*map(str, truth)}.difference(classes)))
    zeros = np.zeros((len(truth), len(unknown)))
    prediction = np.array(classes, object)[chosen]
    scores = np.column_stack([probabilities, zeros])
    return Scored(prediction, truth.astype(object), scores, (*classes, *unknown))


def predicted_places(probabilities: Doubles, threshold: float | None) -> Array:
    """Returns the position of the predicted class, by the largest probability or by a threshold."""
    places: Array = np.argmax(probabilities, axis=1)
    return places if threshold is None else (probabilities[:, 1] > threshold).astype(np.int64)


def measure(scored: Scored, metrics: tuple[str, ...]) -> dict[str, float]:
    """Returns the value of each metric; metrics without a value on these rows are left out."""
    values = {name: metric(scored, name) for name in metrics}
    return {name: value for name, value in values.items() if np.isfinite(value)}


def metric(scored: Scored, name: str) -> float:
    """Returns one metric; NaN if it is undefined, such as the AUC of a single class."""
    if name in _ROW_LOSSES:
        return _mean_loss(_ROW_LOSSES[name](scored), name)
    return float(_OTHERS[name](scored))


def metric_of_rows(scored: Scored, name: str) -> Callable[[Array], float]:
    """Returns a function that computes the metric on rows, by their positions."""
    if name not in _ROW_LOSSES:
        return lambda rows: metric(scored.take(rows), name)
    losses = _ROW_LOSSES[name](scored)
    return lambda rows: _mean_loss(losses[rows], name)


def _mean_loss(losses: Doubles, name: str) -> float:
    """Returns a metric from its losses per row: their mean, its root, or their sum."""
    if name == "inertia":
        return float(np.sum(losses))
    mean = float(np.mean(losses))
    return mean**0.5 if name == "rmse" else mean


def confusion(scored: Scored) -> Array:
    """Returns the number of rows by true class (row) and predicted class (column)."""
    from sklearn.metrics import confusion_matrix  # noqa: PLC0415 - takes a second

    found: Array = confusion_matrix(scored.truth, scored.prediction, labels=list(scored.classes))
    return found


def is_class(scored: Scored, index: int) -> npt.NDArray[np.bool_]:
    """Returns whether each row is of the class at position `index`."""
    same: npt.NDArray[np.bool_] = scored.truth == scored.classes[index]
    return same


def measured_classes(scored: Scored) -> list[int]:
    """Returns the positions of classes with a curve: the second of two, else all with rows."""
    chosen = [1] if len(scored.classes) == 2 else range(len(scored.classes))  # noqa: PLR2004
    return [i for i in chosen if 0 < int(np.sum(is_class(scored, i))) < len(scored)]


def _errors(scored: Scored) -> Doubles:
    errors: Doubles = scored.prediction.astype("float64") - scored.truth.astype("float64")
    return errors


def _one_hot(scored: Scored) -> Doubles:
    return np.column_stack([is_class(scored, i) for i in range(len(scored.classes))]).astype(float)


def _log_losses(scored: Scored) -> Doubles:
    of_truth = np.sum(scored.scores * _one_hot(scored), axis=1)
    losses: Doubles = -np.log(np.clip(of_truth, _LEAST, 1 - _LEAST))
    return losses


def _brier_losses(scored: Scored) -> Doubles:
    """Returns the squared distance to the truth; for two classes, of the second class only."""
    losses: Doubles = np.sum((scored.scores - _one_hot(scored)) ** 2, axis=1)
    return losses / 2 if len(scored.classes) == 2 else losses  # noqa: PLR2004


def _silhouettes(scored: Scored) -> Doubles:
    """Returns simplified silhouettes, from the two smallest distances; 0 for a single centre."""
    distances = scored.scores
    if distances.shape[1] == 1:
        return np.zeros(len(scored))
    own, other = np.partition(distances, 1, axis=1)[:, :2].T
    larger = np.maximum(own, other)
    gains: Doubles = np.divide(other - own, larger, out=np.zeros(len(scored)), where=larger > 0)
    return gains


def _relative_errors(scored: Scored) -> Doubles:
    """Returns the absolute error relative to the mean absolute value; 0 if both values are 0."""
    sizes = np.abs(scored.prediction.astype("float64")) + np.abs(scored.truth.astype("float64"))
    errors = 2 * np.abs(_errors(scored))
    found: Doubles = np.divide(errors, sizes, out=np.zeros(len(scored)), where=sizes > 0)
    return found


_ROW_LOSSES: dict[str, Callable[[Scored], Doubles]] = {
    "accuracy": lambda scored: (scored.prediction == scored.truth).astype("float64"),
    "log_loss": _log_losses,
    "brier": _brier_losses,
    "mae": lambda scored: np.abs(_errors(scored)),
    "rmse": lambda scored: np.square(_errors(scored)),
    "smape": _relative_errors,
    "inertia": lambda scored: np.square(np.min(scored.scores, axis=1)),
    "silhouette": _silhouettes,
}
"""The loss or gain per row, of the metrics that are a mean over rows."""


def _relative(scored: Scored, power: int) -> float:
    """Returns the error relative to that of the mean prediction; NaN for a constant label."""
    truth = scored.truth.astype("float64")
    spread = np.sum(np.abs(truth - np.mean(truth)) ** power)
    return float(np.sum(np.abs(_errors(scored)) ** power) / spread) if spread else float("nan")


def _by_class(name: str) -> Callable[[Scored], float]:
    """Returns precision, recall or F1: of the second of two classes, or the mean of all classes."""

    def value(scored: Scored) -> float:
        from sklearn import metrics  # noqa: PLC0415 - takes a second

        labels = list(scored.classes)
        chosen = labels[1:] if len(labels) == 2 else labels  # noqa: PLR2004
        function = getattr(metrics, f"{name}_score")
        given = (scored.truth.astype(str), scored.prediction.astype(str))
        return float(function(*given, labels=chosen, average="macro", zero_division=0))

    return value


def _by_curve(name: str) -> Callable[[Scored], float]:
    """Returns the mean area under a curve over `measured_classes`; NaN without such classes."""

    def value(scored: Scored) -> float:
        from sklearn import metrics  # noqa: PLC0415 - takes a second

        function = getattr(metrics, name)
        areas = [
            function(is_class(scored, i), scored.scores[:, i]) for i in measured_classes(scored)
        ]
        return float(np.mean(areas)) if areas else float("nan")

    return value


def _of_clusters(name: str) -> Callable[[Scored], float]:
    """Returns a measure of scikit-learn for clusterings; NaN for fewer than 2 clusters."""

    def value(scored: Scored) -> float:
        from sklearn import metrics  # noqa: PLC0415 - takes a second

        if not 1 < len(np.unique(scored.prediction)) < len(scored):
            return float("nan")
        return float(getattr(metrics, name)(scored.features, scored.prediction))

    return value


_OTHERS: dict[str, Callable[[Scored], float]] = {
    "rae": lambda scored: _relative(scored, 1),
    "rse": lambda scored: _relative(scored, 2),
    "r2": lambda scored: 1 - _relative(scored, 2),
    "precision": _by_class("precision"),
    "recall": _by_class("recall"),
    "f1": _by_class("f1"),
    "roc_auc": _by_curve("roc_auc_score"),
    "pr_auc": _by_curve("average_precision_score"),
    "davies_bouldin": _of_clusters("davies_bouldin_score"),
    "calinski_harabasz": _of_clusters("calinski_harabasz_score"),
}
