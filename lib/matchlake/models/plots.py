"""Plots of a training run, as Matplotlib figures that belong to no window."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from matchlake.models.evaluation import LOWER_IS_BETTER, Figures

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_OWN, _OTHER = "#1f5fa8", "#b8bec6"


def comparison(figures: Mapping[str, Figures]) -> "Figure":
    """A panel for each metric, a bar for each model that has it; the first model stands out."""
    from matplotlib.figure import Figure  # noqa: PLC0415

    metrics = list(dict.fromkeys(metric for found in figures.values() for metric in found))
    columns = min(4, len(metrics))
    rows = -(-len(metrics) // columns)
    figure = Figure(figsize=(3.2 * columns, 1.1 + 1.5 * rows), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).flat
    for panel, metric in zip(panels, metrics, strict=False):
        _bars(panel, metric, {n: found[metric] for n, found in figures.items() if metric in found})
    for panel in list(panels)[len(metrics) :]:
        panel.set_visible(False)
    return figure


def _bars(panel: "Axes", metric: str, values: Mapping[str, float]) -> None:
    colors = [_OWN if position == 0 else _OTHER for position in range(len(values))]
    bars = panel.barh(list(values), list(values.values()), color=colors)
    panel.bar_label(bars, fmt="%.4f", padding=3, fontsize=8)
    better = "lower is better" if metric in LOWER_IS_BETTER else "higher is better"
    panel.set_title(f"{metric} ({better})", fontsize=9)
    panel.invert_yaxis()
    panel.margins(x=0.25)
    panel.set_xticks([])
    panel.spines[["top", "right", "bottom"]].set_visible(False)
