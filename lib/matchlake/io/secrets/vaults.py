"""Secrets from Azure Key Vault, through its own client."""

import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from matchlake.errors import SecretError, SecretMissingError
from matchlake.io.secrets.value import Secret, SecretRef

if TYPE_CHECKING:
    from azure.core.exceptions import HttpResponseError
    from azure.keyvault.secrets import SecretClient

_NAME = re.compile(r"[0-9A-Za-z-]{1,127}")
_FORBIDDEN = {
    "SecretDisabled": "the secret is disabled: enable it in the vault, or add a new version.",
    "ForbiddenByPolicy": "give this identity the secret permission Get in its access policies.",
    "ForbiddenByRbac": "give this identity the role Key Vault Secrets User on the vault.",
    "ForbiddenByFirewall": "the vault's firewall blocks this network: allow it there.",
}


class VaultSecrets:
    """Secrets of vaults: a reference's scope names one of `vaults`, its key the secret.

    `connect` makes the client for a vault's address, once per vault on first use.
    """

    def __init__(self, vaults: Mapping[str, str], connect: Callable[[str], "SecretClient"]) -> None:
        self._vaults = dict(vaults)
        self._connect = connect
        self._clients: dict[str, SecretClient] = {}

    def get(self, ref: SecretRef) -> Secret:
        """The secret's newest version; raises SecretError with instructions."""
        from azure.core.exceptions import (  # noqa: PLC0415 - half a second to import
            AzureError,
            ClientAuthenticationError,
            HttpResponseError,
            ResourceNotFoundError,
        )

        client = self._client(ref)
        try:
            value = client.get_secret(ref.key).value
        except ResourceNotFoundError:
            raise SecretMissingError(f"{ref} does not exist: {_missing(client, ref)}") from None
        except ClientAuthenticationError as error:
            raise SecretError(
                f"{ref} cannot be read: Azure does not accept this login ({_first(error)}). Renew "
                "the credential where it has expired, or log in (`az login`)."
            ) from None
        except HttpResponseError as error:
            raise SecretError(f"{ref} is refused: {_refusal(error)}") from None
        except AzureError as error:
            raise SecretError(
                f"{ref} cannot be read: the vault {self._vaults[ref.scope]} cannot be reached "
                f"({_first(error)}). Check secrets.vaults.{ref.scope} and the network."
            ) from None
        if value is None:
            raise SecretError(f"{ref} has no value in its vault: add a value to the vault.")
        return Secret(value)

    def _client(self, ref: SecretRef) -> "SecretClient":
        if ref.scope not in self._vaults:
            raise SecretMissingError(
                f"{ref}: secrets.vaults has no vault {ref.scope} (vaults: "
                f"{', '.join(self._vaults) or 'none'})."
            )
        if not _NAME.fullmatch(ref.key):
            raise SecretError(
                f"{ref}: {ref.key!r} is not the name of a Key Vault secret: 1 to 127 letters, "
                "digits and hyphens."
            )
        if ref.scope not in self._clients:
            self._clients[ref.scope] = self._connect(self._vaults[ref.scope])
        return self._clients[ref.scope]


def connect_vault(url: str, timeout_seconds: float, **more: Any) -> "SecretClient":
    """The client of the vault at `url`, as a workload, a managed identity or by `az login`.

    It retries with back-off while the vault throttles or fails, for about `timeout_seconds`. The
    client gets `more` as its arguments.
    """
    from azure.identity import DefaultAzureCredential  # noqa: PLC0415 - half a second to import
    from azure.keyvault.secrets import SecretClient  # noqa: PLC0415

    credential = more.pop("credential", None) or DefaultAzureCredential()
    return SecretClient(url, credential, **backing_off(timeout_seconds), **more)


def backing_off(timeout_seconds: float) -> dict[str, float]:
    """Settings of Azure's clients: up to six tries with doubling waits, about so long in all."""
    tries = 5
    return {
        "retry_total": tries,
        "retry_status": tries,
        "retry_backoff_factor": timeout_seconds / 2**tries,
        "retry_backoff_max": timeout_seconds / 2,
    }


def _missing(client: "SecretClient", ref: SecretRef) -> str:
    """Whether the secret was deleted and can be recovered, or never existed."""
    from azure.core.exceptions import AzureError  # noqa: PLC0415 - half a second to import

    with suppress(AzureError):
        deleted = client.get_deleted_secret(ref.key)
        until = deleted.scheduled_purge_date
        return (
            f"it was deleted, and can be recovered{f' until {until:%Y-%m-%d}' if until else ''}: "
            f"`az keyvault secret recover --name {ref.key}`."
        )
    return f"vault {client.vault_url} has no secret {ref.key}: set it there, or correct conf."


def _refusal(error: "HttpResponseError") -> str:
    details = error.error
    inner: Any = getattr(details, "innererror", None) or {}
    code = inner.get("code") if isinstance(inner, dict) else None
    if code in _FORBIDDEN:
        return _FORBIDDEN[code]
    busy = error.status_code in (429, 500, 502, 503, 504)
    todo = "the vault is busy or failing: try later" if busy else "see the vault's answer"
    return f"{todo} ({error.status_code}: {_first(error)})."


def _first(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
