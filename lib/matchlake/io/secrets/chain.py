"""Which stores resolve secrets, asked in turn, and how long an answer is kept."""

import json
import logging
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator

from matchlake.errors import SecretMissingError
from matchlake.io.secrets.local import EnvironmentSecrets, FileSecrets
from matchlake.io.secrets.scopes import ScopeSecrets
from matchlake.io.secrets.value import Secret, SecretRef, SecretStore
from matchlake.io.secrets.vaults import VaultSecrets, connect_vault
from matchlake.params import Params

if TYPE_CHECKING:
    from databricks.sdk import WorkspaceClient

_log = logging.getLogger(__name__)

StoreName = Literal["databricks", "key_vault", "environment", "file"]


class SecretsParams(Params):
    """Where secrets come from; `--set` cannot change it."""

    stores: tuple[StoreName, ...] = Field(("databricks",), min_length=1)
    """The stores asked in turn: one that lacks a secret passes it on, one that refuses fails."""
    vaults: dict[str, str] = Field(default_factory=dict)
    """For `key_vault`: the address of each vault by the scope that references name."""
    file: str | None = None
    """For `file`: JSON that only its owner may read; null: secrets.json below `lakehouse`."""
    cache_seconds: float = Field(300, ge=0)
    """How long a value is kept before its store is asked anew: so late a rotation is seen."""
    patience: float = Field(30, gt=0)
    """Seconds that a store which throttles or fails is asked again."""
    allowed_scopes: tuple[str, ...] = ()
    """Scopes that --set may name, besides those that the conf files name."""

    @field_validator("vaults")
    @classmethod
    def _are_addresses(cls, vaults: dict[str, str]) -> dict[str, str]:
        for scope, url in vaults.items():
            parts = urlsplit(url)
            if parts.scheme != "https" or not parts.hostname or parts.username or parts.query:
                raise ValueError(
                    f"the vault of {scope} has to be an address such as "
                    "https://NAME.vault.azure.net"
                )
        return vaults


class CachedSecrets:
    """A store's answers, kept for `seconds`; failures are not kept. Threads may share it."""

    def __init__(
        self, store: SecretStore, seconds: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._store = store
        self._seconds = seconds
        self._clock = clock
        self._kept: dict[SecretRef, tuple[float, Secret]] = {}
        self._lock = threading.Lock()

    def get(self, ref: SecretRef) -> Secret:
        """The secret behind `ref`, asked for at most once in the time."""
        with self._lock:
            until, secret = self._kept.get(ref, (0.0, None))
            if secret is None or self._clock() >= until:
                secret = self._store.get(ref)
                self._kept[ref] = (self._clock() + self._seconds, secret)
            return secret


class ChainedSecrets:
    """Several stores by name: the first that has a secret gives it."""

    def __init__(self, stores: Mapping[str, SecretStore]) -> None:
        self._stores = dict(stores)

    def get(self, ref: SecretRef) -> Secret:
        """The secret behind `ref`; raises SecretMissingError with every store's own words."""
        return self.find(ref)[1]

    def find(self, ref: SecretRef) -> tuple[str, Secret]:
        """The name of the store that has it, and the secret."""
        problems = []
        for name, store in self._stores.items():
            try:
                secret = store.get(ref)
            except SecretMissingError as error:
                problems.append(f"{name}: {error}")
                continue
            _log.info("%s comes from the store %s", ref, name)
            return name, secret
        raise SecretMissingError(
            f"{ref} is in none of the stores that secrets.stores names. {' '.join(problems)}"
        )


def secret_chain(params: SecretsParams, lakehouse: str | None) -> ChainedSecrets:
    """The stores of `params` in their order; nothing is asked or connected before the first get."""
    makers: dict[StoreName, Callable[[], SecretStore]] = {
        "environment": EnvironmentSecrets,
        "file": lambda: FileSecrets(secrets_file(params, lakehouse)),
        "databricks": lambda: ScopeSecrets(
            lambda: connect_workspace(lakehouse, params.patience), params.patience
        ),
        "key_vault": lambda: VaultSecrets(
            params.vaults, lambda url: connect_vault(url, params.patience)
        ),
    }
    return ChainedSecrets({name: makers[name]() for name in params.stores})


def secrets_file(params: SecretsParams, lakehouse: str | None) -> Path:
    """The file of the store `file`."""
    return Path(params.file or f"{lakehouse or '.'}/secrets.json")


def connect_workspace(lakehouse: str | None, patience: float) -> "WorkspaceClient":
    """The workspace of the platform or the login we have; the local sandbox where there is one."""
    from databricks.sdk import WorkspaceClient  # noqa: PLC0415 - a second to import
    from databricks.sdk.core import Config  # noqa: PLC0415

    login: dict[str, Any] = {}
    if lakehouse:
        with suppress(OSError, ValueError, KeyError):
            state = json.loads((Path(lakehouse) / "cloud" / "state.json").read_text("utf-8"))
            login = {"host": state["workspace"], "token": state["token"], "auth_type": "pat"}
    return WorkspaceClient(config=Config(**login, retry_timeout_seconds=max(1, int(patience))))
