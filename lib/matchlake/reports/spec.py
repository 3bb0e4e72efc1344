"""What a report declares: its widgets, and of each widget the query and the fields it shows."""

from dataclasses import dataclass, field
from typing import Literal

FieldKind = Literal["text", "number", "percent", "time"]
"""How a field is shown. `percent` is a fraction, 0.25 for 25 %. Times are in UTC."""
WidgetKind = Literal["counter", "bar", "line", "table"]
"""`counter`: one value. `bar`: a category and a number. `line`: a time or number, and a number."""


@dataclass(frozen=True)
class Field:
    """A column of a query that a widget shows."""

    name: str
    kind: FieldKind
    label: str


@dataclass(frozen=True)
class Widget:
    """One part of a report: a query, and how its columns are shown.

    A counter has one field. A bar has the category and the number. A line has x, y, and an optional
    third field of text that separates the lines. A table shows all its fields.
    """

    name: str
    title: str
    kind: WidgetKind
    needs: tuple[str, ...]
    """The tables and views of the query, as `schema.table`; no rows without one of them."""
    query: str
    fields: tuple[Field, ...]
    note: str = ""
    """One sentence that explains the numbers."""
    filled_by: str = ""
    """What must happen before there are rows; shown if there are none."""

    def __post_init__(self) -> None:
        counts = {"counter": (1,), "bar": (2,), "line": (2, 3)}.get(self.kind)
        if counts and len(self.fields) not in counts:
            raise ValueError(
                f"widget {self.name}: a {self.kind} has {' or '.join(map(str, counts))} field(s), "
                f"not {len(self.fields)}"
            )


@dataclass(frozen=True)
class ReportSpec:
    """A report: its title, what it answers, its widgets in reading order."""

    name: str
    title: str
    about: str
    widgets: tuple[Widget, ...]
    parameters: dict[str, str] = field(default_factory=dict)
    """Named parameters of the queries, `:name`, each with the label that a page shows."""

    @property
    def needs(self) -> tuple[str, ...]:
        """Every table and view that the report reads, sorted."""
        return tuple(sorted({name for widget in self.widgets for name in widget.needs}))
