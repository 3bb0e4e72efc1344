"""Categorical encoders: one-hot for single values, multi-hot for lists."""

import re
from typing import ClassVar, Literal

from pydantic import Field

from matchlake.features.encoder import Encoder
from matchlake.features.requests import CategoryRequest

_SINGLE = r"(string.*|tinyint|smallint|int|bigint|boolean|date)"


class CategoryEncoder(Encoder):
    """The options of the encoders that give one indicator column per category.

    Categories are ordered by their number of rows, equal ones by the bytes of their text.
    """

    max_categories: int = Field(1000, ge=1)
    """Keep at most this many categories, the most frequent ones."""
    min_rows: int = Field(1, ge=1)
    """Keep only categories with at least this many rows."""
    min_coverage: float = Field(1.0, gt=0, le=1)
    """Keep the most frequent categories until they cover this fraction of the values."""
    handle_null: Literal["zero", "indicator", "error", "mode"] = "zero"
    """What a null becomes: zero in every column, a column `NAME_null` of its own, an error, or the
    most frequent category at fit."""
    handle_unknown: Literal["ignore", "indicator", "error"] = "ignore"
    """What a value without a column becomes, because it was not in the data at fit or is beyond
    the limits: zero in every column, a column `NAME_unknown` of its own, or an error."""
    drop: Literal["first"] | None = None
    """`first` gives the first category no column, for models that need columns that do not add up
    to 1. A null or unknown value of all zeros then looks like that category, also to the
    inverse."""

    form: ClassVar[str] = "categories"
    is_list: ClassVar[bool] = False

    def request(self, column: str, known: tuple[str, ...]) -> CategoryRequest:
        """The counts of the most frequent values and of the `known` ones."""
        return CategoryRequest(column, self.is_list, self.max_categories, self.min_rows, known)

    def fixed_names(self, name: str) -> tuple[str, ...]:  # noqa: ARG002
        """None: the columns are named by the categories."""
        return ()


class OneHot(CategoryEncoder):
    """One indicator column per category of a string, integer, boolean or date column."""

    kind: Literal["one_hot"] = "one_hot"

    takes: ClassVar[str] = "a string, an integer, a boolean or a date"
    type_pattern: ClassVar[re.Pattern[str]] = re.compile(_SINGLE)


class MultiHot(CategoryEncoder):
    """One indicator column per category of a list column: 1 where the list contains it.

    `handle_null` is about a list that is null; nulls inside a list do not count.
    """

    kind: Literal["multi_hot"] = "multi_hot"

    is_list: ClassVar[bool] = True
    takes: ClassVar[str] = "a list of strings, integers, booleans or dates"
    type_pattern: ClassVar[re.Pattern[str]] = re.compile(f"array<{_SINGLE}>")
