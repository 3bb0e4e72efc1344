"""SQL of another dialect, as Spark writes it."""

from collections.abc import Callable

_DIALECTS = ("tsql", "postgres", "mysql", "oracle", "bigquery", "snowflake", "duckdb", "sqlite")
_LONGEST = 10_000


def in_spark(statement: str, parses: Callable[[str], bool]) -> str | None:
    """A sentence with the translation of `statement`, if another dialect reads it.

    None if none does, or if Spark does not parse the translation.
    """
    from sqlglot import ErrorLevel, transpile  # noqa: PLC0415 - half a second, for mistakes only
    from sqlglot.errors import SqlglotError  # noqa: PLC0415

    if len(statement) > _LONGEST:
        return None
    for dialect in _DIALECTS:
        try:
            made = transpile(statement, dialect, "databricks", unsupported_level=ErrorLevel.RAISE)
        except (SqlglotError, RecursionError, ValueError):
            continue
        if len(made) == 1 and made[0] and made[0] != statement and parses(made[0]):
            return f"This is SQL of another dialect; in Spark SQL it is: {made[0]}"
    return None
