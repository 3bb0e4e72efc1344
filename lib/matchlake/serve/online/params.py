"""The parameters of the online store. This module does not import Spark."""

import re
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from matchlake.io.secrets.value import SecretRef
from matchlake.params import Params, Settable
from matchlake.schemas import TableName

_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_IDENTIFIER = re.compile(r"[a-z_][a-z0-9_]{0,49}")


def _checked_identifier(name: str) -> str:
    """Returns `name` if PostgreSQL keeps it unchanged, also with our suffixes."""
    if not _IDENTIFIER.fullmatch(name):
        raise ValueError(
            f"{name!r} is not a valid name in the online store: use at most 50 lowercase letters, "
            "digits and underscores, and no digit first"
        )
    return name


OnlineName = Annotated[str, AfterValidator(_checked_identifier)]
"""The name of a table, a schema or a role of PostgreSQL."""
StoreKind = Literal["postgres", "arrow", "lakebase"]


class PostgresParams(Params):
    """The PostgreSQL server of the online store."""

    host: str = Field(pattern=r"^[A-Za-z0-9.:-]{1,253}$")
    """The host's name or address."""
    port: int = Field(5432, ge=1, le=65535)
    """The port."""
    database: str = Field(pattern=r"^[A-Za-z0-9_-]{1,63}$")
    """The database; it must exist."""
    schema_name: OnlineName = "online"
    """The schema of the tables; the job creates it."""
    user: str = Field(min_length=1, max_length=63)
    """The role that writes the tables."""
    password: SecretRef | None = None
    """The reference to the password; null: the server trusts this user."""
    tls: Literal["verify-full", "disable"] = "verify-full"
    """verify-full: encrypted, and the server's certificate and host name are checked; disable: only
    for a server on this machine."""
    ca_file: str | None = None
    """PEM file of the trusted certificate authorities; null: those of the system."""
    readers: tuple[OnlineName, ...] = ()
    """Roles to which the job grants read access to the tables."""
    timeout_seconds: float = Field(10.0, gt=0, le=600)
    """Time-out in seconds for a connection, and for a lock on a table."""

    @model_validator(mode="after")
    def _require_tls_off_this_machine(self) -> Self:
        if self.tls == "disable" and self.host not in _LOOPBACK:
            raise ValueError("tls: disable is for a server on this machine only; use verify-full")
        return self


class OnlineTableParams(Params):
    """A gold table that is published, and its key."""

    table: TableName
    """The table of the lakehouse."""
    keys: tuple[str, ...] = Field(min_length=1, max_length=4)
    """The columns that identify a row. A lookup gives values of the first of these columns, or of
    all. Integers, strings, dates and timestamps can be keys."""
    columns: tuple[str, ...] | None = None
    """The published columns besides the keys; null: all columns."""
    allow_empty: bool = False
    """Whether an empty table may replace a published table with rows."""

    @model_validator(mode="after")
    def _refuse_repeated_columns(self) -> Self:
        named = [*self.keys, *(self.columns or ())]
        if len(set(named)) != len(named):
            raise ValueError("keys and columns name a column twice")
        return self


class OnlineParams(Params):
    """The online store, and the tables that `publish_online` publishes."""

    stores: tuple[StoreKind, ...] = ()
    """Where the tables are published. postgres: the server of `postgres`; arrow: files in
    `arrow_folder`; lakebase: the bundle's synced tables, which Databricks fills itself."""
    postgres: PostgresParams | None = None
    """The PostgreSQL server."""
    arrow_folder: str | None = None
    """The folder of the Arrow files, on a disk or a volume."""
    tables: dict[OnlineName, OnlineTableParams] = Field(default_factory=dict)
    """The published tables, by their names in the store."""
    publish: Settable[tuple[OnlineName, ...] | None] = None
    """Names of the tables that one run publishes; null: all."""

    @model_validator(mode="after")
    def _validate_stores(self) -> Self:
        if len(set(self.stores)) != len(self.stores):
            raise ValueError("stores contains a store twice")
        if "postgres" in self.stores and self.postgres is None:
            raise ValueError("stores has postgres, but `postgres` has no server")
        if "arrow" in self.stores and not self.arrow_folder:
            raise ValueError("stores has arrow, but `arrow_folder` is not set")
        unknown = [name for name in self.publish or () if name not in self.tables]
        if unknown:
            declared = ", ".join(self.tables) or "none"
            raise ValueError(f"publish: {unknown[0]} is not a declared table; declared: {declared}")
        return self

    @property
    def chosen_tables(self) -> dict[str, OnlineTableParams]:
        """Returns the tables of `publish`; all tables if it is not set."""
        chosen = self.publish
        return {n: each for n, each in self.tables.items() if chosen is None or n in chosen}
