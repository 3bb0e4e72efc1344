"""Secrets from Databricks scopes, through the platform's own client.

A scope's values lie in Databricks or, for scopes of the Key Vault kind, in Azure Key Vault,
which Databricks reads for us; here both are the same call.
"""

import base64
import logging
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING, NoReturn

from matchlake.errors import SecretError, SecretMissingError
from matchlake.io.secrets.value import Secret, SecretRef

if TYPE_CHECKING:
    from databricks.sdk import WorkspaceClient

_log = logging.getLogger(__name__)
_NAMED = 12


class ScopeSecrets:
    """Secrets of the workspace that `connect` reaches; it is called on first use.

    `patience` is how many seconds a store that is busy or failing is asked again.
    """

    def __init__(self, connect: Callable[[], "WorkspaceClient"], patience: float) -> None:
        self._connect = connect
        self._patience = timedelta(seconds=patience)
        self._client: WorkspaceClient | None = None

    def get(self, ref: SecretRef) -> Secret:
        """The secret behind `ref`; raises SecretError with what to do about it."""
        from databricks.sdk.errors.base import DatabricksError  # noqa: PLC0415 - a second to import

        try:
            encoded = self._ask(ref)
        except DatabricksError as error:
            self._explain(ref, error)
        # ValueError: the client finds no way to log in; TimeoutError: it gave up retrying.
        except (ValueError, TimeoutError, OSError) as error:
            cause = error.__cause__ or error
            raise SecretError(
                f"{ref} cannot be had: Databricks cannot be reached ({cause}). On a platform the "
                "job's own identity is used; elsewhere set DATABRICKS_HOST and a way to log in, or "
                "choose other stores in conf (secrets.stores)."
            ) from None
        try:
            return Secret(base64.b64decode(encoded, validate=True).decode())
        except ValueError:
            raise SecretError(
                f"{ref} holds bytes that are not UTF-8 text: put it anew, as text."
            ) from None

    def _ask(self, ref: SecretRef) -> str:
        from databricks.sdk.retries import retried  # noqa: PLC0415 - a second to import

        self._client = self._client or self._connect()
        again = retried(is_retryable=_may_pass, timeout=self._patience)
        found = again(self._client.secrets.get_secret)(ref.scope, ref.key)
        return found.value or ""

    def _explain(self, ref: SecretRef, error: Exception) -> NoReturn:
        from databricks.sdk.errors import (  # noqa: PLC0415 - a second to import
            NotFound,
            PermissionDenied,
            Unauthenticated,
        )

        match error:
            case NotFound():
                raise SecretMissingError(
                    f"{ref} is not there: {self._what_is_there(ref)}"
                ) from None
            case PermissionDenied() if "access token" not in str(error):
                todo = (
                    f"let this identity read it (`databricks secrets put-acl {ref.scope} PRINCIPAL "
                    "READ`); for a scope backed by Key Vault, the vault has to let Databricks read."
                )
            case Unauthenticated() | PermissionDenied():
                todo = "the login has expired or is not valid: log in anew, or renew its token."
            case _:
                todo = "see Databricks' answer."
        # The client adds its whole configuration, which tells nobody anything.
        told = str(error).partition(" Config: ")[0]
        raise SecretError(f"{ref} is refused ({told}): {todo}") from None

    def _what_is_there(self, ref: SecretRef) -> str:
        """Tells a missing scope from a missing key, as far as this identity may know."""
        from databricks.sdk.errors.base import DatabricksError  # noqa: PLC0415 - a second to import

        if self._client is None:
            return "Databricks does not know it."
        with suppress(DatabricksError):
            scopes = sorted(scope.name or "" for scope in self._client.secrets.list_scopes())
            if ref.scope not in scopes:
                return (
                    f"there is no scope {ref.scope} (there is: {_some(scopes)}). Create it, see "
                    "`matchlake secrets scope create-keyvault --help`, or correct conf."
                )
            keys = sorted(one.key or "" for one in self._client.secrets.list_secrets(ref.scope))
            return f"scope {ref.scope} has no key {ref.key} (there is: {_some(keys)})."
        return f"no scope {ref.scope}, or no key {ref.key} in it."


def _may_pass(error: BaseException) -> str | None:
    """Why to ask again: the client itself does so after 429 and 503, but not after another 5xx."""
    from databricks.sdk.errors import (  # noqa: PLC0415 - a second to import
        DeadlineExceeded,
        InternalError,
        TemporarilyUnavailable,
    )
    from databricks.sdk.errors.base import DatabricksError  # noqa: PLC0415

    failing = isinstance(error, InternalError | DeadlineExceeded | TemporarilyUnavailable)
    # The base class alone stands for a status that the client has no class for: a gateway's 502.
    return "the service fails" if failing or type(error) is DatabricksError else None


def _some(names: list[str]) -> str:
    return ", ".join(names[:_NAMED]) + (", ..." if len(names) > _NAMED else "") or "none"
