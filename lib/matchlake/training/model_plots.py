"""Plots of a model of conf on its test part, as Matplotlib figures."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from matchlake.profiling.plots import COLORS, finish_panels, make_panels
from matchlake.training.importance import Importance
from matchlake.training.task_metrics import Scored, confusion, is_class, measured_classes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_CURVES = 5
"""Maximum number of classes with a curve."""
_BINS = 10
_FEATURES = 20
_NAMED = 12


def model_plots(
    task: str, scored: Scored, importances: Mapping[str, Importance]
) -> "dict[str, Figure]":
    """Returns the plots of a run by file name; importance only if a feature has some."""
    plots = {}
    if task == "classification":
        plots = {"roc.png": _roc(scored), "precision_recall.png": _precision_recall(scored)}
        plots |= {"calibration.png": _calibration(scored), "confusion.png": _confusion(scored)}
    elif task == "regression":
        plots = {"residuals.png": _residuals(scored)}
    else:
        plots = {"clusters.png": _clusters(scored)}
    return plots | importance_plots(importances)


def importance_plots(importances: Mapping[str, Importance]) -> "dict[str, Figure]":
    """Returns the plot of the importance by file name; none if no feature has importance."""
    if not any(each.mean for each in importances.values()):
        return {}
    return {"importance.png": plot_importance(importances)}


def _roc(scored: Scored) -> "Figure":
    from sklearn.metrics import roc_curve  # noqa: PLC0415 - takes a second

    figure, (panel,) = make_panels(1)
    for color, i in zip(COLORS, measured_classes(scored)[:_CURVES], strict=False):
        false, true, _ = roc_curve(is_class(scored, i), scored.scores[:, i])
        panel.plot(false, true, color=color, label=scored.classes[i])
    panel.plot([0, 1], [0, 1], color="black", lw=0.8, ls=":")
    panel.set(title="ROC", ylabel="true positive rate")
    return _finished(figure, panel, "false positive rate")


def _precision_recall(scored: Scored) -> "Figure":
    from sklearn.metrics import precision_recall_curve  # noqa: PLC0415 - takes a second

    figure, (panel,) = make_panels(1)
    for color, i in zip(COLORS, measured_classes(scored)[:_CURVES], strict=False):
        precision, recall, _ = precision_recall_curve(is_class(scored, i), scored.scores[:, i])
        panel.plot(recall, precision, color=color, label=scored.classes[i])
    panel.set(title="precision and recall", ylabel="precision", ylim=(0, 1.02))
    return _finished(figure, panel, "recall")


def _calibration(scored: Scored) -> "Figure":
    """Plots the share of rows with a class, by the predicted probability in ten bins."""
    figure, (panel,) = make_panels(1)
    for color, i in zip(COLORS, measured_classes(scored)[:_CURVES], strict=False):
        chance, held = scored.scores[:, i], is_class(scored, i)
        bins = np.minimum((chance * _BINS).astype(int), _BINS - 1)
        used = np.unique(bins)
        means = [(chance[bins == b].mean(), held[bins == b].mean()) for b in used]
        panel.plot(
            *zip(*means, strict=True), color=color, marker="o", ms=4, label=scored.classes[i]
        )
    panel.plot([0, 1], [0, 1], color="black", lw=0.8, ls=":")
    panel.set(title="calibration", ylabel="share of rows with the class")
    return _finished(figure, panel, "mean predicted probability")


def _confusion(scored: Scored) -> "Figure":
    figure, (panel,) = make_panels(1)
    counts = confusion(scored)
    panel.imshow(counts, cmap="Blues")
    if len(counts) <= _NAMED:
        panel.set_xticks(range(len(counts)), scored.classes, rotation=45, ha="right")
        panel.set_yticks(range(len(counts)), scored.classes)
        for (row, column), count in np.ndenumerate(counts):
            is_dark = count > counts.max() / 2
            color = "white" if is_dark else "black"
            panel.text(column, row, f"{count:,}", ha="center", va="center", color=color)
    panel.set(title="rows by class", ylabel="true class")
    figure.supxlabel("predicted class", fontsize="medium")
    return figure


def _residuals(scored: Scored) -> "Figure":
    figure, (left, right) = make_panels(2)
    errors = scored.prediction.astype(float) - scored.truth.astype(float)
    left.hist(errors, bins=40, color=COLORS[0])
    left.axvline(0, color="black", lw=0.8)
    left.set(title="predicted minus true value", ylabel="rows of the test part")
    right.plot(scored.prediction, errors, ".", ms=2, color=COLORS[0], alpha=0.5)
    right.axhline(0, color="black", lw=0.8)
    right.set(title="error by predicted value")
    finish_panels(figure, [left, right], x="")
    return figure


def _clusters(scored: Scored) -> "Figure":
    figure, (panel,) = make_panels(1)
    names, counts = np.unique(scored.prediction, return_counts=True)
    panel.bar(list(map(str, names)), counts, color=COLORS[0])
    panel.set(title="rows of the test part by cluster", ylabel="rows")
    finish_panels(figure, [panel], x="cluster")
    return figure


def plot_importance(importances: Mapping[str, Importance]) -> "Figure":
    """Plots the mean importance of the first 20 features, with the spread over the repeats."""
    figure, (panel,) = make_panels(1)
    shown = dict(list(importances.items())[:_FEATURES][::-1])
    values = shown.values()
    panel.barh(
        list(shown),
        [each.mean for each in values],
        xerr=[each.spread for each in values],
        color=COLORS[0],
        ecolor=COLORS[2],
    )
    panel.set(title="importance of the features")
    finish_panels(figure, [panel], x="loss that a shuffle of the feature adds")
    return figure


def _finished(figure: "Figure", panel: "object", x: str) -> "Figure":
    finish_panels(figure, [panel], x=x)  # type: ignore[list-item]
    if panel.get_legend_handles_labels()[1]:  # type: ignore[attr-defined]
        panel.legend(frameon=False)  # type: ignore[attr-defined]
    return figure
