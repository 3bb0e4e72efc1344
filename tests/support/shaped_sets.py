"""Twelve sets of rows whose shapes are hard to sum up, and their scores by SciPy and scikit-learn.

Each has a number `x`, a category `c`, a class `y` and a number `z` to predict. `exact` is `x` with
its offset and its scale taken out, which changes no digit: the libraries lose digits there.
"""

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats
from sklearn.feature_selection import f_regression
from sklearn.metrics import mutual_info_score

METHODS = {
    "anova": ("x", "y"),
    "fisher": ("x", "y"),
    "pearson": ("x", "z"),
    "spearman": ("x", "z"),
    "f_regression": ("x", "z"),
    "chi_square": ("c", "y"),
    "mutual_information": ("c", "y"),
}
"""The feature and the label of each method."""
Scores = dict[str, tuple[float | None, float | None]]


@dataclass(frozen=True)
class ShapedSet:
    """Rows, and the column `x` as libraries can take it."""

    rows: pd.DataFrame
    exact: np.ndarray


def _set(
    x: np.ndarray, seed: int, exact: np.ndarray | None = None, classes: int = 3, **more: Any
) -> ShapedSet:
    random = np.random.default_rng(seed)
    exact = x if exact is None else exact
    usable = np.nan_to_num(exact, nan=0.0, posinf=0.0, neginf=0.0)
    signal = (usable - usable.mean()) / (usable.std() or 1.0)
    noisy = signal + random.normal(size=len(x))
    y = np.digitize(noisy, np.linspace(-0.7, 0.7, classes - 1)) if classes > 1 else 0 * noisy
    c = np.array([f"c{k}" for k in random.integers(0, 5, len(x)) + (noisy > 0)], dtype=object)
    rows = pd.DataFrame({"x": x, "c": c, "y": y.astype(int).astype(str), "z": noisy})
    return ShapedSet(rows.assign(**more), exact)


def shaped_sets() -> dict[str, ShapedSet]:
    """The sets by name."""
    random = np.random.default_rng(31)
    normal = random.normal(size=400)
    rounded = np.round(normal * 1024) / 1024
    holes = normal.copy()
    holes[::7], holes[3::31], holes[5::37] = np.nan, np.inf, -np.inf
    many = random.integers(0, 10_000, 30_000)
    wide = _set(random.normal(size=30_000), 12)
    categories = np.array([f"k{k}" for k in np.r_[np.arange(10_000), many[10_000:]]], dtype=object)
    some = _set(normal, 6)
    return {
        "plain": _set(normal, 1),
        "constant": _set(np.full(400, 7.0), 2),
        "offset 1e12": _set(1e12 + rounded, 3, rounded),
        "scale 1e-300": _set(np.ldexp(normal, -996), 4, normal),
        "scale 1e300": _set(np.ldexp(normal, 1000), 5, normal),
        "nulls": ShapedSet(
            some.rows.assign(x=holes, c=some.rows["c"].where(random.random(400) > 0.1)), holes
        ),
        "one class": _set(normal, 7, classes=1),
        "ties": _set(random.integers(0, 4, 400).astype(float), 8),
        "skewed": _set(np.exp(5 * normal), 9),
        "three rows": _set(np.array([1.0, 2.0, 4.0]), 10, classes=2),
        "independent": _set(normal, 11, z=random.normal(size=400),
                            y=random.integers(0, 40, 400).astype(str)),
        "10,000 categories": ShapedSet(wide.rows.assign(c=categories), wide.exact),
    }  # fmt: skip


def expected_scores(given: ShapedSet) -> Scores:
    """The score and the p-value of each method; None where it has none."""
    rows = given.rows
    here = np.isfinite(given.exact)
    x, y, z = given.exact[here], rows["y"].to_numpy()[here], rows["z"].to_numpy()[here]
    groups = [x[y == each] for each in np.unique(y)]
    found: Scores = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        is_defined = np.ptp(x) > 0
        many = is_defined and len(groups) > 1
        enough = many and len(x) > len(groups)
        found["anova"] = tuple(map(float, stats.f_oneway(*groups))) if enough else (None, None)
        within = sum(((each - each.mean()) ** 2).sum() for each in groups)
        between = sum(len(each) * (each.mean() - x.mean()) ** 2 for each in groups)
        found["fisher"] = (float(between / within), None) if many else (None, None)
        for name, function in (("pearson", stats.pearsonr), ("spearman", stats.spearmanr)):
            both = function(x, z) if is_defined else None
            found[name] = (
                (float(both.statistic), float(both.pvalue)) if both is not None else (None, None)
            )
        f, p = f_regression(x[:, None], z) if is_defined else ([None], [None])
        found["f_regression"] = (f[0], p[0])
    known = rows["c"].notna()
    table = pd.crosstab(rows["c"][known], rows["y"][known]).to_numpy()
    chi = stats.chi2_contingency(table, correction=False)
    found["chi_square"] = (float(chi.statistic), float(chi.pvalue))
    information = float(mutual_info_score(rows["y"][known], rows["c"][known]))
    found["mutual_information"] = (information, None)
    return found
