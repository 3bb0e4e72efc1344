"""Categorical features: one-hot for single values, multi-hot for lists, and what they learned."""

from typing import Literal

from pydantic import Field

from matchlake.features.outputs import Output
from matchlake.features.sql import Dialect, refuse, text_input
from matchlake.params import Params


class CategoryFeature(Params):
    """What every categorical feature can choose.

    Categories are ordered by how many rows have them, equal ones by their bytes.
    """

    column: str | None = None
    """The column it reads; by default the one with the feature's own name."""
    max_categories: int = Field(1000, ge=1)
    """Keep at most this many categories, the most frequent."""
    min_rows: int = Field(1, ge=1)
    """Keep only categories that at least this many rows have."""
    nulls: Literal["zero", "column", "error"] = "zero"
    """A null: zero in every column, a column `NAME_null` of its own, or an error."""
    other: Literal["zero", "column", "error"] = "zero"
    """A value without a column, unseen at fit or cut by the limits: zero in every column, a column
    `NAME_other` of its own, or an error."""


class OneHot(CategoryFeature):
    """A column a category of a text, integer, boolean or date column: 1 where the row has it."""

    kind: Literal["one_hot"] = "one_hot"


class MultiHot(CategoryFeature):
    """A column a category of a list column: 1 where the list has it, once or more.

    `nulls` is about a list that is null; nulls inside a list are passed over.
    """

    kind: Literal["multi_hot"] = "multi_hot"


class Category(Params):
    """One category: its value as text, its output column, and how many rows had it at fit."""

    value: str
    column: str
    rows: int


class FittedCategories(Params):
    """A categorical feature, its column's type at fit, and its categories in a fixed order."""

    form: Literal["categories"] = "categories"
    name: str
    column: str
    type: str
    """The column's type at fit, as Spark names it."""
    feature: OneHot | MultiHot = Field(discriminator="kind")
    categories: tuple[Category, ...]
    null_column: str | None = None
    other_column: str | None = None
    null_rows: int = 0
    """Rows without a value at fit."""
    other_rows: int = 0
    """Rows at fit whose value was cut by the limits; for lists, cut elements."""

    @property
    def values(self) -> tuple[str, ...]:
        """The categories as text, in their order."""
        return tuple(category.value for category in self.categories)

    def outputs(self) -> list[Output]:
        """The output columns in their order: the categories, then null, then other."""
        verb = "has" if self.feature.kind == "multi_hot" else "is"
        made = [
            self._output("category", c.column, f"{verb} {c.value!r}", c) for c in self.categories
        ]
        if self.null_column:
            made.append(self._output("null", self.null_column, "is null"))
        if self.other_column:
            made.append(self._output("other", self.other_column, f"{verb} another value"))
        return made

    def sql_inputs(self, dialect: Dialect) -> dict[str, str]:
        """The column as text, with its policies of error, by its prepared name."""
        value = text_input(self.column, self.type, dialect)
        if self.feature.nulls == "error":
            message = f"{self.name}: column {self.column} has a null"
            value = refuse(f"{value} IS NULL", message, value, dialect)
        if self.feature.other == "error":
            message = f"{self.name}: column {self.column} has a value that was not there at fit"
            value = refuse(self._is_other(value, dialect), message, value, dialect)
        return {f"in_{self.name}": value}

    def sql_outputs(self, dialect: Dialect) -> dict[str, str]:
        """The output columns as SQL text over the prepared column."""
        value = dialect.identifier(f"in_{self.name}")
        has = "{} IS NOT DISTINCT FROM {}" if self.feature.kind == "one_hot" else dialect.contains
        found = {c.column: has.format(value, dialect.text(c.value)) for c in self.categories}
        if self.null_column:
            found[self.null_column] = f"{value} IS NULL"
        if self.other_column:
            found[self.other_column] = self._is_other(value, dialect)
        return {name: f"CAST({condition} AS INT)" for name, condition in found.items()}

    def _is_other(self, value: str, dialect: Dialect) -> str:
        texts = [dialect.text(text) for text in self.values]
        if self.feature.kind == "multi_hot":
            known = ", ".join([f"CAST(NULL AS {dialect.text_type})", *texts])
            return dialect.other_elements.format(value=value, known=known)
        known = ", ".join(texts)
        if not known:
            return f"{value} IS NOT NULL"
        return f"({value} IS NOT NULL AND {value} NOT IN ({known}))"

    def _output(
        self,
        role: Literal["category", "null", "other"],
        name: str,
        told: str,
        category: Category | None = None,
    ) -> Output:
        rows = {"null": self.null_rows, "other": self.other_rows}.get(role)
        return Output(
            name=name,
            type="INT",
            comment=f"1 where {self.column} {told}, else 0",
            feature=self.name,
            source=self.column,
            role=role,
            category=category.value if category else None,
            rows=category.rows if category else rows,
        )
