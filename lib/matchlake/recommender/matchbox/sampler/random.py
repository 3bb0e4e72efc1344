"""Counter-based random draws in kernels: a number depends only on its key and index.

A key identifies the draw (seed, chain, sweep, side, purpose). An index is the global number of a
row or rating. So the numbers do not depend on partitions, execution or threads.
"""

import math

import numpy as np

from matchlake.engine.simd import compiled

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_FIRST = np.uint64(0xBF58476D1CE4E5B9)
_SECOND = np.uint64(0x94D049BB133111EB)
_TO_UNIT = 2.0**-53


@compiled
def mixed(state: np.uint64) -> np.uint64:
    """The finaliser of SplitMix64 (Steele, Lea, Flood 2014), a bijection."""
    state = (state ^ (state >> np.uint64(30))) * _FIRST
    state = (state ^ (state >> np.uint64(27))) * _SECOND
    return np.uint64(state ^ (state >> np.uint64(31)))


@compiled
def placed(key: np.uint64, index: int) -> np.uint64:
    """Returns the key of an index, derived from `key`."""
    return mixed(np.uint64(index) * _GOLDEN + key)


def draw_key(*parts: int) -> np.uint64:
    """Returns the key of the numbers `parts`, in this order."""
    state = 0
    for part in parts:
        state = int(placed(np.uint64(state), part))
    return np.uint64(state)


@compiled
def uniform(key: np.uint64, count: int) -> float:
    """Returns the uniform number with the index `count` of a key, in (0, 1)."""
    bits = placed(key, count) >> np.uint64(11)
    return (np.float64(bits) + 0.5) * _TO_UNIT


@compiled
def normal(key: np.uint64, count: int) -> float:
    """Returns standard normal number `count` of a key, from uniforms 2 count and 2 count + 1."""
    radius = math.sqrt(-2.0 * math.log(uniform(key, 2 * count)))
    return radius * math.cos(2.0 * math.pi * uniform(key, 2 * count + 1))


@compiled
def gamma(key: np.uint64, shape: float) -> float:
    """Returns one Gamma(shape, rate 1) number (Marsaglia and Tsang 2000), shape > 0."""
    boosted = shape if shape >= 1.0 else shape + 1.0
    d = boosted - 1.0 / 3.0
    c = 1.0 / math.sqrt(9.0 * d)
    count = 1
    while True:
        x = normal(key, 2 * count)
        v = (1.0 + c * x) ** 3
        if v > 0.0 and math.log(uniform(key, 4 * count + 2)) < (
            0.5 * x * x + d - d * v + d * math.log(v)
        ):
            break
        count += 1
    value = d * v
    return value if shape >= 1.0 else value * uniform(key, 0) ** (1.0 / shape)


@compiled
def normal_cdf(x: float) -> float:
    """P(standard normal < x)."""
    return 0.5 * math.erfc(-x * 0.7071067811865476)


@compiled
def between(score: float, low: float, high: float) -> float:
    """P(low < N(score, 1) < high), computed in the tail if it is small."""
    if low > score:
        return normal_cdf(score - low) - normal_cdf(score - high)
    return normal_cdf(high - score) - normal_cdf(low - score)


@compiled
def truncated_normal(score: float, low: float, high: float, chance: float) -> float:
    """The `chance` quantile of N(score, 1) truncated to [`low`, `high`]."""
    a, b = low - score, high - score
    mirrored = a > 0.0
    if mirrored:
        a, b = -b, -a
    below = normal_cdf(a)
    z = normal_quantile(below + chance * (normal_cdf(b) - below))
    z = min(max(z, a), b)
    return score - z if mirrored else score + z


@compiled
def normal_quantile(p: float) -> float:
    """The inverse of `normal_cdf`: Acklam's start (relative error 1e-9), one step of Halley's."""
    p = min(max(p, 1e-300), 1.0 - 1e-16)
    if p < 0.02425:  # noqa: PLR2004 - where Acklam's tail formula begins
        x = _tail(math.sqrt(-2.0 * math.log(p)))
    elif p > 1.0 - 0.02425:
        x = -_tail(math.sqrt(-2.0 * math.log(1.0 - p)))
    else:
        x = _middle(p - 0.5)
    error = (normal_cdf(x) - p) * math.sqrt(2.0 * math.pi) * math.exp(min(0.5 * x * x, 700.0))
    return x - error / (1.0 + 0.5 * x * error)


@compiled
def _tail(q: float) -> float:
    top = ((-7.784894002430293e-03 * q - 3.223964580411365e-01) * q - 2.400758277161838e00) * q
    top = ((top - 2.549732539343734e00) * q + 4.374664141464968e00) * q + 2.938163982698783e00
    below = ((7.784695709041462e-03 * q + 3.224671290700398e-01) * q + 2.445134137142996e00) * q
    return top / ((below + 3.754408661907416e00) * q + 1.0)


@compiled
def _middle(q: float) -> float:
    r = q * q
    top = ((-3.969683028665376e01 * r + 2.209460984245205e02) * r - 2.759285104469687e02) * r
    top = ((top + 1.383577518672690e02) * r - 3.066479806614716e01) * r + 2.506628277459239e00
    below = ((-5.447609879822406e01 * r + 1.615858368580409e02) * r - 1.556989798598866e02) * r
    below = ((below + 6.680131188771972e01) * r - 1.328068155288572e01) * r + 1.0
    return top * q / below
