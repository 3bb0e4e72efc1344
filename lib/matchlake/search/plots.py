"""Plots of a search: the metric over the trials, parallel coordinates, and importances."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from matchlake.profiling.plots import COLORS, finish_panels, make_panels
from matchlake.search.space import Dimension, Space, value_text
from matchlake.search.trial import Trial

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_GROUPS = 5
"""The number of bins, of about equal size, for the values of a range."""
_MOST_LABELS = 12
_LEAST = 3
"""The minimum number of complete trials for importances."""

Doubles = npt.NDArray[np.float64]


def search_plots(
    trials: Sequence[Trial], space: Space, metric: str, *, maximize: bool
) -> "dict[str, Figure]":
    """Returns the plots by file name, without those that need more complete trials."""
    complete = [each for each in trials if each.state == "complete"]
    plots = {"search/1_trials.png": score_over_trials(trials, metric, maximize=maximize)}
    if complete:
        coordinates = parallel_coordinates(complete, space, metric, maximize=maximize)
        plots["search/2_parallel_coordinates.png"] = coordinates
    if len(complete) >= _LEAST:
        plots["search/3_importance.png"] = importance_bars(importances(complete, space))
    return plots


def score_over_trials(trials: Sequence[Trial], metric: str, *, maximize: bool) -> "Figure":
    """The metric of each trial in the order of their numbers, and the best one so far.

    Failed trials are crosses at the bottom; pruned ones have the last value that they reported.
    """
    from matplotlib.ticker import MaxNLocator  # noqa: PLC0415

    figure, (panel,) = make_panels(1)
    ordered = sorted(trials, key=lambda each: each.number)
    looks = {"complete": (COLORS[0], "o"), "pruned": (COLORS[2], "v")}
    for state, (color, marker) in looks.items():
        points = [t for t in ordered if t.state == state and t.value is not None]
        if points:
            numbers, values = [t.number for t in points], [t.value or 0.0 for t in points]
            panel.scatter(numbers, values, color=color, marker=marker, s=14, label=state)
    complete = [each for each in ordered if each.state == "complete"]
    if complete:
        best = np.maximum if maximize else np.minimum
        reached = best.accumulate([each.value or 0.0 for each in complete])
        numbers = [each.number for each in complete]
        panel.step(numbers, reached, where="post", color=COLORS[1], label="best so far")
    failed = [each.number for each in ordered if each.state == "failed"]
    if failed:
        low = panel.get_ylim()[0]
        panel.scatter(failed, [low] * len(failed), color=COLORS[4], marker="x", label="failed")
    panel.set(title=metric, xlabel="Trial")
    panel.xaxis.set_major_locator(MaxNLocator(integer=True))
    finish_panels(figure, [panel], x="")
    panel.legend(frameon=False, fontsize="small")
    return figure


def parallel_coordinates(
    complete: Sequence[Trial], space: Space, metric: str, *, maximize: bool
) -> "Figure":
    """One line per trial through its hyperparameters; darker lines have a better metric.

    If a hyperparameter was not searched in a trial, the line crosses its axis at the bottom.
    """
    from matplotlib.colors import Normalize  # noqa: PLC0415
    from matplotlib.figure import Figure  # noqa: PLC0415

    dimensions = space.dimensions
    figure = Figure(figsize=(max(5, 2 + 1.4 * len(dimensions)), 4), layout="constrained")
    axes = figure.add_subplot()
    heights = np.column_stack([_heights(complete, each) for each in dimensions])
    values = np.array([trial.value for trial in complete], dtype=float)
    norm = Normalize(values.min(), values.max())
    colors = _palette(maximize=maximize)
    for i in np.argsort(values if maximize else -values):  # the best lines are drawn last
        axes.plot(heights[i], color=colors(norm(values[i])), alpha=0.7, linewidth=1.2)
    for at, dimension in enumerate(dimensions):
        _draw_axis(axes, at, dimension, complete)
    axes.set(xticks=[], yticks=[], xlim=(-0.4, len(dimensions) - 0.6), ylim=(-0.14, 1.16))
    axes.spines[:].set_visible(False)
    from matplotlib.cm import ScalarMappable  # noqa: PLC0415

    figure.colorbar(ScalarMappable(norm, colors), ax=axes, label=metric, fraction=0.05)
    return figure


def importances(complete: Sequence[Trial], space: Space) -> dict[str, float]:
    """The share of the variance of the metric that each hyperparameter explains alone.

    Trials are grouped by the value of the hyperparameter; a range has five groups. The share is
    epsilon squared (Kelley 1935): the variance between the groups, corrected for chance, and at
    least 0. Hyperparameters that matter only in combination have small shares. The largest share is
    first.
    """
    found = {}
    for dimension in space.dimensions:
        rows = [(trial.values[dimension.name], trial.value) for trial in complete
                if dimension.name in trial.values]  # fmt: skip
        values = np.array([value for _, value in rows], dtype=float)
        found[dimension.name] = _explained(_groups([v for v, _ in rows], dimension), values)
    return dict(sorted(found.items(), key=lambda pair: -pair[1]))


def importance_bars(found: dict[str, float]) -> "Figure":
    """The importances as bars."""
    figure, (panel,) = make_panels(1)
    names = list(found)
    panel.barh(range(len(names)), list(found.values()), color=COLORS[0])
    panel.set_yticks(range(len(names)), names)
    panel.invert_yaxis()
    panel.set(title="Share of the variance explained alone", xlim=(0, 1))
    finish_panels(figure, [panel], x="")
    return figure


def _explained(groups: npt.NDArray[np.int64], values: Doubles) -> float:
    codes = np.unique(groups)
    n, k = len(values), len(codes)
    total = float(np.sum((values - values.mean()) ** 2)) if n else 0.0
    if k < 2 or n <= k or total <= 0:  # noqa: PLR2004 - one group explains nothing
        return 0.0
    within = sum(
        float(np.sum((each - each.mean()) ** 2)) for each in (values[groups == c] for c in codes)
    )
    return max(0.0, 1 - within / (n - k) * (n - 1) / total)


def _groups(values: Sequence[Any], dimension: Dimension) -> npt.NDArray[np.int64]:
    """Returns the group of each value: a value of a list, or one of five bins of a range."""
    if dimension.values is not None:
        texts = [value_text(value) for value in values]
        return np.unique(np.array(texts, dtype=object).astype(str), return_inverse=True)[1]
    numbers = np.array(values, dtype=float)
    if len(np.unique(numbers)) <= _GROUPS:
        return np.unique(numbers, return_inverse=True)[1]
    edges = np.quantile(numbers, np.linspace(0, 1, _GROUPS + 1)[1:-1])
    return np.searchsorted(edges, numbers, side="right")


def _heights(complete: Sequence[Trial], dimension: Dimension) -> Doubles:
    """Returns the height of each trial on an axis from 0 to 1; below 0 if not searched."""
    low, span = _scale(dimension.low, dimension), 1.0
    if dimension.values is None:
        span = (_scale(dimension.high, dimension) - low) or 1.0
    texts = [value_text(each) for each in dimension.values or ()]
    made = []
    for trial in complete:
        if dimension.name not in trial.values:
            made.append(-0.08)
        elif dimension.values is not None:
            place = texts.index(value_text(trial.values[dimension.name]))
            made.append(place / max(1, len(texts) - 1))
        else:
            made.append((_scale(trial.values[dimension.name], dimension) - low) / span)
    return np.array(made)


def _scale(value: float, dimension: Dimension) -> float:
    return float(np.log(value)) if dimension.log and dimension.values is None else float(value)


def _draw_axis(axes: "Axes", at: int, dimension: Dimension, complete: Sequence[Trial]) -> None:
    """Draws an axis: a vertical line, with the name above and the values beside it."""
    axes.axvline(at, 0.1, 0.9, color="#404040", linewidth=0.8)
    axes.text(at, 1.1, dimension.name, ha="center", fontsize=9)
    box = {"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 0.6}
    style: dict[str, Any] = {"fontsize": 7, "va": "center", "color": "#404040", "bbox": box}
    if dimension.values is None:
        for height, value in ((0.0, dimension.low), (1.0, dimension.high)):
            axes.text(at + 0.03, height, f"{value:.4g}", **style)
    else:
        many = len(dimension.values)
        for i, value in enumerate(dimension.values[:_MOST_LABELS]):
            axes.text(at + 0.03, i / max(1, many - 1), value_text(value)[:16], **style)
    if any(dimension.name not in trial.values for trial in complete):
        axes.text(at + 0.03, -0.08, "not searched", **style)


def _palette(*, maximize: bool) -> Any:
    """Returns a colormap: light for bad values, dark for good values."""
    from matplotlib.colors import LinearSegmentedColormap  # noqa: PLC0415

    colors = ["#dfe6ee", COLORS[0], "#0b1f3a"]
    return LinearSegmentedColormap.from_list("metric", colors if maximize else colors[::-1])
