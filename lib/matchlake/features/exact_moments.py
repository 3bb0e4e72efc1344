"""Means and deviations as SQL of any engine, correct whatever the order of the rows.

Sums of doubles depend on the order of their terms. Here each value is scaled by powers of two to at
most 1, and is cut into three parts of 26 bits. Sums of parts are integers, so they are exact in any
order; digits below 2^-78 of the largest value are lost. The mean is the rounded exact mean. The
deviation is about a center near the mean, so that no digits cancel; its relative error is 1e-15.

The SQL is the same in Spark and in DuckDB. `engine/exact_sums.py` cuts in the same way for arrays.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from fractions import Fraction
from typing import Any

_BITS = 26
_PARTS = 3
_CUT = f"{2**_BITS}e0"
_LOWEST, _HIGHEST = -1000, 1023
"""Exponents whose powers of two are doubles, and those of their negatives too."""


def moment_columns(number: str, finite: str, needs: Collection[str]) -> dict[str, str]:
    """Returns SQL for the values whose moments `needs` names, by column name.

    `finite` is SQL for the column `number` with null for NaN and infinities.
    """
    found = {}
    if not {"mean", "std"}.isdisjoint(needs):
        found[f"{number}_x"] = finite
    if not {"log_mean", "log_std"}.isdisjoint(needs):
        found[f"{number}_l"] = f"CASE WHEN {finite} > 0 THEN ln({finite}) END"
    return found


def figures(number: str, needs: Collection[str], found: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the needed ones of mean, std, log_mean and log_std, from `sum_columns`."""
    answers: dict[str, Any] = {}
    for prefix, letter in (("", "x"), ("log_", "l")):
        wanted = {f"{prefix}mean", f"{prefix}std"} & set(needs)
        if wanted:
            mean, std = moments(f"{number}_{letter}", found)
            both = {f"{prefix}mean": mean, f"{prefix}std": std}
            answers |= {name: both[name] for name in wanted}
    return answers


def range_columns(name: str) -> list[str]:
    """Returns aggregates of the column `name`, from which its scale is computed."""
    return [
        f"max(abs({name})) AS {name}_most",
        f"avg({name}) AS {name}_avg",
        f"min({name}) AS {name}_low",
        f"max({name}) AS {name}_high",
    ]


def scale_stages(names: Sequence[str]) -> list[list[str]]:
    """Returns select lists; the first reads `range_columns`, the others the list before."""
    exponents, centers, spreads = ["*"], ["*"], ["*"]
    for name in names:
        exponents.append(f"{_exponent(f'{name}_most')} AS {name}_e")
        middle = f"{name}_low / 2e0 + {name}_high / 2e0"
        center = f"CASE WHEN abs({name}_avg) < 1e308 THEN {name}_avg ELSE {middle} END"
        centers.append(f"({center}) * pow(2e0, -{name}_e) AS {name}_c")
        low, high = (f"{name}_{end} * pow(2e0, -{name}_e)" for end in ("low", "high"))
        spread = f"greatest({high} - {name}_c, {name}_c - {low})"
        spreads.append(f"{_exponent(spread)} AS {name}_f")
    return [exponents, centers, spreads]


def value_stages(names: Sequence[str]) -> list[list[str]]:
    """Returns select lists over rows with their scales; they add the scaled NAME_t, NAME_d."""
    scaled, centered = ["*"], ["*"]
    for name in names:
        scaled.append(f"{name} * pow(2e0, -{name}_e) AS {name}_t")
        centered.append(f"({name}_t - {name}_c) * pow(2e0, -{name}_f) AS {name}_d")
    return [scaled, centered]


def sum_columns(name: str) -> dict[str, str]:
    """Returns aggregates over the rows of `value_stages`: the scales, and the sums of parts."""
    found = {f"{name}_{part}": f"max({name}_{part})" for part in "ecf"}
    found[f"{name}_n"] = f"count({name})"
    for letter, value in (("t", f"{name}_t"), ("y", f"{name}_d * {name}_d")):
        for number, part in enumerate(_parts_of(value)):
            found[f"{name}_{letter}{number}"] = f"sum(CAST(floor({part}) AS BIGINT))"
    return found


def moments(name: str, found: Mapping[str, Any]) -> tuple[float | None, float | None]:
    """Returns the mean and the population deviation from `sum_columns`; None without values."""
    rows = found[f"{name}_n"]
    if not rows:
        return None, None
    exponent, spread = int(found[f"{name}_e"]), int(found[f"{name}_f"])
    mean = _total(name, "t", found) / rows
    off = (mean - Fraction(found[f"{name}_c"])) / _power(spread)
    variance = max(_total(name, "y", found) / rows - off * off, Fraction(0))
    return _rounded(mean * _power(exponent)), _scaled(math.sqrt(variance), exponent + spread)


def _exponent(value: str) -> str:
    """SQL for an exponent e with |value| <= 2^e; 0 for 0."""
    found = f"CAST(ceil(log2(CASE WHEN {value} > 0 THEN {value} ELSE 1e0 END)) AS INT) + 1"
    return f"least(greatest({found}, {_LOWEST}), {_HIGHEST})"


def _parts_of(value: str) -> list[str]:
    """SQL for the parts, before they are rounded down, in units that are 2^26 apart."""
    parts = [f"({value}) * {_CUT}"]
    for _ in range(1, _PARTS):
        parts.append(f"({parts[-1]} - floor({parts[-1]})) * {_CUT}")
    return parts


def _total(name: str, letter: str, found: Mapping[str, Any]) -> Fraction:
    parts = [
        Fraction(int(found[f"{name}_{letter}{number}"]), 2 ** (_BITS * (number + 1)))
        for number in range(_PARTS)
    ]
    return sum(parts, Fraction(0))


def _power(exponent: int) -> Fraction:
    return Fraction(2) ** exponent


def _rounded(value: Fraction) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.copysign(math.inf, value)


def _scaled(value: float, exponent: int) -> float:
    try:
        return math.ldexp(value, exponent)
    except OverflowError:
        return math.inf
