"""What frames call ids, and the one check of a given frame's columns."""

from collections.abc import Iterable

from pyspark.sql import DataFrame

from matchlake.errors import SchemaError
from matchlake.schemas import ITEM_ID, USER_ID

KEYS = (USER_ID, ITEM_ID)
"""The ids of users and of items, by side."""


def require_columns(frame: DataFrame, names: Iterable[str], what: str) -> None:
    """Raises SchemaError unless `frame`, called `what` in the message, has all of `names`."""
    missing = [name for name in names if name not in frame.columns]
    if missing:
        raise SchemaError.missing(what, missing, frame.columns)
