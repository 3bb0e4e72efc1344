"""Tests whether a model is worse on a window than on its test part, by more than chance.

It is a bootstrap: the rows of both sides are resampled with replacement, many times. The sides have
different rows, so each side is resampled separately. The promotion gate of training resamples the
same rows for both models.
"""

from dataclasses import dataclass

import numpy as np

from matchlake.training.model_params import LOWER_IS_BETTER
from matchlake.training.task_metrics import Scored, metric, metric_of_rows


@dataclass(frozen=True)
class QualityTest:
    """One metric on both sides."""

    metric: str
    before: float
    """The metric on the test part of the training version."""
    now: float
    """The metric on the window."""
    low: float
    """How much worse the window is: the quantile `level` over the resamples. Above 0 is an
    alert."""
    p_value: float
    """The share of resamples in which the window is not worse."""


def compare_quality(
    name: str, before: Scored, now: Scored, level: float, resamples: int, seed: int
) -> QualityTest | None:
    """Compares the metric `name`; None if it is undefined, such as the AUC of one class."""
    values = metric(before, name), metric(now, name)
    if not np.isfinite(values).all():
        return None
    random = np.random.default_rng(seed)
    first, second = (
        np.array([of(random.integers(0, size, size)) for _ in range(resamples)])
        for of, size in ((metric_of_rows(each, name), len(each)) for each in (before, now))
    )
    worse = second - first if name in LOWER_IS_BETTER else first - second
    worse = worse[np.isfinite(worse)]
    if not len(worse):
        return None
    p_value = (1 + np.sum(worse <= 0)) / (1 + len(worse))
    return QualityTest(name, *values, float(np.quantile(worse, level)), float(p_value))
