"""Names and shapes that more than one part of the product relies on."""

import re
from dataclasses import dataclass
from typing import NamedTuple, cast

from pyspark.sql.types import StructType

from matchlake.errors import SchemaError

USER_ID = "user_id"
ITEM_ID = "item_id"
RATING = "rating"
STRENGTH = "strength"
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


def quote_text(text: str) -> str:
    """`text` as a SQL string literal."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n")
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

    def __post_init__(self) -> None:
        check_name(self.name)

    @property
    def column_names(self) -> list[str]:
        """Names of the columns in their order."""
        return [column.name for column in self.columns]

    def struct(self) -> StructType:
        """The Spark schema: names, types and nullability."""
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

RECOMMENDATIONS = TableSpec(
    "gold.recommendations",
    "The champion model's best items for each user, without the items the user has rated.",
    (
        Column(USER_ID, "STRING", "Business key of the user", nullable=False),
        Column(RANK, "INT", "Place in the user's list, 1 is the best", nullable=False),
        Column(ITEM_ID, "STRING", "Business key of the item", nullable=False),
        Column(SCORE, "DOUBLE", "Predicted rating, or strength for implicit models"),
        Column("model_version", "STRING", "Version of the registered model that made the row"),
    ),
    keys=(USER_ID, RANK),
)
