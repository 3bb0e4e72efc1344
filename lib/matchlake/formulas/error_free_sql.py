"""Conditions that cannot fail: where an expression would raise an error, it is null.

Sessions run with ANSI SQL, in which `a / b` with b = 0, an overflow and a failed cast end the job.
Here they are null. An expression that has no such form is refused. This module does not import
Spark.
"""

from collections.abc import Mapping
from functools import cache, lru_cache
from typing import Any, ClassVar

from matchlake.errors import ParameterError
from matchlake.formulas.error_free_writer import Writer
from matchlake.formulas.user_sql import check_expression

_LONGEST = 20_000


def error_free_condition(sql: str, columns: Mapping[str, str]) -> str:
    """Returns the condition `sql` as SQL that cannot fail, whatever the columns hold.

    A division by zero, an overflow, a failed cast of a string, and a pattern on a long string give
    null. `columns` has the type of each column, as conf declares it.

    Raises ParameterError for an expression that `check_expression` refuses, and for an unknown
    column. It also raises it for a function without an error-free form, operands of different
    kinds, and a result that is not a condition.
    """
    return _written(sql, tuple(columns.items()))


@lru_cache(maxsize=1000)
def _written(sql: str, columns: tuple[tuple[str, str], ...]) -> str:
    check_expression(sql)
    writer = Writer({name.lower(): (name, kind) for name, kind in columns})
    try:
        result = writer.write(_tree(sql))
    except ParameterError as error:
        raise ParameterError(f"{sql!r}: {error}.") from None
    if result.type.kind not in ("boolean", "null"):
        raise ParameterError(f"{sql!r} is a {result.type.kind}, but a rule must be a condition.")
    if len(result.sql) > _LONGEST:
        raise ParameterError(f"{sql!r} is too long: split it into several rules.")
    return result.sql


@cache
def _dialect() -> Any:
    """The dialect of Databricks, in which sqlglot does not rename functions."""
    from sqlglot.dialects import Databricks  # noqa: PLC0415 - half a second, and few need it

    parser = Databricks.Parser
    casts = {name: parser.FUNCTION_PARSERS[name] for name in ("CAST", "TRY_CAST")}

    class AsWritten(Databricks):  # type: ignore[misc, unused-ignore]
        class Parser(parser):  # type: ignore[valid-type,misc]
            FUNCTIONS: ClassVar[dict[str, Any]] = {}
            NO_PAREN_FUNCTIONS: ClassVar[dict[str, Any]] = {}
            FUNCTION_PARSERS: ClassVar[dict[str, Any]] = casts
            NO_PAREN_FUNCTION_PARSERS: ClassVar[dict[str, Any]] = {
                "CASE": parser.NO_PAREN_FUNCTION_PARSERS["CASE"]
            }

    return AsWritten


def _tree(sql: str) -> Any:
    from sqlglot import parse_one  # noqa: PLC0415 - half a second, and few need it

    try:
        return parse_one(sql, dialect=_dialect())
    except Exception as error:  # noqa: BLE001 - it also fails with IndexError, RecursionError ...
        reason = str(error).partition("\n")[0]
        raise ParameterError(f"is not a SQL expression: {reason}") from None
