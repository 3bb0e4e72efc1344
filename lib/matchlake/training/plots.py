"""Plots of a training run, as Matplotlib figures."""

import math
from collections.abc import Mapping, Sequence
from statistics import NormalDist
from typing import TYPE_CHECKING

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from matchlake.profiling.plots import COLORS, finish_panels, make_panels
from matchlake.schemas import RATING, SCORE
from matchlake.training.descriptions import direction_of, title_of
from matchlake.training.evaluation import Figures

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_BIN = 0.25
_LEVELS = tuple(n / 20 for n in range(1, 20))
_DEVIATION = "rating_std"
_BARS = ("rmse", "mae")


def training_plots(
    figures: Mapping[str, Figures], scored: DataFrame | None, metric: str = "ndcg_at_10"
) -> "dict[str, Figure]":
    """Returns the plots of a run by file name, the most important first.

    `metric` is the deciding metric. `scored` is the test part with the scores, or None if the model
    does not predict ratings. One Spark job counts the residuals, and another the intervals if there
    are standard deviations.
    """
    plots = {"plots/1_comparison.png": comparison(figures, metric)}
    plots["plots/2_ranking.png"] = ranking_curves(figures)
    if scored is not None:
        plots["plots/3_rating_metrics.png"] = rating_bars(figures)
        plots["plots/4_rating_errors.png"] = residuals(residual_counts(scored))
        if _DEVIATION in scored.columns:
            plots["plots/5_reliability.png"] = reliability(interval_coverage(scored))
    return plots


def comparison(figures: Mapping[str, Figures], metric: str) -> "Figure":
    """Plots the deciding metric of the model and of the models that it has to beat."""
    figure, (panel,) = make_panels(1)
    _bars(panel, figures, metric)
    finish_panels(figure, [panel], x="")
    return figure


def ranking_curves(figures: Mapping[str, Figures]) -> "Figure":
    """Plots one panel per ranking metric, by length of list, with one line per model."""
    names = _ranking_names(figures)
    figure, panels = make_panels(len(names))
    for panel, name in zip(panels, names, strict=True):
        lines = {model: _points(metrics, name) for model, metrics in figures.items()}
        lengths = sorted({k for points in lines.values() for k, _ in points})
        if len(lengths) == 1:
            _bars(panel, figures, f"{name}_at_{lengths[0]}")
            continue
        for model, points in lines.items():
            if points:
                color = _colors(figures)[model]
                panel.plot(*zip(*points, strict=True), color=color, marker="o", ms=4, label=model)
        panel.set(title=title_of(name), ylim=(0, None), xticks=lengths, xlabel="Items in the list")
    finish_panels(figure, panels, x="")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper center", ncols=5)
    return figure


def rating_bars(figures: Mapping[str, Figures]) -> "Figure":
    """Plots the metrics of predicted ratings as bars, one per model that has them."""
    names = [name for name in _BARS if any(name in metrics for metrics in figures.values())]
    figure, panels = make_panels(len(names))
    for panel, name in zip(panels, names, strict=True):
        _bars(panel, figures, name)
    finish_panels(figure, panels, x="")
    return figure


def residual_counts(scored: DataFrame) -> list[tuple[float, int]]:
    """Counts test ratings by error: middle of a bin, rows; one Spark job."""
    middle = F.floor((F.col(SCORE) - F.col(RATING)) / _BIN + 0.5) * _BIN
    counted = scored.groupBy(middle.alias("miss")).agg(F.count("*").alias("rows"))
    rows = counted.where(F.col("miss").isNotNull()).collect()
    return sorted((float(row["miss"]), int(row["rows"])) for row in rows)


def residuals(counts: Sequence[tuple[float, int]]) -> "Figure":
    """Plots the histogram of `residual_counts`."""
    figure, (panel,) = make_panels(1)
    panel.bar(
        [miss for miss, _ in counts], [rows for _, rows in counts], 0.9 * _BIN, color=COLORS[0]
    )
    panel.axvline(0, color="black", lw=0.8)
    panel.set(title="Errors of the predicted ratings", ylabel="Ratings of the test part")
    finish_panels(figure, [panel], x="Predicted minus given rating")
    return figure


def interval_coverage(scored: DataFrame) -> list[tuple[float, float]]:
    """Returns, per level, the fraction of test ratings within the central interval of that level.

    The interval is that of N(score, rating_std^2). One Spark job.
    """
    distance = F.abs(F.col(SCORE) - F.col(RATING)) / F.col(_DEVIATION)
    widths = {level: NormalDist().inv_cdf(0.5 + level / 2) for level in _LEVELS}
    inside = [
        F.avg((F.col("distance") <= width).cast("double")).alias(f"{level}")
        for level, width in widths.items()
    ]
    row = scored.select(distance.alias("distance")).agg(*inside).collect()[0]
    return [
        (level, float(share))
        for level, share in zip(_LEVELS, row, strict=True)
        if share is not None and math.isfinite(share)
    ]


def reliability(coverage: Sequence[tuple[float, float]]) -> "Figure":
    """Plots the reliability curve: the observed fraction of ratings by the nominal one."""
    figure, (panel,) = make_panels(1)
    figure.set_size_inches(5, 5)
    panel.plot([0, 1], [0, 1], color="black", lw=0.8, ls="--", label="perfectly calibrated")
    levels, shares = zip(*coverage, strict=True) if coverage else ((), ())
    panel.plot(levels, shares, color=COLORS[0], marker="o", ms=4, label="this model")
    panel.set(
        title="Calibration of the predicted intervals",
        ylabel="Test ratings in the interval",
        xlim=(0, 1),
        ylim=(0, 1),
    )
    for axis in (panel.xaxis, panel.yaxis):
        axis.set_major_formatter("{x:.0%}")
    panel.legend(frameon=False, loc="upper left")
    finish_panels(figure, [panel], x="Nominal coverage of the interval")
    return figure


def _bars(panel: "Axes", figures: Mapping[str, Figures], metric: str) -> None:
    """Draws one bar per model that has the metric, with its value."""
    values = {model: metrics[metric] for model, metrics in figures.items() if metric in metrics}
    colors = [_colors(figures)[model] for model in values]
    drawn = panel.bar(list(values), list(values.values()), color=colors, width=0.6)
    panel.bar_label(drawn, fmt="%.4f", padding=2)
    panel.set(title=f"{title_of(metric)} ({direction_of(metric)})")
    panel.margins(y=0.15)


def _colors(figures: Mapping[str, Figures]) -> dict[str, str]:
    """Returns the colors: the first one for the model of the run, others for baselines."""
    return dict(zip(reversed(list(figures)), COLORS, strict=False))


def _points(metrics: Figures, name: str) -> list[tuple[int, float]]:
    """Returns the values of a ranking metric by length of list."""
    parts = ((metric.rpartition("_at_"), value) for metric, value in metrics.items())
    return sorted((int(k), value) for (start, _, k), value in parts if start == name and k)


def _ranking_names(figures: Mapping[str, Figures]) -> list[str]:
    """Returns the distinct ranking metrics, in their order."""
    metrics = [metric for values in figures.values() for metric in values if "_at_" in metric]
    return list(dict.fromkeys(metric.rpartition("_at_")[0] for metric in metrics))
