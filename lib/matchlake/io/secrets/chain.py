"""The chain of secret stores, and the cache of their answers."""

import json
import logging
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from matchlake.errors import SecretMissingError
from matchlake.io.secrets.local import EnvironmentSecrets, FileSecrets
from matchlake.io.secrets.params import SecretsParams, StoreName
from matchlake.io.secrets.scopes import ScopeSecrets
from matchlake.io.secrets.value import Secret, SecretRef, SecretStore
from matchlake.io.secrets.vaults import VaultSecrets, connect_vault

if TYPE_CHECKING:
    from databricks.sdk import WorkspaceClient

_log = logging.getLogger(__name__)


class CachedSecrets:
    """A cache of a store's secrets for `seconds`, but not of failures. Threads may share it."""

    def __init__(
        self, store: SecretStore, seconds: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._store = store
        self._seconds = seconds
        self._clock = clock
        self._kept: dict[SecretRef, tuple[float, Secret]] = {}
        self._lock = threading.Lock()

    def get(self, ref: SecretRef) -> Secret:
        """The secret of `ref`; the store is asked at most once per `seconds`."""
        with self._lock:
            until, secret = self._kept.get(ref, (0.0, None))
            if secret is None or self._clock() >= until:
                secret = self._store.get(ref)
                self._kept[ref] = (self._clock() + self._seconds, secret)
            return secret


class ChainedSecrets:
    """Several stores by name: the first one with a secret gives it."""

    def __init__(self, stores: Mapping[str, SecretStore]) -> None:
        self._stores = dict(stores)

    def get(self, ref: SecretRef) -> Secret:
        """The secret of `ref`; raises SecretMissingError with the message of every store."""
        return self.find(ref)[1]

    def find(self, ref: SecretRef) -> tuple[str, Secret]:
        """The name of the store with the secret, and the secret."""
        problems = []
        for name, store in self._stores.items():
            try:
                secret = store.get(ref)
            except SecretMissingError as error:
                problems.append(f"{name}: {error}")
                continue
            _log.debug("%s comes from the store %s", ref, name)
            return name, secret
        raise SecretMissingError(
            f"{ref} is in none of the stores of secrets.stores. {' '.join(problems)}"
        )


def secret_chain(params: SecretsParams, lakehouse: str | None) -> ChainedSecrets:
    """The stores of `params` in their order; a store connects on its first request."""
    makers: dict[StoreName, Callable[[], SecretStore]] = {
        "environment": EnvironmentSecrets,
        "file": lambda: FileSecrets(secrets_file(params, lakehouse)),
        "databricks": lambda: ScopeSecrets(
            lambda: connect_workspace(lakehouse, params.timeout_seconds), params.timeout_seconds
        ),
        "key_vault": lambda: VaultSecrets(
            params.vaults, lambda url: connect_vault(url, params.timeout_seconds)
        ),
    }
    return ChainedSecrets({name: makers[name]() for name in params.stores})


def secrets_file(params: SecretsParams, lakehouse: str | None) -> Path:
    """The file of the store `file`."""
    return Path(params.file or f"{lakehouse or '.'}/secrets.json")


def connect_workspace(lakehouse: str | None, timeout_seconds: float) -> "WorkspaceClient":
    """The client of the workspace: of the sandbox if it runs, else by the login of Databricks."""
    from databricks.sdk import WorkspaceClient  # noqa: PLC0415 - a second to import
    from databricks.sdk.core import Config  # noqa: PLC0415

    login: dict[str, Any] = {}
    if lakehouse:
        with suppress(OSError, ValueError, KeyError):
            state = json.loads((Path(lakehouse) / "cloud" / "state.json").read_text("utf-8"))
            login = {"host": state["workspace"], "token": state["token"], "auth_type": "pat"}
    return WorkspaceClient(
        config=Config(**login, retry_timeout_seconds=max(1, int(timeout_seconds)))
    )
