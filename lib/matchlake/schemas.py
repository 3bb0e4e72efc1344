"""Names, columns and tables that several packages share."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Annotated, NamedTuple

from pydantic import AfterValidator

from matchlake.errors import SchemaError

USER_ID = "user_id"
ITEM_ID = "item_id"
RATING = "rating"
WEIGHT = "weight"
EVENT_TIME = "event_time"
SCORE = "score"
RANK = "rank"

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")


def check_name(name: str, parts: int = 2) -> str:
    """Returns `name` if it is `parts` plain identifiers joined by dots; else raises SchemaError.

    An identifier has only letters, digits and underscores, so SQL needs no quotes for it.
    """
    pieces = name.split(".")
    if len(pieces) != parts or not all(_NAME.fullmatch(piece) for piece in pieces):
        raise SchemaError(
            f"{name!r} is not a valid name: it must have {parts} identifier(s), joined by dots. An "
            "identifier has letters, digits and underscores, and does not start with a digit."
        )
    return name


def _checked_table(name: str) -> str:
    try:
        return check_name(name)
    except SchemaError as error:
        raise ValueError(str(error)) from None


TableName = Annotated[str, AfterValidator(_checked_table)]
"""The type of a parameter with the name of a table or view, `schema.table`."""


def user_columns_of(declared: tuple[str, ...] | None, columns: Iterable[str]) -> tuple[str, ...]:
    """The `declared` columns that hold a person; without a declaration, `user_id` if present.

    Raises ValueError for a declared column that is none of `columns`.
    """
    names = tuple(columns)
    if declared is None:
        return (USER_ID,) if USER_ID in names else ()
    unknown = [name for name in declared if name not in names]
    if unknown:
        raise ValueError(
            f"user_columns: {', '.join(unknown)} is not a column; there are {', '.join(names)}"
        )
    return declared


def quote_text(text: str) -> str:
    """`text` as a SQL string literal."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n")
    # `$` would start a variable, which Spark substitutes even inside a literal.
    escaped = escaped.replace("$", "\\u0024")
    return f"'{escaped}'"


def quote_identifier(name: str) -> str:
    """Any `name` as a SQL identifier in backquotes."""
    return "`" + name.replace("`", "``") + "`"


class Column(NamedTuple):
    """One column of a table or view: its SQL type, its meaning, and whether it may be null."""

    name: str
    type: str
    comment: str
    nullable: bool = True

    @property
    def ddl(self) -> str:
        """The column for CREATE TABLE."""
        null = "" if self.nullable else " NOT NULL"
        return f"{quote_identifier(self.name)} {self.type}{null} COMMENT {quote_text(self.comment)}"


@dataclass(frozen=True)
class TableSpec:
    """A declared Delta table; `name` is `schema.table`."""

    name: str
    comment: str
    columns: tuple[Column, ...]
    """Empty where a job gives the table the columns of what it reads."""
    keys: tuple[str, ...] = ()
    cluster_by: tuple[str, ...] = ()
    partition_by: tuple[str, ...] = ()
    checks: tuple[tuple[str, str], ...] = ()
    """Name and SQL condition of each constraint; `maintain_tables` adds them."""
    changes: bool = False
    """Whether Delta keeps the changes of each commit, because a job reads them."""
    statistics: tuple[str, ...] = ()
    """The columns with a minimum and maximum per file, which let reads skip files. For all columns
    they cost a quarter of a write; empty: Delta's default, the first 32 columns."""
    written_by: str = ""
    """The job that writes the table; every table of the registry has one."""
    user_columns: tuple[str, ...] = field(kw_only=True)
    """The columns that hold the id of a person. No job writes a row there of an erased user."""

    def __post_init__(self) -> None:
        check_name(self.name)

    @property
    def column_names(self) -> list[str]:
        """Names of the columns in their order."""
        return [column.name for column in self.columns]

    @property
    def ddl(self) -> str:
        """The columns for CREATE TABLE."""
        return ", ".join(column.ddl for column in self.columns)


@dataclass(frozen=True)
class ViewSpec:
    """A view over the product's tables: `query` names them as `schema.table`.

    `needs` are the tables and views that the query reads; without one of them the view is not
    created. A metric view `has_measures`; its `query` is YAML instead of SQL.
    """

    name: str
    comment: str
    columns: tuple[tuple[str, str], ...]
    query: str
    needs: tuple[str, ...]
    has_measures: bool = False

    def __post_init__(self) -> None:
        check_name(self.name)


