"""What a fitted feature gives: columns, each with its type and its meaning."""

from typing import Literal, NamedTuple


class Output(NamedTuple):
    """One output column of a fitted feature set."""

    name: str
    type: Literal["DOUBLE", "INT"]
    comment: str
    feature: str
    source: str
    """The column it was made from."""
    role: Literal["number", "category", "null", "other"]
    category: str | None = None
    """The category that the column stands for."""
    rows: int | None = None
    """Rows at fit that had the category, no value, or another value."""
