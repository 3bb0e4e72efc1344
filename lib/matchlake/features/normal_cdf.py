"""The normal distribution function as a formula, for engines without the function erf.

W. J. Cody, "Rational Chebyshev approximations for the error function", Mathematics of
Computation 23 (1969), pages 631 to 637. Coefficients start at the highest power.
"""

import math
from collections.abc import Sequence

from matchlake.formulas.tree import Constant, Expression, absolute, exp, when


def _coefficients(text: str) -> tuple[float, ...]:
    return tuple(float(word) for word in text.split())


_NEAR_LIMIT, _MIDDLE_LIMIT = 0.46875, 4.0
_NEAR = (
    _coefficients(
        "1.85777706184603153e-1 3.16112374387056560 1.13864154151050156e2 3.77485237685302021e2"
        " 3.20937758913846947e3"
    ),
    _coefficients(
        "1 2.36012909523441209e1 2.44024637934444173e2 1.28261652607737228e3 2.84423683343917062e3"
    ),
)
_MIDDLE = (
    _coefficients(
        "2.15311535474403846e-8 5.64188496988670089e-1 8.88314979438837594 6.61191906371416295e1"
        " 2.98635138197400131e2 8.81952221241769090e2 1.71204761263407058e3"
        " 2.05107837782607147e3 1.23033935479799725e3"
    ),
    _coefficients(
        "1 1.57449261107098347e1 1.17693950891312499e2 5.37181101862009858e2"
        " 1.62138957456669019e3 3.29079923573345963e3 4.36261909014324716e3"
        " 3.43936767414372164e3 1.23033935480374942e3"
    ),
)
_FAR = (
    _coefficients(
        "1.63153871373020978e-2 3.05326634961232344e-1 3.60344899949804439e-1"
        " 1.25781726111229246e-1 1.60837851487422766e-2 6.58749161529837803e-4"
    ),
    _coefficients(
        "1 2.56852019228982242 1.87295284992346047 5.27905102951428412e-1"
        " 6.05183413124413191e-2 2.33520497626869185e-3"
    ),
)
_INVERSE_ROOT_PI = 1 / math.sqrt(math.pi)


def normal_cdf(value: Expression) -> Expression:
    """The standard normal distribution function at `value * sqrt(2)`; it is 1 from 30 on."""
    size = absolute(value)
    square = value * value
    near = value * _ratio(_NEAR, square) * 0.5 + 0.5
    middle = exp(-square) * _ratio(_MIDDLE, size) * 0.5
    inverse = Constant(1.0) / square
    correction = Constant(_INVERSE_ROOT_PI) - inverse * _ratio(_FAR, inverse)
    tail = when(size <= _MIDDLE_LIMIT, middle, exp(-square) * correction / size * 0.5)
    return when(size <= _NEAR_LIMIT, near, when(value < 0.0, tail, Constant(1.0) - tail))


def _ratio(polynomials: tuple[Sequence[float], Sequence[float]], value: Expression) -> Expression:
    above, below = polynomials
    return _polynomial(above, value) / _polynomial(below, value)


def _polynomial(coefficients: Sequence[float], value: Expression) -> Expression:
    first, *rest = coefficients
    result: Expression = Constant(first)
    for coefficient in rest:
        result = result * value + coefficient
    return result