INTERACTIONS = TableSpec(
    "silver.interactions",
    "One row per user and item, from the silver tables of their events.",
    (
        Column(USER_ID, "STRING", "Business key of the user", nullable=False),
        Column(ITEM_ID, "STRING", "Business key of the item", nullable=False),
        Column(RATING, "DOUBLE", "The rating, as conf aggregates the events", nullable=False),
        Column(EVENT_TIME, "TIMESTAMP", "Time of the last event, UTC", nullable=False),
    ),
    keys=(USER_ID, ITEM_ID),
    user_columns=(USER_ID,),
    written_by="build_silver",
)

MODEL_VERSION = Column(
    "model_version", "STRING", "Version of the registered model that wrote the row"
)

RECOMMENDATIONS = TableSpec(
    "gold.recommendations",
    "The champion model's best items for each user, without the items the user has rated.",
    (
        Column(USER_ID, "STRING", "Business key of the user", nullable=False),
        Column(RANK, "INT", "Position in the user's list, 1 is the best", nullable=False),
        Column(ITEM_ID, "STRING", "Business key of the item", nullable=False),
        Column(SCORE, "DOUBLE", "Predicted rating, or preference for implicit models"),
        MODEL_VERSION,
        Column("is_cold_start", "BOOLEAN", "Whether the user had no ratings to learn from"),
    ),
    keys=(USER_ID, RANK),
    user_columns=(USER_ID,),
    written_by="recommend",
)

RELATED_ITEMS = TableSpec(
    "gold.related_items",
    "Items with similar rating patterns, for each item.",
    (
        Column(ITEM_ID, "STRING", "Business key of the item", nullable=False),
        Column(RANK, "INT", "Position in the item's list, 1 is the most related", nullable=False),
        Column("related_item_id", "STRING", "Business key of the other item", nullable=False),
        Column(
            SCORE,
            "DOUBLE",
            "Distance: how much one user's ratings of both differ, in rating units",
        ),
        MODEL_VERSION,
    ),
    keys=(ITEM_ID, RANK),
    user_columns=(),
    written_by="recommend",
)

RELATED_USERS = TableSpec(
    "gold.related_users",
    "Users with similar rating patterns, for each user.",
    (
        Column(USER_ID, "STRING", "Business key of the user", nullable=False),
        Column(RANK, "INT", "Position in the user's list, 1 is the most related", nullable=False),
        Column("related_user_id", "STRING", "Business key of the other user", nullable=False),
        Column(
            SCORE,
            "DOUBLE",
            "Distance: how much both users' ratings of an item differ, in rating units",
        ),
        MODEL_VERSION,
    ),
    keys=(USER_ID, RANK),
    user_columns=(USER_ID, "related_user_id"),
    written_by="recommend",
)

PREDICTED_RATINGS = TableSpec(
    "gold.predicted_ratings",
    "Ratings predicted by the champion model, with their uncertainty.",
    (
        Column(USER_ID, "STRING", "Business key of the user", nullable=False),
        Column(ITEM_ID, "STRING", "Business key of the item", nullable=False),
        Column(RATING, "DOUBLE", "The predicted rating"),
        Column("rating_std", "DOUBLE", "Its standard deviation; null if the model has none"),
        Column("is_cold_start", "BOOLEAN", "Whether user or item had no ratings to learn from"),
        MODEL_VERSION,
    ),
    keys=(USER_ID, ITEM_ID),
    user_columns=(USER_ID,),
    written_by="recommend",
)

FEATURE_EFFECTS = TableSpec(
    "gold.feature_effects",
    "Estimated effect of each user and item feature on the rating, in the champion model.",
    (
        Column("side", "STRING", "user or item", nullable=False),
        Column("feature", "STRING", "Name of the feature", nullable=False),
        Column("source", "STRING", "The column that the feature reads"),
        Column("category", "STRING", "The category; null for a number"),
        Column("effect", "DOUBLE", "Change of an average pair's rating per unit of the feature"),
        Column("effect_std", "DOUBLE", "Posterior standard deviation of the effect"),
        Column(
            "effect_heterogeneity",
            "DOUBLE",
            "Standard deviation of the effect over users or items of the other side",
        ),
        MODEL_VERSION,
    ),
    keys=("side", "feature"),
    user_columns=(),
    written_by="recommend",
)
