"""Plots of column profiles, and the palette and panels of every plot of the product.

Matplotlib takes a second to import, so the functions that draw import it.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLORS = ("#1f5fa8", "#d1803c", "#7a8794", "#3f8f5b", "#8b5aa0")
"""The palette of all plots."""
_GREY = "#c4c4c4"
_REST = ("other", "null", "not_finite")
_LONGEST = 24
_MIN_HEIGHT, _BAR_HEIGHT = 2.4, 0.22
_ROOM = 1.18


def make_panels(count: int) -> "tuple[Figure, list[Axes]]":
    """A figure with `count` panels, at most three per row."""
    from matplotlib.figure import Figure  # noqa: PLC0415

    columns = min(3, count)
    rows = -(-count // columns)
    figure = Figure(figsize=(max(5, 3.6 * columns), 1 + 2.6 * rows), layout="constrained")
    grid = list(figure.subplots(rows, columns, squeeze=False).flat)
    for spare in grid[count:]:
        spare.set_axis_off()
    return figure, grid[:count]


def finish_panels(figure: "Figure", panels: "Sequence[Axes]", x: str) -> None:
    """Gives all panels the same style, and the figure the label `x` of their common axis."""
    for panel in panels:
        panel.spines[["top", "right"]].set_visible(False)
        panel.grid(axis="y", alpha=0.25)
        panel.set_axisbelow(True)
    figure.supxlabel(x, fontsize="medium")


def draw_column(rows: pd.DataFrame, title: str) -> "Figure":
    """A histogram, a timeline or a bar chart of one column's rows of `profile`.

    `title` is the column's name, with the name of its table.
    """
    from matplotlib.figure import Figure  # noqa: PLC0415

    histogram = rows[rows["kind"].isin(["histogram", "timeline"])].sort_values("bin_low")
    bars = rows[rows["kind"] == "bar"].sort_values("rows", ascending=False)
    rest = rows[rows["kind"].isin(_REST)].sort_values("kind", ascending=False)
    height = max(_MIN_HEIGHT, 1 + _BAR_HEIGHT * (len(bars) + len(rest)))
    figure = Figure(figsize=(7, 4 if len(histogram) else height), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    if len(histogram) and histogram["kind"].iloc[0] == "timeline":
        _draw_timeline(axes, histogram)
    elif len(histogram):
        _draw_histogram(axes, histogram)
        axes.set_xlabel(_plain(title.rpartition(".")[2]))
    else:
        _draw_bars(axes, bars, rest)
    gone = rows.loc[rows["kind"].isin(["null", "not_finite"]), "rows"].sum()
    missing = f", {gone:,} of them missing" if gone else ""
    axes.set_title(_plain(f"{title}: {rows['rows'].sum():,} values{missing}"), loc="left")
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def _draw_histogram(axes: "Axes", bins: pd.DataFrame) -> None:
    width = bins["bin_high"] - bins["bin_low"]
    low, density = bins["bin_low"], bins["density"]
    axes.bar(low, density, width, align="edge", color=COLORS[0], edgecolor="white", linewidth=0.5)
    axes.set_ylabel(f"Density, in bins of {width.iloc[0]:g}")


def _draw_timeline(axes: "Axes", bins: pd.DataFrame) -> None:
    """Rows by day, or by a number of days."""
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter  # noqa: PLC0415
    from matplotlib.ticker import StrMethodFormatter  # noqa: PLC0415

    days = int(bins["bin_high"].iloc[0] - bins["bin_low"].iloc[0])
    begin = pd.to_datetime(bins["bin_low"], unit="D").to_numpy()
    width = np.timedelta64(days, "D")
    axes.bar(
        begin, bins["rows"], width, align="edge", color=COLORS[0], edgecolor="white", linewidth=0.5
    )
    if len(bins) == 1:
        axes.set_xlim(begin[0] - width, begin[0] + 2 * width)
    locator = AutoDateLocator()  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))  # type: ignore[no-untyped-call]
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    axes.set_xlabel("Day (UTC)")
    axes.set_ylabel("Rows per day" if days == 1 else f"Rows per {days} days")


def _draw_bars(axes: "Axes", bars: pd.DataFrame, rest: pd.DataFrame) -> None:
    """One bar per category; a longer bar of the rest ends at the edge, with its number."""
    from matplotlib.ticker import StrMethodFormatter  # noqa: PLC0415

    shown = pd.concat([bars, rest])
    longest = (bars if len(bars) else rest)["rows"].max()
    lengths = shown["rows"].clip(upper=longest * _ROOM)
    positions = range(len(shown))
    axes.barh(positions, lengths, color=[COLORS[0]] * len(bars) + [_GREY] * len(rest))
    axes.set_yticks(positions, [_label(row) for row in shown.itertuples()], fontsize=8)
    axes.invert_yaxis()
    axes.set_xlim(0, longest * _ROOM)
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    axes.set_xlabel("Rows")
    for position, count, fraction in zip(positions, shown["rows"], shown["fraction"], strict=True):
        at, side = (longest * _ROOM, "right") if count > longest else (count, "left")
        axes.text(at, position, f" {count:,} ({fraction:.1%}) ", va="center", ha=side, fontsize=7)


def _label(row: object) -> str:
    category = getattr(row, "category", None)
    if category is None:
        return f"({getattr(row, 'kind', '')})"
    return _plain(str(category)[:_LONGEST]) or "(empty)"


def _plain(text: str) -> str:
    """`text` with dollar signs escaped, which would start a formula in matplotlib."""
    return text.replace("$", r"\$")
