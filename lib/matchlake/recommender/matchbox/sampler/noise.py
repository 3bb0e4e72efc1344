"""The noise of numeric ratings: one precision per user, and a prior that all users share."""

import math
from dataclasses import dataclass

import numpy as np

from matchlake.engine.csr import Floats
from matchlake.engine.simd import compiled
from matchlake.recommender.matchbox.sampler.kernels import Scored
from matchlake.recommender.matchbox.sampler.random import gamma, placed

SHAPE_PRIOR = 3.0, 0.3
"""`shape` is Gamma(3, rate 0.3): mean 10, standard deviation 6. `rate` is Gamma(1, rate 1)."""

_STEPS, _STEP = 5, 0.2


@dataclass(frozen=True)
class Noise:
    """Users' precisions are Gamma(shape, rate)."""

    shape: float = 5.0
    rate: float = 5.0

    @property
    def variance(self) -> float:
        """Noise variance of a user without ratings: the mean of 1 / precision.

        That is rate / (shape - 1), which grows without bound as the shape falls to 1. A shape
        below 2 counts as 2.
        """
        return self.rate / max(self.shape - 1.0, 1.0)


@compiled
def draw_precisions(
    scored: Scored, prior: tuple[float, float, np.uint64], start: int, stop: int, users: Floats
) -> None:
    """Draws the precision of each user in [start, stop), given the errors of the scores.

    `prior` holds shape, rate and the key.
    """
    shape, rate, key = prior
    view, scores, values = scored
    for row in range(start, stop):
        missed = 0.0
        first, last = view.indptr[row], view.indptr[row + 1]
        for j in range(first, last):
            error = np.float64(values[j] - scores[j])
            missed += error * error
        drawn = gamma(placed(key, view.ids[row]), shape + 0.5 * (last - first))
        users[row, 0] = drawn / (rate + 0.5 * missed)


def draw_noise(sums: tuple[float, float, float], last: Noise, chance: np.random.Generator) -> Noise:
    """Draws shape and rate, given the users' precisions.

    The rate is drawn from its Gamma conditional; the shape is drawn by Metropolis steps. `sums` has
    the number of precisions, their sum and the sum of their logarithms.
    """
    count, total, logs = sums
    shape, rate = last.shape, chance.gamma(1.0 + count * last.shape) / (1.0 + total)

    def log_density(value: float) -> float:
        known = count * (value * math.log(rate) - math.lgamma(value)) + value * logs
        # Steps are on log(shape): the Jacobian raises the power of the shape by one.
        return known + SHAPE_PRIOR[0] * math.log(value) - SHAPE_PRIOR[1] * value

    step = min(1.0, _STEP + 1.0 / math.sqrt(count))
    for _ in range(_STEPS):
        proposed = shape * math.exp(step * chance.standard_normal())
        if math.log(chance.random()) < log_density(proposed) - log_density(shape):
            shape = proposed
    return Noise(shape, rate)
