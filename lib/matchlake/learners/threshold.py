"""The probability above which the second of two classes is predicted.

The threshold is chosen on training rows. Each row is scored by a fit that has not seen it. Test
rows and synthetic rows are not used.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from matchlake.engine.counter_rng import uniforms
from matchlake.errors import InputError
from matchlake.formulas.heads import Head
from matchlake.learners.params import ThresholdParams
from matchlake.learners.protocol import TrainingData, label_text

Doubles = npt.NDArray[np.float64]

_TWO = 2


def with_threshold(
    head: Head,
    data: TrainingData,
    params: ThresholdParams,
    seed: int,
    fit: Callable[[TrainingData], Head],
) -> Head:
    """Returns the head with the best threshold; `fit` fits the same model to some of the rows.

    Raises InputError unless there are two classes, and both are in every fold.
    """
    labels = head.labels or ()
    if len(labels) != _TWO:
        raise InputError(f"threshold is for two classes, but the label has {len(labels)}.")
    if head.output_link() not in ("logit", "identity"):
        raise InputError("threshold is for models with one score or with probabilities.")
    is_second = np.array([label_text(each) == labels[1] for each in np.asarray(data.label)])
    chances = out_of_fold(data, is_second, params.folds, seed, fit)
    threshold = best_threshold(chances, is_second, params.metric)
    return head.model_validate(head.model_dump() | {"decision_threshold": threshold})


def out_of_fold(
    data: TrainingData,
    is_second: npt.NDArray[np.bool_],
    folds: int,
    seed: int,
    fit: Callable[[TrainingData], Head],
) -> Doubles:
    """The probability of the second class for each row, by a fit without the row's fold.

    Folds have about equally many rows of each class.
    """
    fold = np.empty(data.rows, np.int64)
    draws = uniforms(np.arange(data.rows, dtype=np.uint64), seed, 1)
    for each in (is_second, ~is_second):
        rows = np.flatnonzero(each)
        if len(rows) < folds:
            raise InputError(
                f"threshold.folds={folds} needs {folds} rows of each class, but one class has "
                f"{len(rows)}. Choose fewer folds, or collect more rows."
            )
        fold[rows[np.argsort(draws[rows], kind="stable")]] = np.arange(len(rows)) % folds
    chances = np.empty(data.rows)
    for number in range(folds):
        held = fold == number
        found = fit(_some(data, ~held)).numpy(data.matrix[held])
        chances[held] = found["probabilities"][:, 1]
    if np.isnan(chances).any():
        raise InputError("threshold: some training rows have no prediction. Impute their features.")
    return chances


def best_threshold(chances: Doubles, is_second: npt.NDArray[np.bool_], metric: str) -> float:
    """Returns the threshold with the largest metric, the smallest if several are equal."""
    order = np.argsort(-chances, kind="stable")
    ordered, hits = chances[order], np.cumsum(is_second[order])
    predicted = np.arange(1, len(order) + 1)
    positive, negative = int(hits[-1]), len(order) - int(hits[-1])
    false = predicted - hits
    values = {
        "f1": 2 * hits / (predicted + positive),
        "balanced_accuracy": (hits / positive + 1 - false / negative) / 2,
        "accuracy": (hits + negative - false) / len(order),
    }[metric]
    is_last = np.append(ordered[1:] < ordered[:-1], False)
    if not is_last.any():
        return 0.5
    at = len(values) - 1 - int(np.argmax(np.where(is_last, values, -1.0)[::-1]))
    middle = float((ordered[at] + ordered[at + 1]) / 2)
    return min(max(middle, 1e-12), 1 - 1e-12)


def _some(data: TrainingData, rows: npt.NDArray[np.bool_]) -> TrainingData:
    label = None if data.label is None else data.label[rows]
    weights = None if data.weights is None else data.weights[rows]
    return replace(data, matrix=data.matrix[rows], label=label, weights=weights)
