"""Opens the stores of conf, with their passwords."""

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from matchlake.errors import ConfigError
from matchlake.io.secrets.value import SecretStore
from matchlake.serve.online.arrow_files import ArrowStore
from matchlake.serve.online.params import OnlineParams, PostgresParams
from matchlake.serve.online.tables import OnlineTable, Published, TableRows

if TYPE_CHECKING:
    from matchlake.serve.online.postgres import PostgresStore


class OnlineWriter(Protocol):
    """Changes one table of a store, while the table is locked."""

    def publish(
        self, name: str, rows: TableRows, published: Published, *, allow_empty: bool = False
    ) -> int:
        """Replaces the table; returns the number of rows."""

    def erase(self, name: str, columns: Iterable[str], user: str) -> int:
        """Removes the rows of a user; returns their number."""


class OnlineStore(Protocol):
    """A store of published tables; `str` gives its address, without secrets."""

    @property
    def kind(self) -> str:
        """The name of this kind of store in conf."""

    def locked(self, name: str) -> AbstractContextManager[OnlineWriter]:
        """Locks the table against other runs."""

    def count(self, name: str, columns: Iterable[str], user: str) -> int:
        """Returns the number of rows of a user in a table; 0 without the table."""

    def open(self, name: str) -> OnlineTable:
        """Opens a table for lookups by key."""


def online_stores(params: OnlineParams, secrets: SecretStore) -> Iterator[OnlineStore]:
    """Yields the stores that matchlake fills itself, not those of Databricks.

    Raises ConfigError if psycopg is missing, and SecretError if a password is not available.
    """
    if "postgres" in params.stores and params.postgres is not None:
        yield postgres_store(params.postgres, secrets)
    if "arrow" in params.stores and params.arrow_folder:
        yield ArrowStore(Path(params.arrow_folder))


def postgres_store(params: PostgresParams, secrets: SecretStore) -> "PostgresStore":
    """Returns the store of a server, with the current password of `secrets`."""
    try:
        from matchlake.serve.online.postgres import PostgresStore  # noqa: PLC0415 - an extra
    except ModuleNotFoundError as error:
        if error.name != "psycopg":
            raise
        raise ConfigError(
            "The online store in PostgreSQL needs the package psycopg, which is not installed. "
            "Install it with pip install 'matchlake[online]'."
        ) from None
    return PostgresStore(params, secrets.get(params.password) if params.password else None)
