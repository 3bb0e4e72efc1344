"""The check of a frame's columns."""

from collections.abc import Iterable

from pyspark.sql import DataFrame

from matchlake.errors import SchemaError


def require_columns(frame: DataFrame, names: Iterable[str], what: str) -> None:
    """Raises SchemaError unless `frame`, called `what` in the message, has all of `names`."""
    missing = [name for name in names if name not in frame.columns]
    if missing:
        raise SchemaError.missing(what, missing, frame.columns)
