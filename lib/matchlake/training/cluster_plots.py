"""Plots of a sweep of clusterings: measures by the number of clusters, and silhouettes."""

from typing import TYPE_CHECKING

import numpy as np

from matchlake.learners.kmeans import ClusterSweep
from matchlake.profiling.plots import COLORS, finish_panels, make_panels

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MEASURES = {
    "inertia": "inertia: look for the elbow",
    "silhouette": "simplified silhouette: high is good",
    "davies_bouldin": "Davies-Bouldin: low is good",
    "calinski_harabasz": "Calinski-Harabasz: high is good",
}


def sweep_plots(sweep: ClusterSweep) -> "dict[str, Figure]":
    """Returns the plots by file name; measures by k only if the sweep has several k."""
    plots = {"silhouettes.png": plot_silhouettes(sweep)}
    if len({each.k for each in sweep.clusterings}) > 1:
        plots["elbow.png"] = plot_measures(sweep)
    return plots


def plot_measures(sweep: ClusterSweep) -> "Figure":
    """Plots each measure by the number of clusters; the line joins the best start of each k."""
    figure, panels = make_panels(len(_MEASURES))
    table, best = sweep.table(), sweep.best
    for panel, (name, title) in zip(panels, _MEASURES.items(), strict=True):
        panel.plot(table["k"], table[name], ".", ms=4, color=COLORS[2], alpha=0.6)
        by_k = table.groupby("k")[name]
        line = by_k.min() if name in ("inertia", "davies_bouldin") else by_k.max()
        panel.plot(line.index, line, color=COLORS[0], lw=1.5)
        value = getattr(best.measures, name)
        panel.plot([best.k], [value], "o", ms=8, mfc="none", mew=2, color=COLORS[1])
        panel.set_title(title, fontsize="medium")
    finish_panels(figure, panels, x=f"number of clusters; the circle is the best one, k={best.k}")
    return figure


def plot_silhouettes(sweep: ClusterSweep) -> "Figure":
    """Plots rows and mean simplified silhouette of each cluster of the best clustering."""
    figure, (left, right) = make_panels(2)
    measures = sweep.best.measures
    order = np.argsort(measures.rows)[::-1]
    names = [str(each) for each in order]
    left.bar(names, np.array(measures.rows)[order], color=COLORS[0])
    left.set(title=f"rows of the {len(names)} clusters")
    right.bar(names, np.array(measures.silhouettes)[order], color=COLORS[3])
    _mean_line(right, measures.silhouette)
    right.set(title="mean simplified silhouette")
    finish_panels(figure, [left, right], x="cluster, the largest first")
    return figure


def _mean_line(panel: "Axes", value: float) -> None:
    if np.isfinite(value):
        panel.axhline(value, color="black", lw=0.8, ls=":", label=f"all rows: {value:.3f}")
        panel.legend(frameon=False)
