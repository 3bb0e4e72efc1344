"""SQL of another dialect: which one it is, and how Spark writes the same."""

from collections.abc import Callable

_DIALECTS = {
    "tsql": "SQL Server",
    "postgres": "PostgreSQL",
    "mysql": "MySQL",
    "oracle": "Oracle",
    "bigquery": "BigQuery",
    "snowflake": "Snowflake",
    "duckdb": "DuckDB",
    "sqlite": "SQLite",
}
_LONGEST = 10_000


def in_spark(statement: str, parses: Callable[[str], bool]) -> str | None:
    """A sentence with the dialect of `statement` and its translation, if Spark parses that.

    None if no known dialect reads the statement, or if Spark would not take the translation.
    """
    from sqlglot import ErrorLevel, transpile  # noqa: PLC0415 - half a second, for mistakes only
    from sqlglot.errors import SqlglotError  # noqa: PLC0415

    if len(statement) > _LONGEST:
        return None
    for dialect, name in _DIALECTS.items():
        try:
            made = transpile(statement, dialect, "databricks", unsupported_level=ErrorLevel.RAISE)
        except (SqlglotError, RecursionError, ValueError):
            continue
        if len(made) == 1 and made[0] and made[0] != statement and parses(made[0]):
            return f"It reads like SQL of {name}; in Spark SQL it is: {made[0]}"
    return None
