"""What SMOTE, weights and a threshold do for a rare class, on a test part of real rows only."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn import metrics

from matchlake.learners.balance import balanced
from matchlake.learners.params import (
    AdasynParams,
    BalanceParams,
    BorderlineSmoteParams,
    ClassWeightsParams,
    SklearnParams,
    SmoteParams,
    ThresholdParams,
)
from matchlake.learners.protocol import TrainingData
from matchlake.learners.registry import fit_head
from matchlake.learners.threshold import with_threshold

ESTIMATORS = {
    "LogisticRegression": {"max_iter": 1000},
    "HistGradientBoostingClassifier": {"max_iter": 60},
}
REMEDIES: dict[str, tuple[BalanceParams | None, bool]] = {
    "none": (None, False),
    "smote": (SmoteParams(), False),
    "borderline_smote": (BorderlineSmoteParams(), False),
    "adasyn": (AdasynParams(), False),
    "class_weights": (ClassWeightsParams(), False),
    "threshold": (None, True),
}


def compare_remedies(seeds: Sequence[int]) -> dict[str, dict[str, dict[str, float]]]:
    """The mean F1, ROC AUC and log loss over the seeds, by estimator and remedy."""
    return {
        estimator: {
            remedy: _mean([_measures(estimator, remedy, seed) for seed in seeds])
            for remedy in REMEDIES
        }
        for estimator in ESTIMATORS
    }


def _mean(found: list[dict[str, float]]) -> dict[str, float]:
    return {name: round(float(np.mean([each[name] for each in found])), 4) for name in found[0]}


def rows(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Ten columns, of which four matter, and one row in about 50 of the class 1."""
    random = np.random.default_rng(seed)
    matrix = random.normal(size=(count, 10))
    signal = matrix[:, 0] + matrix[:, 1] - 0.8 * matrix[:, 2] * matrix[:, 3]
    label = (signal + 0.7 * random.normal(size=count) > 3.35).astype(np.int64)
    return matrix, label


def _measures(estimator: str, remedy: str, seed: int) -> dict[str, float]:
    matrix, label = rows(10_000, seed)
    data = TrainingData(matrix, tuple(f"c{i}" for i in range(10)), label)
    chosen = SklearnParams(estimator=estimator, params=ESTIMATORS[estimator])
    balance, is_cut = REMEDIES[remedy]

    def fit(part: TrainingData) -> Any:
        return fit_head(balanced(part, balance, seed, ()), chosen, "classification", seed)

    head = fit(data)
    if is_cut:
        head = with_threshold(head, data, ThresholdParams(), seed, fit)
    unseen, truth = rows(20_000, seed + 1000)
    made = head.numpy(unseen)
    chances = made["probabilities"][:, 1]
    return {
        "f1": float(metrics.f1_score(truth, made["prediction"].astype(int))),
        "roc_auc": float(metrics.roc_auc_score(truth, chances)),
        "log_loss": float(metrics.log_loss(truth, chances)),
        "rare": float(truth.mean()),
    }
