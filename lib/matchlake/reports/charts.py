"""Draws bars and lines as SVG. Colors are CSS variables, so that a page sets light or dark.

Matplotlib writes colors as numbers. The charts are drawn in placeholder colors, which then become
`var(--...)`. Texts stay texts: they can be selected, searched and read aloud.
"""

import io
import re
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from matchlake.reports.spec import Widget

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_SERIES = 5
"""Maximum number of lines with their own color; further lines share the last color."""
_INK, _RULE = "#010203", "#040506"
_COLORS = tuple(f"#0a0b{number:02x}" for number in range(1, _SERIES + 1))
_VARIABLES = {
    _INK: "var(--ink)",
    _RULE: "var(--rule)",
    **{color: f"var(--series-{number})" for number, color in enumerate(_COLORS, 1)},
}
_WIDTH, _LINE_HEIGHT, _BAR_HEIGHT = 6.4, 2.7, 0.3
_LONGEST = 34
_FEWEST = 3
"""Bars for which a chart has room, so that one bar is not as high as the chart."""
_STYLE: Any = {
    "svg.fonttype": "none",
    "text.parse_math": False,
    "font.size": 10,
    "text.color": _INK,
    "axes.labelcolor": _INK,
    "axes.edgecolor": _RULE,
    "xtick.color": _INK,
    "ytick.color": _INK,
}
_GROUP_ID = re.compile(r'(<g) id="[^"]*"')
_TAG = re.compile(r"<[^>]*>")
_SIZE = re.compile(r'<svg [^>]*?viewBox="([^"]*)"[^>]*>', re.DOTALL)


def drawable(widget: Widget, rows: pd.DataFrame) -> pd.DataFrame:
    """The rows that a chart shows: those with a finite number, and of a line also with an x."""
    first, number = widget.fields[:2]
    values = pd.to_numeric(rows[number.name], errors="coerce").astype(float)
    shown = rows.assign(**{number.name: values})[np.isfinite(values)]
    return shown if widget.kind == "bar" else shown.dropna(subset=[first.name])


def draw(widget: Widget, rows: pd.DataFrame) -> str:
    """The chart of a bar or a line widget as an SVG element."""
    import matplotlib as mpl  # noqa: PLC0415 - takes a second to import
    from matplotlib.figure import Figure  # noqa: PLC0415

    shown = drawable(widget, rows)
    bars = 0.8 + _BAR_HEIGHT * max(len(shown), _FEWEST)
    height = bars if widget.kind == "bar" else _LINE_HEIGHT
    with mpl.rc_context({**_STYLE, "svg.hashsalt": widget.name}):
        figure = Figure(figsize=(_WIDTH, height), layout="constrained")
        axes = figure.add_subplot()
        if widget.kind == "bar":
            _draw_bars(axes, widget, shown)
        else:
            _draw_lines(axes, widget, shown)
        axes.spines[["top", "right"]].set_visible(False)
        target = io.StringIO()
        with warnings.catch_warnings():
            # The browser of the reader has the glyphs that matplotlib's font lacks.
            warnings.filterwarnings("ignore", message="Glyph .* missing from font")
            figure.savefig(target, format="svg", transparent=True, metadata={"Date": None})
    return _as_element(target.getvalue(), widget.title)


