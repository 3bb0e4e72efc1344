"""The dashboards of the bundle: a report as the JSON of an AI/BI dashboard, `.lvdash.json`.

The queries name tables as `schema.table`. The bundle's `dataset_catalog` sets the catalog of the
target. A page has six columns.
"""

import json
from collections.abc import Iterator, Sequence
from typing import Any

from matchlake.reports.spec import Field, ReportSpec, Widget

_COLUMNS = 6
_VERSIONS = {"counter": 2, "table": 2, "bar": 3, "line": 3}
_SIZES = {"counter": (2, 3), "bar": (3, 6), "line": (3, 6), "table": (6, 7)}
"""Columns and rows that a widget takes."""
_FORMATS: dict[str, dict[str, Any]] = {
    "percent": {
        "type": "number-percent",
        "decimalPlaces": {"type": "max", "places": 1},
    },
    "number": {
        "type": "number-plain",
        "abbreviation": "none",
        "decimalPlaces": {"type": "max", "places": 3},
    },
}
_HEADING = 2


def render_dashboard(spec: ReportSpec) -> str:
    """The dashboard of a report, as the text of its file."""
    page = {
        "name": spec.name,
        "displayName": spec.title,
        "pageType": "PAGE_TYPE_CANVAS",
        "layout": [_heading(spec), *_parameters(spec), *_placed(spec)],
    }
    data = {"datasets": [_dataset(spec, each) for each in spec.widgets], "pages": [page]}
    return json.dumps(data, indent=2, ensure_ascii=False) + "\n"


def _dataset(spec: ReportSpec, widget: Widget) -> dict[str, Any]:
    parameters = [
        {
            "displayName": label,
            "keyword": name,
            "dataType": "STRING",
            "defaultSelection": {"values": {"dataType": "STRING", "values": [{"value": ""}]}},
        }
        for name, label in spec.parameters.items()
    ]
    data: dict[str, Any] = {
        "name": widget.name,
        "displayName": widget.title,
        "queryLines": [f"{line.strip()} " for line in widget.query.splitlines()],
    }
    return data | ({"parameters": parameters} if parameters else {})


def _heading(spec: ReportSpec) -> dict[str, Any]:
    text = {
        "name": "heading",
        "multilineTextboxSpec": {"lines": [f"## {spec.title}\n", spec.about]},
    }
    return {"widget": text, "position": _position(0, 0, _COLUMNS, _HEADING)}


def _parameters(spec: ReportSpec) -> Iterator[dict[str, Any]]:
    """One field for each parameter; it sets the parameter of every data set."""
    for place, (name, label) in enumerate(spec.parameters.items()):
        queries = [
            {
                "name": f"{widget.name}_{name}",
                "query": {
                    "datasetName": widget.name,
                    "parameters": [{"name": name, "keyword": name}],
                    "disaggregated": False,
                },
            }
            for widget in spec.widgets
        ]
        fields = [{"parameterName": name, "queryName": query["name"]} for query in queries]
        widget = {
            "name": f"choose_{name}",
            "queries": queries,
            "spec": {
                "version": 2,
                "widgetType": "filter-single-select",
                "encodings": {"fields": fields},
                "frame": {"showTitle": True, "title": label},
            },
        }
        yield {"widget": widget, "position": _position(2 * place, _HEADING, 2, 1)}


def _placed(spec: ReportSpec) -> Iterator[dict[str, Any]]:
    """The widgets in rows, left to right."""
    x, y, tallest = 0, _HEADING + (1 if spec.parameters else 0), 0
    for widget in spec.widgets:
        width, height = _SIZES[widget.kind]
        if x + width > _COLUMNS:
            x, y, tallest = 0, y + tallest, 0
        yield {"widget": _widget(widget), "position": _position(x, y, width, height)}
        x, tallest = x + width, max(tallest, height)


def _position(x: int, y: int, width: int, height: int) -> dict[str, int]:
    return {"x": x, "y": y, "width": width, "height": height}


def _widget(widget: Widget) -> dict[str, Any]:
    fields = [{"name": each.name, "expression": f"`{each.name}`"} for each in widget.fields]
    query = {"datasetName": widget.name, "fields": fields, "disaggregated": True}
    frame = {"showTitle": True, "title": widget.title}
    if widget.note:
        frame |= {"showDescription": True, "description": widget.note}
    return {
        "name": widget.name,
        "queries": [{"name": "main_query", "query": query}],
        "spec": {
            "version": _VERSIONS[widget.kind],
            "widgetType": widget.kind,
            "encodings": _encodings(widget.kind, widget.fields),
            "frame": frame,
        },
    }


def _encodings(kind: str, fields: Sequence[Field]) -> dict[str, Any]:
    match kind:
        case "counter":
            return {"value": _encoding(fields[0])}
        case "table":
            return {"columns": [_encoding(each) for each in fields]}
        case "bar":
            category = {**_scaled(fields[0], "categorical")}
            category["scale"]["sort"] = {"by": "natural-order-reversed"}
            return {"x": _scaled(fields[1], "quantitative"), "y": category}
    x, y = fields[:2]
    scale = "temporal" if x.kind == "time" else "quantitative"
    encodings = {"x": _scaled(x, scale), "y": _scaled(y, "quantitative")}
    return encodings | ({"color": _scaled(fields[2], "categorical")} if fields[2:] else {})


def _encoding(field: Field) -> dict[str, Any]:
    data: dict[str, Any] = {"fieldName": field.name, "displayName": field.label}
    return data | ({"format": _FORMATS[field.kind]} if field.kind in _FORMATS else {})


def _scaled(field: Field, scale: str) -> dict[str, Any]:
    return {**_encoding(field), "scale": {"type": scale}}
