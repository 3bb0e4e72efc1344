"""Categorical features: one-hot for single values, multi-hot for lists, and what they learned."""

import re
from typing import Literal, NamedTuple

from pydantic import Field

from matchlake.features.names import between
from matchlake.features.outputs import Output
from matchlake.formulas.sql import Dialect, refuse, text_input
from matchlake.params import Params

ABSENT = -1
"""The place of a value that has no column."""
REFUSED = -2
"""The place of a value whose policy is error."""


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
    coverage: float = Field(1.0, gt=0, le=1)
    """Keep only as many categories, the most frequent, as cover this share of the values."""
    nulls: Literal["zero", "column", "error", "mode"] = "zero"
    """A null: zero in every column, a column `NAME_null` of its own, an error, or taken for the
    most frequent category at fit."""
    other: Literal["zero", "column", "error"] = "zero"
    """A value without a column, unseen at fit or cut by the limits: zero in every column, a column
    `NAME_other` of its own, or an error."""
    drop_first: bool = False
    """Give the first category no column, for models that cannot take columns that add up to 1. By
    the policy zero a null or another value looks like that category, also to the inverse."""


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


class Places(NamedTuple):
    """Where the ones of a feature stand among its own columns; ABSENT or REFUSED where nowhere."""

    categories: dict[str, int]
    null: int
    other: int


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
    def is_list(self) -> bool:
        """Whether the column holds lists."""
        return self.feature.kind == "multi_hot"

    @property
    def element_type(self) -> str:
        """The type of a single value, as Spark names it."""
        return self.type.removeprefix("array<").removesuffix(">") if self.is_list else self.type

    @property
    def shown(self) -> tuple[Category, ...]:
        """The categories that have a column."""
        return self.categories[1:] if self.feature.drop_first else self.categories

    @property
    def fill(self) -> str | None:
        """The category that a null is taken for; None where it is not."""
        most = max(self.categories, key=lambda category: category.rows, default=None)
        return most.value if most and self.feature.nulls == "mode" else None

    def accepts(self, type_name: str) -> bool:
        """Whether a column of that type, as Spark names it, gives the same texts as that at fit."""
        same = _any_integer(type_name) == _any_integer(self.type)
        return same or (type_name == "void" and not self.is_list)

    @property
    def null_message(self) -> str:
        """The error of a null where the policy is error."""
        return f"{self.name}: column {self.column} has a null"

    @property
    def other_message(self) -> str:
        """The error of a value without a column where the policy is error."""
        return f"{self.name}: column {self.column} has a value that was not there at fit"

    def places(self) -> Places:
        """Where the ones stand: the categories, then null, then other."""
        places = {category.value: ABSENT for category in self.categories}
        places |= {category.value: place for place, category in enumerate(self.shown)}
        policies = {"zero": ABSENT, "error": REFUSED, "column": len(self.shown)}
        policies["mode"] = ABSENT if self.fill is None else places[self.fill]
        null = policies[self.feature.nulls]
        policies["column"] += self.feature.nulls == "column"
        return Places(places, null, policies[self.feature.other])

    def outputs(self) -> list[Output]:
        """The output columns in their order: the categories, then null, then other."""
        verb = "has" if self.is_list else "is"
        made = [self._output("category", c.column, f"{verb} {c.value!r}", c) for c in self.shown]
        if self.null_column:
            made.append(self._output("null", self.null_column, "is null"))
        if self.other_column:
            made.append(self._output("other", self.other_column, f"{verb} another value"))
        return made

    def sql_inputs(self, dialect: Dialect) -> dict[str, str]:
        """The column as text, with its policies of error, by its prepared name."""
        value = text_input(self.column, self.type, dialect)
        checked = value
        if self.feature.other == "error":
            checked = refuse(self.sql_other(value, dialect), self.other_message, checked, dialect)
        if self.feature.nulls == "error":
            checked = refuse(f"{value} IS NULL", self.null_message, checked, dialect)
        if self.fill is not None:
            text = dialect.text(self.fill)
            filled = dialect.list_of.format(text) if self.is_list else text
            checked = f"COALESCE({checked}, {filled})"
        return {between("in", self.name): checked}

    def sql_conditions(self, dialect: Dialect) -> dict[str, str]:
        """What makes each output column 1, as SQL text over the prepared column."""
        value = dialect.identifier(between("in", self.name))
        has = dialect.contains if self.is_list else "{} IS NOT DISTINCT FROM {}"
        found = {c.column: has.format(value, dialect.text(c.value)) for c in self.shown}
        if self.null_column:
            found[self.null_column] = f"{value} IS NULL"
        if self.other_column:
            found[self.other_column] = self.sql_other(value, dialect)
        return found

    def sql_outputs(self, dialect: Dialect) -> dict[str, str]:
        """The output columns as SQL text over the prepared column."""
        conditions = self.sql_conditions(dialect).items()
        return {name: f"CAST({condition} AS INT)" for name, condition in conditions}

    def sql_other(self, value: str, dialect: Dialect) -> str:
        """Whether `value`, SQL text, is not null and none of the categories."""
        texts = [dialect.text(category.value) for category in self.categories]
        if self.is_list:
            known = ", ".join([f"CAST(NULL AS {dialect.text_type})", *texts])
            return dialect.other_elements.format(value=value, known=known)
        if not texts:
            return f"{value} IS NOT NULL"
        return f"({value} IS NOT NULL AND {value} NOT IN ({', '.join(texts)}))"

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


def _any_integer(type_name: str) -> str:
    """The type with every size of integer taken for one: their texts are the same."""
    return re.sub(r"\b(tiny|small|big)?int\b", "bigint", type_name)
