"""Runs the queries of a report, and checks that every field has its kind and rows."""

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

import pandas as pd
from pyspark.errors import PySparkException
from pyspark.sql import Column
from pyspark.sql import functions as F
from pyspark.sql.types import (
    DataType,
    DateType,
    NumericType,
    StringType,
    TimestampType,
)

from matchlake.errors import ConfigError
from matchlake.io.delta import Lakehouse
from matchlake.reports.charts import drawable
from matchlake.reports.spec import Field, FieldKind, ReportSpec, Widget
from matchlake.schemas import quote_identifier, quote_text

MAX_ROWS = 2_000
"""The maximum number of rows of a widget. The page shows a note if there are more."""
_HELD = ("1700-01-01", "2262-01-01")
_TYPES: dict[FieldKind, tuple[type[DataType], ...]] = {
    "text": (StringType,),
    "number": (NumericType,),
    "percent": (NumericType,),
    "time": (TimestampType, DateType),
}


class Problem(NamedTuple):
    """Why a widget would show nothing, or something wrong."""

    report: str
    widget: str
    text: str

    def __str__(self) -> str:
        return f"{self.report}.{self.widget}: {self.text}"


class WidgetRows(NamedTuple):
    """The rows of a widget; the reason if there are none."""

    widget: Widget
    rows: pd.DataFrame
    reason: str = ""
    types: Mapping[str, DataType] = MappingProxyType({})
    """The types of the query's columns; empty if it was not run."""
    is_cut: bool = False
    """Whether the query has more rows than these."""


def read_report(
    lake: Lakehouse, spec: ReportSpec, arguments: Mapping[str, str] | None = None
) -> list[WidgetRows]:
    """The rows of each widget; one Spark job or more per widget whose tables exist.

    `arguments` has a value for each parameter of the report. Raises ConfigError without one.
    """
    missing = [name for name in spec.parameters if name not in (arguments or {})]
    if missing:
        raise ConfigError(
            f"The report {spec.name} needs {', '.join(missing)}: give --{missing[0].split('_')[0]}."
        )
    given = {name: (arguments or {})[name] for name in spec.parameters}
    return [_read(lake, widget, given) for widget in spec.widgets]


def problems_of(spec: ReportSpec, found: Sequence[WidgetRows]) -> Iterator[Problem]:
    """What makes a widget blank or wrong: a missing table, column, kind, or value.

    A field passes if its column has the declared kind, and a value in at least one row.
    """
    for each in found:
        texts = [each.reason] if each.reason else [_wrong(f, each) for f in each.widget.fields]
        yield from (Problem(spec.name, each.widget.name, text) for text in texts if text)


def _read(lake: Lakehouse, widget: Widget, arguments: Mapping[str, str]) -> WidgetRows:
    absent = [name for name in widget.needs if not lake.exists(name)]
    names = [field.name for field in widget.fields]
    if absent:
        reason = f"There is no {', '.join(absent)} yet. {widget.filled_by}".strip()
        return WidgetRows(widget, pd.DataFrame(columns=names), reason)
    try:
        frame = lake.spark.sql(_with(arguments, widget.query)).limit(MAX_ROWS + 1)
        types = {column.name: column.dataType for column in frame.schema}
        rows = frame.withColumns(_held_times(types)).toPandas()
    except PySparkException as error:
        reason = f"The query fails: {str(error).strip().splitlines()[0]}"
        return WidgetRows(widget, pd.DataFrame(columns=names), reason)
    reason = ""
    if not _can_be_shown(widget, rows):
        of_whom = "".join(f" for {name} {value}" for name, value in arguments.items())
        tables = " and ".join(widget.needs)
        reason = f"No rows in {tables}{of_whom}. {widget.filled_by}".strip()
    return WidgetRows(widget, rows.iloc[:MAX_ROWS], reason, types, len(rows) > MAX_ROWS)


def _with(arguments: Mapping[str, str], query: str) -> str:
    """The query with each parameter as a quoted text."""
    for name, value in arguments.items():
        query = query.replace(f":{name}", quote_text(value))
    return query


def _can_be_shown(widget: Widget, rows: pd.DataFrame) -> bool:
    is_chart = widget.kind in ("bar", "line")
    if is_chart and {field.name for field in widget.fields} <= {*rows.columns}:
        return not drawable(widget, rows).empty
    return not rows.isna().all(axis=None)


def _held_times(types: Mapping[str, DataType]) -> dict[str, Column]:
    """The columns of times, null outside of the range that pandas holds."""
    times = [name for name, kind in types.items() if isinstance(kind, _TYPES["time"])]
    quoted = {name: F.col(quote_identifier(name)) for name in times}
    return {name: F.when(each.between(*_HELD), each) for name, each in quoted.items()}


def _wrong(field: Field, found: WidgetRows) -> str:
    """What is wrong with a field; empty if the field is valid."""
    if field.name not in found.types:
        return f"{field.name} is not a column of the query; it has {', '.join(found.types)}"
    if not isinstance(found.types[field.name], _TYPES[field.kind]):
        kind = found.types[field.name].simpleString()
        return f"{field.name} is declared as {field.kind}, and the query gives {kind}"
    if found.rows[field.name].isna().all():
        return f"{field.name} is null in every row"
    return ""
