"""Names and shapes that more than one part of the product relies on."""

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, NamedTuple, cast

from pydantic import AfterValidator

from matchlake.errors import SchemaError

if TYPE_CHECKING:
    from pyspark.sql.types import StructType

USER_ID = "user_id"
ITEM_ID = "item_id"
RATING = "rating"
WEIGHT = "weight"
EVENT_TIME = "event_time"
SCORE = "score"
RANK = "rank"

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")


def check_name(name: str, parts: int = 2) -> str:
    """Returns `name` when it is `parts` plain identifiers joined by dots; raises SchemaError.

    Letters, digits and underscores only: a name that passes can stand in SQL as it is.
    """
    pieces = name.split(".")
    if len(pieces) != parts or not all(_NAME.fullmatch(piece) for piece in pieces):
        raise SchemaError(
            f"{name!r} is not a valid name: expected {parts} identifier(s) joined by dots, each "
            "of letters, digits and underscores, not starting with a digit."
        )
    return name


def _checked_table(name: str) -> str:
    try:
        return check_name(name)
    except SchemaError as error:
        raise ValueError(str(error)) from None


TableName = Annotated[str, AfterValidator(_checked_table)]
"""The type of a parameter that names a table or view: what is no such name fails with its key."""


def quote_text(text: str) -> str:
    """`text` as a SQL string literal."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n")
    # `$` would start a variable that Spark substitutes even inside a literal.
    escaped = escaped.replace("$", "\\u0024")
    return f"'{escaped}'"


def quote_identifier(name: str) -> str:
    """`name` as a SQL identifier in backquotes, whatever it holds."""
    return "`" + name.replace("`", "``") + "`"


class Column(NamedTuple):
    """One column of a table or a view: its SQL type, what it means, and whether null may stand."""

    name: str
    type: str
    comment: str
    nullable: bool = True

    @property
    def ddl(self) -> str:
        """The column as it stands in CREATE TABLE."""
        null = "" if self.nullable else " NOT NULL"
        return f"{quote_identifier(self.name)} {self.type}{null} COMMENT {quote_text(self.comment)}"


@dataclass(frozen=True)
class TableSpec:
    """A Delta table as the product declares it: `name` is `schema.table`."""

    name: str
    comment: str
    columns: tuple[Column, ...]
    keys: tuple[str, ...] = ()
    cluster_by: tuple[str, ...] = ()
    partition_by: tuple[str, ...] = ()
    checks: tuple[tuple[str, str], ...] = ()
    """Name and SQL condition of what holds of every row; `maintain_tables` adds them."""
    changes: bool = False
    """Whether Delta keeps what each commit changed, because a job reads it."""
    statistics: tuple[str, ...] = ()
    """The columns whose least and greatest values Delta keeps of each file, to pass over files.
    They cost a quarter of a write where all have them; empty: Delta's own, the first 32."""

    def __post_init__(self) -> None:
        check_name(self.name)

    @property
    def column_names(self) -> list[str]:
        """Names of the columns in their order."""
        return [column.name for column in self.columns]

    def struct(self) -> "StructType":
        """The Spark schema: names, types and nullability."""
        from pyspark.sql.types import StructType  # noqa: PLC0415 - the rest needs no Spark

        ddl = ", ".join(column.ddl for column in self.columns)
        return cast("StructType", StructType.fromDDL(ddl))


@dataclass(frozen=True)
class ViewSpec:
    """A view over the product's tables: `query` names them as `schema.table`.

    `needs` are the tables and views the query reads; where one is missing the view is not made.
    """

    name: str
    comment: str
    columns: tuple[tuple[str, str], ...]
    query: str
    needs: tuple[str, ...]

    def __post_init__(self) -> None:
        check_name(self.name)


INTERACTIONS = TableSpec(
    "silver.interactions",
    "The last rating of each user for each item; ties by broker position, so that reruns agree.",
    (
        Column(USER_ID, "STRING", "Business key of the user", nullable=False),
        Column(ITEM_ID, "STRING", "Business key of the item", nullable=False),
        Column(RATING, "DOUBLE", "The rating given", nullable=False),
        Column(EVENT_TIME, "TIMESTAMP", "When the user gave the rating, UTC", nullable=False),
    ),
    keys=(USER_ID, ITEM_ID),
)

MODEL_VERSION = Column(
    "model_version", "STRING", "Version of the registered model that made the row"
)

RECOMMENDATIONS = TableSpec(
    "gold.recommendations",
    "The champion model's best items for each user, without the items the user has rated.",
    (
        Column(USER_ID, "STRING", "Business key of the user", nullable=False),
        Column(RANK, "INT", "Place in the user's list, 1 is the best", nullable=False),
        Column(ITEM_ID, "STRING", "Business key of the item", nullable=False),
        Column(SCORE, "DOUBLE", "Predicted rating, or preference for implicit models"),
        MODEL_VERSION,
        Column("is_cold_start", "BOOLEAN", "Whether the user had no ratings to learn from"),
    ),
    keys=(USER_ID, RANK),
)

RELATED_ITEMS = TableSpec(
    "gold.related_items",
    "Items with similar rating patterns, for each item.",
    (
        Column(ITEM_ID, "STRING", "Business key of the item", nullable=False),
        Column(RANK, "INT", "Place in the item's list, 1 is the most related", nullable=False),
        Column("related_item_id", "STRING", "Business key of the other item", nullable=False),
        Column(SCORE, "DOUBLE", "Log density of equal ratings; larger means more similar"),
        MODEL_VERSION,
    ),
    keys=(ITEM_ID, RANK),
)

RELATED_USERS = TableSpec(
    "gold.related_users",
    "Users with similar rating patterns, for each user.",
    (
        Column(USER_ID, "STRING", "Business key of the user", nullable=False),
        Column(RANK, "INT", "Place in the user's list, 1 is the most related", nullable=False),
        Column("related_user_id", "STRING", "Business key of the other user", nullable=False),
        Column(SCORE, "DOUBLE", "Log density of equal ratings; larger means more similar"),
        MODEL_VERSION,
    ),
    keys=(USER_ID, RANK),
)

PREDICTED_RATINGS = TableSpec(
    "gold.predicted_ratings",
    "Ratings predicted by the champion model, with their uncertainty.",
    (
        Column(USER_ID, "STRING", "Business key of the user", nullable=False),
        Column(ITEM_ID, "STRING", "Business key of the item", nullable=False),
        Column(RATING, "DOUBLE", "The rating expected"),
        Column("rating_std", "DOUBLE", "Its standard deviation; null if the model has none"),
        Column("is_cold_start", "BOOLEAN", "Whether user or item had no ratings to learn from"),
        MODEL_VERSION,
    ),
    keys=(USER_ID, ITEM_ID),
)

FEATURE_EFFECTS = TableSpec(
    "gold.feature_effects",
    "Estimated effect of each user and item feature on the rating, in the champion model.",
    (
        Column("side", "STRING", "user or item", nullable=False),
        Column("feature", "STRING", "Name of the feature", nullable=False),
        Column("source", "STRING", "The column it was made from"),
        Column("category", "STRING", "The category it stands for; null for a number"),
        Column(
            "effect", "DOUBLE", "What one unit of the feature adds to the rating of an average pair"
        ),
        Column("effect_std", "DOUBLE", "Posterior standard deviation of the effect"),
        Column(
            "effect_heterogeneity",
            "DOUBLE",
            "Standard deviation of the effect over users or items of the other side",
        ),
        MODEL_VERSION,
    ),
    keys=("side", "feature"),
)
