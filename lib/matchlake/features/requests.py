"""What a fit asks of a table, and what it gets: plain data, without Spark."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class NumberRequest:
    """A request for the counts, the range and further statistics of a numeric column."""

    column: str
    needs: tuple[str, ...] = ()
    """mean, std, log_mean, log_std, mode."""
    quantiles: tuple[float, ...] = ()
    """Approximate quantiles, as fractions of the rows."""


@dataclass(frozen=True)
class CategoryRequest:
    """A request for the most frequent values of a column, or of the elements of a list column."""

    column: str
    is_list: bool
    limit: int
    min_rows: int = 1
    known: tuple[str, ...] = ()
    """Values that are counted even if they are rare."""


Request = NumberRequest | CategoryRequest


@dataclass(frozen=True)
class CategoryCounts:
    """Rows per value, the most frequent first; equal counts are ordered by the value's bytes."""

    present: int
    """Rows that are not null; for lists, elements that are not null, counted once per list."""
    missing: int
    """Rows that are null."""
    values: tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class Statistics:
    """The answers to all requests, by the names of the requests."""

    rows: int
    found: dict[str, Any] = field(default_factory=dict)
    """Arguments of NumberStatistics (None where no value counted), or CategoryCounts."""
