"""Pictures of what `describe` finds."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import StrMethodFormatter

_COLOUR, _GREY = "#31688e", "#c4c4c4"
_REST = ("other", "null", "not_finite")
_LONGEST = 24
_LEAST_HEIGHT, _BAR_HEIGHT = 2.4, 0.22
_ROOM = 1.18


def draw_column(rows: pd.DataFrame, title: str) -> Figure:
    """A histogram of densities, or a bar chart of counts, of one column's rows of `describe`.

    `title` is the column's name, with that of its table.
    """
    histogram = rows[rows["kind"] == "histogram"].sort_values("bin_low")
    bars = rows[rows["kind"] == "bar"].sort_values("rows", ascending=False)
    rest = rows[rows["kind"].isin(_REST)].sort_values("kind", ascending=False)
    height = max(_LEAST_HEIGHT, 1 + _BAR_HEIGHT * (len(bars) + len(rest)))
    figure = Figure(figsize=(7, 4 if len(histogram) else height), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    if len(histogram):
        _draw_histogram(axes, histogram)
        axes.set_xlabel(_plain(title.rpartition(".")[2]))
    else:
        _draw_bars(axes, bars, rest)
    gone = rows.loc[rows["kind"].isin(["null", "not_finite"]), "rows"].sum()
    missing = f", {gone:,} of them missing" if gone else ""
    axes.set_title(_plain(f"{title}: {rows['rows'].sum():,} values{missing}"), loc="left")
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def _draw_histogram(axes: Axes, bins: pd.DataFrame) -> None:
    width = bins["bin_high"] - bins["bin_low"]
    low, density = bins["bin_low"], bins["density"]
    axes.bar(low, density, width, align="edge", color=_COLOUR, edgecolor="white", linewidth=0.5)
    axes.set_ylabel(f"density, in bins of {width.iloc[0]:g}")


def _draw_bars(axes: Axes, bars: pd.DataFrame, rest: pd.DataFrame) -> None:
    """A bar a category; longer ones of the rest are cut at the edge and tell their number."""
    shown = pd.concat([bars, rest])
    longest = (bars if len(bars) else rest)["rows"].max()
    lengths = shown["rows"].clip(upper=longest * _ROOM)
    places = range(len(shown))
    axes.barh(places, lengths, color=[_COLOUR] * len(bars) + [_GREY] * len(rest))
    axes.set_yticks(places, [_label(row) for row in shown.itertuples()], fontsize=8)
    axes.invert_yaxis()
    axes.set_xlim(0, longest * _ROOM)
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    axes.set_xlabel("rows")
    for place, count, share in zip(places, shown["rows"], shown["share"], strict=True):
        at, side = (longest * _ROOM, "right") if count > longest else (count, "left")
        axes.text(at, place, f" {count:,} ({share:.1%}) ", va="center", ha=side, fontsize=7)


def _label(row: object) -> str:
    category = getattr(row, "category", None)
    if category is None:
        return f"({getattr(row, 'kind', '')})"
    return _plain(str(category)[:_LONGEST]) or "(empty)"


def _plain(text: str) -> str:
    """`text` for matplotlib, where a dollar sign would start a formula."""
    return text.replace("$", r"\$")
