"""Connections to PostgreSQL; raises its errors as matchlake's own, without values of rows."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, NoReturn

import psycopg
from psycopg import Connection, errors
from psycopg.rows import DictRow, dict_row, tuple_row

from matchlake.errors import InputError, SourceError, TableError
from matchlake.io.secrets.value import Secret
from matchlake.serve.online.params import PostgresParams


def connect(params: PostgresParams, password: Secret | None) -> Connection[DictRow]:
    """Opens a connection that commits each statement; raises psycopg's errors."""
    return psycopg.connect(
        host=params.host,
        port=params.port,
        dbname=params.database,
        user=params.user,
        password=password.reveal() if password else None,
        sslmode=params.tls,
        sslrootcert=params.ca_file or ("system" if params.tls != "disable" else None),
        connect_timeout=max(2, round(params.timeout_seconds)),
        tcp_user_timeout=30_000,
        application_name="matchlake",
        autocommit=True,
        # Statements are not prepared: a prepared SELECT * fails if a new table has other columns.
        prepare_threshold=None,
        row_factory=dict_row,
    )


@contextmanager
def connected(params: PostgresParams, password: Secret | None) -> Iterator[Connection[Any]]:
    """Yields a connection with plain rows, and closes it at the end."""
    with explained(f"{params.host}:{params.port}"):
        opened: Connection[Any] = connect(params, password)
    opened.row_factory = tuple_row
    try:
        yield opened
    finally:
        with suppress(psycopg.Error):
            opened.close()


@contextmanager
def explained(place: str) -> Iterator[None]:
    """Raises the errors of psycopg as matchlake's own, without values of rows."""
    try:
        yield
    except psycopg.Error as error:
        _explain(place, error)


def _explain(place: str, error: psycopg.Error) -> NoReturn:
    reason = error.diag.message_primary or str(error).splitlines()[0] or type(error).__name__
    match error:
        case errors.DataError():
            where = (error.diag.context or "").partition(":")[0] or "a value"
            raise InputError(
                f"PostgreSQL at {place} refuses a value ({where}; {type(error).__name__}). A "
                "string cannot contain the character with code 0. The table keeps its rows."
            ) from None
        case errors.UndefinedFunction():
            raise InputError(
                f"PostgreSQL at {place} cannot compare the key: a value has another type than its "
                f"column ({reason})."
            ) from None
        case errors.DependentObjectsStillExist():
            raise TableError(
                f"{place}: a view or another object depends on the published table, so it cannot "
                "be replaced. Drop that object, and query the table directly or by a function."
            ) from None
        case errors.InsufficientPrivilege():
            raise SourceError(
                f"PostgreSQL at {place} refuses access: {reason}. The user of "
                "online.postgres.user needs "
                "CREATE in the database and its schema."
            ) from None
        case errors.OperationalError():
            raise SourceError(
                f"PostgreSQL at {place} cannot be used: {reason}. A published table keeps its "
                "rows. Check online.postgres, and run the job again."
            ) from None
    raise SourceError(f"PostgreSQL at {place}: {type(error).__name__}: {reason}") from None
