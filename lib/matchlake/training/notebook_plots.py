"""Plots of tables and models for notebooks, from counts by Spark."""

import io
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from matchlake.profiling.plots import COLORS, finish_panels, make_panels
from matchlake.recommender.als.model import FactorModel
from matchlake.schemas import EVENT_TIME, ITEM_ID, RATING, USER_ID

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_LABELLED = 12


def show_in_jupyter() -> None:
    """Makes Jupyter show figures as pictures; does nothing outside Jupyter."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    if shell is not None:
        pictures = shell.display_formatter.formatters["image/png"]
        pictures.for_type_by_name("matplotlib.figure", "Figure", _png)


def _png(figure: "Figure") -> bytes:
    picture = io.BytesIO()
    figure.savefig(picture, format="png")
    return picture.getvalue()


def rating_counts(interactions: DataFrame) -> "Figure":
    """Plots ratings by value and by week; two Spark jobs."""
    counts = interactions.groupBy(RATING).count().orderBy(RATING).collect()
    week = F.date_trunc("week", EVENT_TIME).alias("week")
    weeks = interactions.groupBy(week).count().orderBy("week").collect()
    figure, (left, right) = make_panels(2)
    values = ["none" if row[0] is None else f"{row[0]:g}" for row in counts]
    left.bar(values, [row[1] for row in counts], color=COLORS[0])
    left.set(title="Ratings by value", xlabel="Rating", ylabel="Ratings")
    dated = [row for row in weeks if row[0] is not None]
    days = np.timedelta64(7, "D")
    right.bar(
        np.array([row[0] for row in dated], "datetime64[D]"),
        [row[1] for row in dated],
        days,
        align="edge",
        color=COLORS[1],
    )
    right.set(title="Ratings by week", xlabel="Week", ylabel="Ratings")
    right.tick_params(axis="x", rotation=45)
    finish_panels(figure, (left, right), x="")
    return figure


def activity(interactions: DataFrame) -> "Figure":
    """Plots ratings per user and per item, most active first; two Spark jobs."""
    figure, panels = make_panels(2)
    for panel, key, color in zip(panels, (USER_ID, ITEM_ID), COLORS, strict=False):
        counts = interactions.groupBy(key).count().select("count").toPandas()["count"]
        ordered = np.sort(counts.to_numpy())[::-1]
        panel.loglog(np.arange(1, len(ordered) + 1), ordered, color=color)
        half = int(np.searchsorted(np.cumsum(ordered), ordered.sum() / 2)) + 1
        panel.axvline(half, color="black", lw=0.8)
        name = key.removesuffix("_id")
        panel.set(
            title=f"{half:,} of {len(ordered):,} {name}s have half of all ratings",
            xlabel=f"{name.capitalize()}s, most ratings first",
            ylabel=f"Ratings of the {name}",
        )
        panel.title.set_fontsize("medium")
    finish_panels(figure, panels, x="")
    return figure


def batches(batch_log: DataFrame) -> "Figure":
    """Plots valid and quarantined records per batch, from the batch log; one Spark job."""
    sums = [F.sum(name).alias(name) for name in ("valid", "quarantined")]
    by = batch_log.groupBy("stream", "checkpoint_id", "batch_id")
    rows = by.agg(F.max("committed_at").alias("at"), *sums).orderBy("at", "batch_id").collect()
    figure, (panel,) = make_panels(1)
    positions = np.arange(len(rows))
    valid = np.array([row["valid"] for row in rows])
    panel.bar(positions, valid, color=COLORS[0], label="valid")
    quarantined = [row["quarantined"] for row in rows]
    panel.bar(positions, quarantined, bottom=valid, color=COLORS[1], label="quarantined")
    panel.set_xticks(positions, [f"{row['at']:%H:%M:%S}" for row in rows], rotation=45)
    panel.set(title="Records by batch", ylabel="Records")
    panel.legend(frameon=False)
    finish_panels(figure, [panel], x="Time of the commit (UTC)")
    return figure


def item_map(model: FactorModel, titles: DataFrame, most: int = 300) -> "Figure":
    """Plots items by the first two principal components of their factors, with titles.

    `titles` has item_id, title and ratings. The `most` most rated items are plotted. One Spark job.
    """
    rows = (
        model.item_factors.join(titles, ITEM_ID).orderBy(F.desc("ratings"), ITEM_ID).limit(most)
    ).collect()
    factors = np.array([row["factors"] for row in rows], dtype=np.float64)
    centred = factors - factors.mean(axis=0)
    points = centred @ np.linalg.svd(centred, full_matrices=False)[2][:2].T
    figure, (panel,) = make_panels(1)
    figure.set_size_inches(9, 6)
    sizes = np.sqrt([row["ratings"] for row in rows])
    panel.scatter(points[:, 0], points[:, 1], s=sizes * 2, color=COLORS[0], alpha=0.35, lw=0)
    for (x, y), row in zip(points[:_LABELLED], rows, strict=False):
        panel.annotate(row["title"] or row[ITEM_ID], (x, y), fontsize="small")
    panel.set(
        title="Items with similar rating patterns are close together",
        ylabel="Second principal component",
    )
    finish_panels(figure, [panel], x="First principal component")
    return figure


def pairs_of_bars(names: Sequence[str], sides: dict[str, Sequence[float]], label: str) -> "Figure":
    """Plots bars side by side for each name, such as the errors of two models."""
    figure, (panel,) = make_panels(1)
    figure.set_size_inches(max(6, 0.7 * len(names)), 4)
    width = 0.8 / len(sides)
    for at, (side, values) in enumerate(sides.items()):
        positions = np.arange(len(names)) + (at - (len(sides) - 1) / 2) * width
        panel.bar(positions, values, width, label=side, color=COLORS[at])
    panel.set_xticks(range(len(names)), names, rotation=45, ha="right")
    panel.set(ylabel=label)
    panel.legend(frameon=False)
    finish_panels(figure, [panel], x="")
    return figure
