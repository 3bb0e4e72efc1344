"""Tests whether a window of rows differs from the training rows by more than chance.

Each feature has bins: about twenty quantile bins or its categories, and one bin for missing values.
The measure of a feature is the Kolmogorov-Smirnov distance for numbers, and Pearson's chi-square
for categories. A permutation test gives the distribution of the measures without drift: it assigns
the rows to the two sides at random, many times. The z-score of a feature is its measure in standard
deviations above the mean of that distribution. The test compares the largest z-score, so that its
level holds for all features together. `profiling.drift` describes the change of whole tables in
Spark, without a test.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

Array = npt.NDArray[np.float64]
Codes = npt.NDArray[np.int64]
ScoresOf = Callable[[pd.DataFrame], Array]

_BINS = 20
_CATEGORIES = 50
_HALF = 0.5
_CHUNK = 32
"""The number of permutations in one matrix product; each takes four bytes per row."""


@dataclass(frozen=True)
class FeatureDrift:
    """The change of one feature."""

    feature: str
    measure: float
    """The Kolmogorov-Smirnov distance, or chi-square per row for categories."""
    z_score: float
    """The measure, in standard deviations above its mean under no drift."""
    psi: float
    """The population stability index over the same bins; 0 means no change."""


@dataclass(frozen=True)
class DriftTest:
    """The changes of all features."""

    features: tuple[FeatureDrift, ...]
    """All features, the largest z-score first."""
    p_value: float
    """The probability, without drift, of a largest z-score that is at least this large."""


def compare_inputs(
    before: pd.DataFrame, after: pd.DataFrame, resamples: int, seed: int
) -> DriftTest:
    """Compares the columns that both frames have; each frame needs a row.

    NaN, infinity and null share one bin.
    """
    names = [name for name in before.columns if name in after.columns]
    cells = [_cells(before[name], after[name]) for name in names]
    both, size = len(before) + len(after), len(after)
    random = np.random.default_rng(seed)
    is_after = (np.arange(both) >= len(before)).astype("float32")[None, :]
    observed = _measures(cells, is_after, size)[0]
    chunks = [min(_CHUNK, resamples - at) for at in range(0, resamples, _CHUNK)]
    drawn = np.concatenate(
        [_measures(cells, _permuted(each, both, size, random), size) for each in chunks]
    )
    mean, spread = drawn.mean(axis=0), drawn.std(axis=0)
    spread = np.where(spread > 0, spread, np.inf)
    scores, noise = (observed - mean) / spread, ((drawn - mean) / spread).max(axis=1, initial=0)
    largest = scores.max(initial=0)
    p_value = (1 + np.sum(noise >= largest)) / (1 + resamples)
    found = [
        FeatureDrift(name, float(m), float(s), _psi(c, len(before)))
        for name, m, s, c in zip(names, observed, scores, cells, strict=True)
    ]
    ordered = sorted(found, key=lambda each: (-each.z_score, each.feature))
    return DriftTest(tuple(ordered), float(p_value))


@dataclass(frozen=True)
class _Cells:
    """The bin of each row, training rows first, and whether the bins are ordered."""

    codes: Codes
    count: int
    is_ordered: bool


def _permuted(
    times: int, both: int, size: int, random: np.random.Generator
) -> npt.NDArray[np.float32]:
    """Returns, for each permutation, 1 for the rows that are assigned to the window."""
    is_after = np.zeros((times, both), dtype="float32")
    for row in is_after:
        row[random.permutation(both)[:size]] = 1
    return is_after


def _cells(before: pd.Series, after: pd.Series) -> _Cells:
    values = pd.concat([before, after], ignore_index=True)
    if pd.api.types.is_bool_dtype(values) or not pd.api.types.is_numeric_dtype(values):
        return _categories(values)
    numbers = values.to_numpy(dtype="float64", na_value=np.nan)
    is_finite = np.isfinite(numbers)
    inner = np.linspace(0, 1, _BINS + 1)[1:-1]
    edges = np.unique(np.quantile(numbers[is_finite], inner)) if is_finite.any() else np.empty(0)
    codes = np.where(is_finite, np.searchsorted(edges, numbers, side="right"), len(edges) + 1)
    return _Cells(codes.astype("int64"), len(edges) + 2, is_ordered=True)


def _categories(values: pd.Series) -> _Cells:
    texts = values.map(lambda each: None if each is None else str(each))
    common = texts.value_counts().index[: _CATEGORIES - 2]
    codes = pd.Categorical(texts, common).codes.astype("int64")
    is_null = texts.isna().to_numpy()
    codes = np.where(codes < 0, np.where(is_null, len(common), len(common) + 1), codes)
    return _Cells(codes, len(common) + 2, is_ordered=False)


def _measures(cells: list[_Cells], is_after: npt.NDArray[np.float32], size: int) -> Array:
    """Returns the measure of a feature for each permutation."""
    made = [_measure(each, is_after, size) for each in cells]
    return np.column_stack(made) if made else np.zeros((len(is_after), 0))


def _measure(cells: _Cells, is_after: npt.NDArray[np.float32], size: int) -> Array:
    rows = len(cells.codes)
    one_hot = np.zeros((rows, cells.count), dtype="float32")
    one_hot[np.arange(rows), cells.codes] = 1
    after = (is_after @ one_hot).astype("float64")  # exact in float32: counts are far below 2**24
    totals = np.bincount(cells.codes, minlength=cells.count)
    if cells.is_ordered:
        distance = after.cumsum(axis=1) / size - (totals - after).cumsum(axis=1) / (rows - size)
        return np.asarray(np.abs(distance).max(axis=1))
    expected = totals * size / rows
    filled = expected > 0
    squares = (after[:, filled] - expected[filled]) ** 2 / expected[filled]
    return np.asarray(squares.sum(axis=1) / size)


def _psi(cells: _Cells, first: int) -> float:
    """Returns the population stability index; adds half a row per bin, so that none is empty."""
    sides = (cells.codes[:first], cells.codes[first:])
    b, a = (np.bincount(side, minlength=cells.count) + _HALF for side in sides)
    b, a = b / b.sum(), a / a.sum()
    return float(np.sum((a - b) * np.log(a / b)))


def moved_scores(
    scores_of: ScoresOf, before: pd.DataFrame, after: pd.DataFrame, seed: int
) -> Mapping[str, float]:
    """Returns how much the drift of each feature moved the mean score, the largest first.

    One column of the window at a time is replaced by values of the training rows. `scores_of` gives
    one score per row and output. A feature without drift or without effect gets a value near 0. The
    value is infinite if an output is NaN on one side only.
    """
    random = np.random.default_rng(seed)
    now = _mean_scores(scores_of(after))
    moved = {}
    for name in after.columns:
        if name in before.columns:
            drawn = before[name].iloc[random.integers(0, len(before), len(after))]
            other = after.assign(**{name: drawn.to_numpy()})
            moved[name] = _distance(_mean_scores(scores_of(other)), now)
    return dict(sorted(moved.items(), key=lambda each: -each[1]))


def _mean_scores(scores: Array) -> Array:
    """Returns the mean of each output over the rows with a score; NaN without such a row."""
    count = np.isfinite(scores).sum(axis=0)
    total = np.where(np.isfinite(scores), scores, 0.0).sum(axis=0)
    means: Array = np.divide(total, count, out=np.full(count.shape, np.nan), where=count > 0)
    return means


def _distance(one: Array, other: Array) -> float:
    """Returns the largest difference: infinite if only one side has a value, 0 if none has."""
    if np.isnan(one).any() or np.isnan(other).any():
        return 0.0 if (np.isnan(one) == np.isnan(other)).all() else float("inf")
    return float(np.max(np.abs(one - other)))
