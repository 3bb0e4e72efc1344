"""Plots of a training run, as Matplotlib figures without a window."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from matchlake.profiling.plots import COLORS, finish_panels, make_panels
from matchlake.schemas import RATING, SCORE
from matchlake.training.evaluation import Figures

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_BIN = 0.25


def training_plots(figures: Mapping[str, Figures], scored: DataFrame | None) -> "dict[str, Figure]":
    """The plots of a run by file name.

    `scored` is the test part with the scores of a model that predicts ratings, None for another;
    one Spark job counts its residuals.
    """
    plots = {"ranking.png": ranking_curves(figures)}
    if scored is not None:
        plots["rating.png"] = rating_bars(figures)
        plots["residuals.png"] = residuals(residual_counts(scored))
    return plots


def ranking_curves(figures: Mapping[str, Figures]) -> "Figure":
    """One panel per ranking metric, by length of list; one line per model."""
    names = _names(figures, ranking=True)
    figure, panels = make_panels(len(names))
    for panel, name in zip(panels, names, strict=True):
        for color, (model, metrics) in zip(COLORS, figures.items(), strict=False):
            points = sorted(
                (int(metric.rpartition("_at_")[2]), value)
                for metric, value in metrics.items()
                if metric.startswith(f"{name}_at_")
            )
            panel.plot(*zip(*points, strict=True), color=color, marker="o", ms=4, label=model)
            panel.set_xticks([k for k, _ in points])
        panel.set(title=name, ylim=(0, None))
    finish_panels(figure, panels, x="items in the list")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper center", ncols=5)
    return figure


def rating_bars(figures: Mapping[str, Figures]) -> "Figure":
    """RMSE and MAE as bars, one per model that predicts ratings."""
    names = _names(figures, ranking=False)
    figure, panels = make_panels(len(names))
    for panel, name in zip(panels, names, strict=True):
        values = {model: metrics[name] for model, metrics in figures.items() if name in metrics}
        colors = dict(zip(figures, COLORS, strict=False))
        bars = panel.bar(
            list(values),
            list(values.values()),
            color=[colors[model] for model in values],
            width=0.6,
        )
        panel.bar_label(bars, fmt="%.4f", padding=2)
        panel.set(title=f"{name} (lower is better)")
        panel.margins(y=0.1)
    finish_panels(figure, panels, x="")
    return figure


def residual_counts(scored: DataFrame) -> list[tuple[float, int]]:
    """Counts of test ratings by error: middle of a bin, rows; one Spark job."""
    middle = F.floor((F.col(SCORE) - F.col(RATING)) / _BIN + 0.5) * _BIN
    counted = scored.groupBy(middle.alias("miss")).agg(F.count("*").alias("rows"))
    rows = counted.where(F.col("miss").isNotNull()).collect()
    return sorted((float(row["miss"]), int(row["rows"])) for row in rows)


def residuals(counts: Sequence[tuple[float, int]]) -> "Figure":
    """The histogram of `residual_counts`."""
    figure, (panel,) = make_panels(1)
    panel.bar(
        [miss for miss, _ in counts], [rows for _, rows in counts], 0.9 * _BIN, color=COLORS[0]
    )
    panel.axvline(0, color="black", lw=0.8)
    panel.set(title="predicted minus given rating", ylabel="ratings of the test part")
    finish_panels(figure, [panel], x="rating points, in bins of a quarter")
    return figure


def _names(figures: Mapping[str, Figures], *, ranking: bool) -> list[str]:
    """The distinct metrics, in their order."""
    metrics = [metric for values in figures.values() for metric in values]
    chosen = [metric for metric in metrics if ("_at_" in metric) == ranking]
    return list(dict.fromkeys(metric.partition("_at_")[0] for metric in chosen))
