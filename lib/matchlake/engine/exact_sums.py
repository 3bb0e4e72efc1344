"""Sums of doubles that do not depend on the order of their terms.

A term is cut into three parts of 26 bits each. Sums of parts are integers below 2^53, so no
addition rounds, and any order and any grouping of the terms give the same bits. The cut is at
2^-78 of the bound of the terms: smaller digits are lost.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from matchlake.engine.simd import compiled

PARTS = 3
_BITS = 26
MOST = 1 << 26
"""Terms that may be added before `add_parts` moves the parts into integers."""

Doubles = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


def bounds_of(largest: Any) -> Doubles:
    """The powers of two at or above `largest`; 1 for 0."""
    values = np.asarray(largest, np.float64)
    # A tiny bound would make the smallest part a subnormal number.
    _, exponents = np.frexp(np.where(values > 0, np.maximum(values, 2.0**-250), 1.0))
    return np.asarray(np.ldexp(1.0, exponents))


@compiled
def cut(value: float, bound: float) -> tuple[float, float, float]:
    """The three parts of a value, each a multiple of its unit.

    Adding and subtracting 1.5 * 2^52 units rounds to whole units.
    """
    first = 1.5 * 2.0**52 * 2.0**-26 * bound
    second, third = first * 2.0**-26, first * 2.0**-52
    a = (value + first) - first
    rest = value - a
    b = (rest + second) - second
    rest -= b
    return a, b, (rest + third) - third


def cut_arrays(values: Doubles, bounds: Doubles) -> Doubles:
    """The parts of arrays as one more axis at the end."""
    parts, rest = [], values
    for part in range(PARTS):
        rounding = np.ldexp(1.5 * bounds, 52 - _BITS * (part + 1))
        parts.append((rest + rounding) - rounding)
        rest = rest - parts[-1]
    return np.stack(parts, axis=-1)


def add_parts(totals: Integers, parts: Doubles, bounds: Doubles) -> None:
    """Adds sums of parts (..., PARTS) to integer totals of the same shape, in units of `bounds`.

    `bounds` broadcasts against the shape without its last axis.
    """
    for part in range(PARTS):
        unit = np.ldexp(bounds, -_BITS * (part + 1))
        totals[..., part] += np.rint(parts[..., part] / unit).astype(np.int64)


def total_of(totals: Integers, bounds: Doubles) -> Doubles:
    """The sums (...) as doubles, from integer totals (..., PARTS) in units of `bounds`."""
    result = np.zeros(totals.shape[:-1])
    for part in reversed(range(PARTS)):
        result += totals[..., part] * np.ldexp(bounds, -_BITS * (part + 1))
    return result