def _draw_bars(axes: "Axes", widget: Widget, rows: pd.DataFrame) -> None:
    category, number = widget.fields
    values = rows[number.name]
    places = range(len(rows))
    axes.barh(places, values, color=_COLORS[0], height=0.66)
    axes.set_yticks(places, [_short(_plain(text)) for text in rows[category.name]])
    axes.set_ylim(max(len(rows), _FEWEST) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.xaxis.set_visible(False)
    axes.spines["bottom"].set_visible(False)
    axes.set_xlim(min(0.0, values.min()), max(values.max(), 1e-9) * 1.16)
    for place, value in zip(places, values, strict=True):
        text = f"{value:.1%}" if number.kind == "percent" else number_text(value)
        at = (max(value, 0.0), place)
        axes.annotate(text, at, (4, 0), textcoords="offset points", va="center")


def _draw_lines(axes: "Axes", widget: Widget, rows: pd.DataFrame) -> None:
    x, y = widget.fields[:2]
    by = widget.fields[2].name if len(widget.fields) > 2 else None  # noqa: PLR2004
    groups = [("", rows)] if by is None else list(rows.groupby(rows[by].map(_plain)))
    for place, (_, each) in enumerate(groups):
        ordered = each.sort_values(x.name)
        axes.plot(
            ordered[x.name].to_numpy(),
            ordered[y.name].to_numpy(),
            color=_COLORS[min(place, _SERIES - 1)],
            marker="o" if len(ordered) <= 40 else "",  # noqa: PLR2004 - single points must show
            markersize=4,
            linewidth=1.8,
        )
    axes.grid(axis="y", color=_RULE, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.set_xlabel(x.label)
    axes.set_ylabel(y.label)
    if y.kind != "percent" and rows[y.name].min() >= 0 and by is not None:
        axes.set_ylim(bottom=0)
    if x.kind == "time" and rows[x.name].nunique() == 1:
        day = pd.Timedelta(hours=12)
        axes.set_xlim(rows[x.name].iloc[0] - day, rows[x.name].iloc[0] + day)
    _format_axes(axes, widget)
    if by is not None:
        # Passes the labels to the legend, because matplotlib leaves out lines whose label begins
        # with _.
        names = [_short(str(name)) for name, _ in groups]
        lines = axes.get_lines()
        axes.legend(
            lines, names, frameon=False, loc="upper left", bbox_to_anchor=(0, 1.18), ncols=4
        )


def _format_axes(axes: "Axes", widget: Widget) -> None:
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter  # noqa: PLC0415
    from matplotlib.ticker import FuncFormatter, MaxNLocator  # noqa: PLC0415

    if widget.fields[0].kind == "time":
        locator = AutoDateLocator(maxticks=7)  # type: ignore[no-untyped-call]
        axes.xaxis.set_major_locator(locator)
        axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))  # type: ignore[no-untyped-call]
    else:
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    is_fraction = widget.fields[1].kind == "percent"
    axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.yaxis.set_major_formatter(
        FuncFormatter(lambda v, _: f"{v:.0%}" if is_fraction else number_text(v))
    )


def number_text(value: float) -> str:
    """A number for readers: thousands separated, and at most four digits that matter."""
    if not abs(value) < 1e15:  # noqa: PLR2004 - beyond, doubles skip integers
        return f"{value:.4g}"
    if value == int(value):
        return f"{int(value):,}"
    return f"{value:,.1f}" if abs(value) >= 1000 else f"{value:.4g}"  # noqa: PLR2004


def _plain(value: Any) -> str:
    """The text of a category without control characters."""
    text = "" if pd.isna(value) else str(value)
    return "".join(each if each.isprintable() else " " for each in text).strip() or "(empty)"


def _short(text: str) -> str:
    """Removes the middle of a long text: the end of `table.column` names the column."""
    half = _LONGEST // 2
    return text if len(text) <= _LONGEST else f"{text[:half]}…{text[1 - half :]}"


def _as_element(svg: str, title: str) -> str:
    """The SVG without its prologue and with CSS variables as colors."""
    from html import escape  # noqa: PLC0415 - named where it guards

    body = svg[svg.index("<svg ") :]
    label = escape(title, quote=True)
    body = _SIZE.sub(rf'<svg viewBox="\1" role="img" aria-label="{label}">', body, count=1)
    body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
    return _GROUP_ID.sub(r"\1", _TAG.sub(_colored, body))


def _colored(tag: re.Match[str]) -> str:
    """Replaces colors in a tag by variables; text that looks like a color stays."""
    text = tag[0]
    for color, variable in _VARIABLES.items():
        text = text.replace(color, variable)
    return text
