"""Pictures of what `describe` finds."""

import pandas as pd
from matplotlib.figure import Figure

_COLOUR, _GREY = "#31688e", "#b0b0b0"
_LONGEST = 24


def draw_column(rows: pd.DataFrame, title: str) -> Figure:
    """A histogram of densities, or a bar chart of counts, of one column's rows of `describe`."""
    figure = Figure(figsize=(7, 4), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    histogram = rows[rows["kind"] == "histogram"].sort_values("bin_low")
    if len(histogram):
        width = histogram["bin_high"] - histogram["bin_low"]
        axes.bar(
            histogram["bin_low"],
            histogram["density"],
            width,
            align="edge",
            color=_COLOUR,
            edgecolor="white",
            linewidth=0.5,
        )
        axes.set_ylabel(f"density (bins of {width.iloc[0]:g})")
    else:
        bars = rows[rows["kind"] == "bar"].sort_values("rows", ascending=False)
        rest = rows[rows["kind"].isin(["other", "null"])].sort_values("kind", ascending=False)
        shown = pd.concat([bars, rest])
        labels = [_label(row) for row in shown.itertuples()]
        colours = [_COLOUR] * len(bars) + [_GREY] * len(rest)
        axes.barh(range(len(shown)), shown["rows"], color=colours)
        axes.set_yticks(range(len(shown)), labels, fontsize=8)
        axes.invert_yaxis()
        axes.set_xlabel("rows")
    gone = rows.loc[rows["kind"].isin(["null", "not_finite"]), "rows"].sum()
    total = rows["rows"].sum()
    axes.set_title(f"{title}: {total:,} values" + (f", {gone:,} missing" if gone else ""))
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def _label(row: object) -> str:
    category = getattr(row, "category", None)
    text = f"({getattr(row, 'kind', '')})" if category is None else str(category) or "(empty)"
    # A dollar sign would start a formula in matplotlib.
    return text[:_LONGEST].replace("$", r"\$")
