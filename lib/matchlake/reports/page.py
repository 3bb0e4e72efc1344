"""Renders a report as one HTML file, without server, scripts or external resources.

Light or dark follows the reader's system; a print is always light. Every text of a table is
escaped.
"""

import math
from collections.abc import Hashable, Mapping, Sequence
from datetime import datetime
from html import escape
from importlib.resources import files

import pandas as pd

from matchlake.reports.charts import draw, number_text
from matchlake.reports.reading import MAX_ROWS, WidgetRows
from matchlake.reports.spec import Field, ReportSpec

_LONGEST = 300
_NOTHING = "\N{EN DASH}"


def render_page(
    sections: Sequence[tuple[ReportSpec, Sequence[WidgetRows]]],
    made_at: datetime,
    origin: str,
    arguments: dict[str, str] | None = None,
) -> str:
    """The page with one section per report.

    `origin` says whose data it is, such as the environment. `made_at` is in UTC.
    """
    specs = [spec for spec, _ in sections]
    title = specs[0].title if len(specs) == 1 else "matchlake reports"
    made = f"{escape(origin)} · {made_at:%Y-%m-%d %H:%M} UTC"
    links = "".join(f'<a href="#{s.name}">{escape(s.title)}</a>' for s in specs)
    body = "".join(_section(spec, rows, arguments or {}) for spec, rows in sections)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        f"<title>{escape(title)}</title><style>{_css()}</style></head><body>"
        f"<p class=origin>{made}</p>{f'<nav>{links}</nav>' if len(specs) > 1 else ''}"
        f"<main>{body}</main></body></html>\n"
    )


def _css() -> str:
    return (files("matchlake.reports") / "page.css").read_text("utf-8")


def _section(spec: ReportSpec, found: Sequence[WidgetRows], arguments: dict[str, str]) -> str:
    given = "".join(
        f"<p class=argument>{escape(label)}: <b>{escape(arguments.get(name, ''))}</b></p>"
        for name, label in spec.parameters.items()
    )
    counters = "".join(_counter(each) for each in found if each.widget.kind == "counter")
    others = "".join(_panel(each) for each in found if each.widget.kind != "counter")
    return (
        f'<section id="{spec.name}"><h1>{escape(spec.title)}</h1><p>{escape(spec.about)}</p>{given}'
        f"<div class=counters>{counters}</div><div class=panels>{others}</div></section>"
    )


def _counter(found: WidgetRows) -> str:
    widget = found.widget
    (field,) = widget.fields
    value = _NOTHING if found.reason else _cell(field, found.rows[field.name].iloc[0])
    note = found.reason or widget.note
    return (
        f"<div class=counter><h2>{escape(widget.title)}</h2>"
        f"<strong class={field.kind}>{value}</strong><p>{escape(note)}</p></div>"
    )


def _panel(found: WidgetRows) -> str:
    widget = found.widget
    if found.reason:
        content = f"<p class=nothing>Nothing to show. {escape(found.reason)}</p>"
    elif widget.kind == "table":
        content = _table(widget.fields, found.rows)
    else:
        content = draw(widget, found.rows)
    cut = f"Only the first {MAX_ROWS:,} rows are shown." if found.is_cut else ""
    text = f"{widget.note} {cut}".strip()
    note = f"<p class=note>{escape(text)}</p>" if text else ""
    return f'<div class="{widget.kind}"><h2>{escape(widget.title)}</h2>{content}{note}</div>'


def _table(fields: Sequence[Field], rows: pd.DataFrame) -> str:
    heads = "".join(f"<th class={field.kind}>{escape(field.label)}</th>" for field in fields)
    lines = "".join(_line(fields, row) for row in rows.to_dict("records"))
    inner = f"<thead><tr>{heads}</tr></thead><tbody>{lines}</tbody>"
    return f"<div class=scroll><table>{inner}</table></div>"


def _line(fields: Sequence[Field], row: Mapping[Hashable, object]) -> str:
    cells = (f"<td class={each.kind}>{_cell(each, row[each.name])}</td>" for each in fields)
    return f"<tr>{''.join(cells)}</tr>"


def _cell(field: Field, value: object) -> str:
    """A value as HTML."""
    if value is None or value is pd.NaT or (isinstance(value, float) and math.isnan(value)):
        return _NOTHING
    match field.kind:
        case "time":
            return f"{pd.Timestamp(value):%Y-%m-%d %H:%M}"  # type: ignore[arg-type]
        case "percent":
            return f"{float(value):.1%}"  # type: ignore[arg-type]
        case "number":
            return number_text(float(value))  # type: ignore[arg-type]
    text = str(value)
    return escape(text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…")
