"""Secrets from Databricks scopes, through the platform's own client.

The values of a scope are in Databricks, or in Azure Key Vault, which Databricks reads. Both
use the same call.
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
    """Secrets of the workspace that `connect` returns on first use.

    A request is repeated for `timeout_seconds` while the service is busy or fails.
    """

    def __init__(self, connect: Callable[[], "WorkspaceClient"], timeout_seconds: float) -> None:
        self._connect = connect
        self._timeout = timedelta(seconds=timeout_seconds)
        self._client: WorkspaceClient | None = None

    def get(self, ref: SecretRef) -> Secret:
        """The secret of `ref`; raises SecretError with instructions."""
        from databricks.sdk.errors.base import DatabricksError  # noqa: PLC0415 - a second to import

        try:
            encoded = self._ask(ref)
        except DatabricksError as error:
            self._explain(ref, error)
        # ValueError: the client has no credentials; TimeoutError: it stopped its retries.
        except (ValueError, TimeoutError, OSError) as error:
            cause = error.__cause__ or error
            raise SecretError(
                f"{ref} cannot be read: Databricks cannot be reached ({cause}). On a platform the "
                "job's own identity is used; elsewhere set DATABRICKS_HOST and credentials, or "
                "choose other stores in conf (secrets.stores)."
            ) from None
        try:
            return Secret(base64.b64decode(encoded, validate=True).decode())
        except ValueError:
            raise SecretError(
                f"{ref} holds bytes that are not UTF-8 text: put it again, as text."
            ) from None

    def _ask(self, ref: SecretRef) -> str:
        from databricks.sdk.retries import retried  # noqa: PLC0415 - a second to import

        self._client = self._client or self._connect()
        again = retried(is_retryable=_may_pass, timeout=self._timeout)
        secret = again(self._client.secrets.get_secret)(ref.scope, ref.key)
        return secret.value or ""

    def _explain(self, ref: SecretRef, error: Exception) -> NoReturn:
        from databricks.sdk.errors import (  # noqa: PLC0415 - a second to import
            NotFound,
            PermissionDenied,
            Unauthenticated,
        )

        match error:
            case NotFound():
                raise SecretMissingError(
                    f"{ref} does not exist: {self._what_exists(ref)}"
                ) from None
            case PermissionDenied() if "access token" not in str(error):
                todo = (
                    f"let this identity read it (`databricks secrets put-acl {ref.scope} PRINCIPAL "
                    "READ`); for a scope backed by Key Vault, the vault must let Databricks read."
                )
            case Unauthenticated() | PermissionDenied():
                todo = "the login has expired or is not valid: log in again, or renew its token."
            case _:
                todo = "see Databricks' answer."
        # The client appends its whole configuration to the message; it is cut off.
        reason = str(error).partition(" Config: ")[0]
        raise SecretError(f"{ref} is refused ({reason}): {todo}") from None

    def _what_exists(self, ref: SecretRef) -> str:
        """A sentence: is the scope missing, or the key, as far as this identity may know."""
        from databricks.sdk.errors.base import DatabricksError  # noqa: PLC0415 - a second to import

        if self._client is None:
            return "Databricks does not know it."
        with suppress(DatabricksError):
            scopes = sorted(scope.name or "" for scope in self._client.secrets.list_scopes())
            if ref.scope not in scopes:
                return (
                    f"there is no scope {ref.scope} (scopes: {_some(scopes)}). Create it, see "
                    "`matchlake secrets scope create-keyvault --help`, or correct conf."
                )
            keys = sorted(one.key or "" for one in self._client.secrets.list_secrets(ref.scope))
            return f"scope {ref.scope} has no key {ref.key} (keys: {_some(keys)})."
        return f"no scope {ref.scope}, or no key {ref.key} in it."


def _may_pass(error: BaseException) -> str | None:
    """The reason for a retry of other 5xx errors: the client only retries after 429 and 503."""
    from databricks.sdk.errors import (  # noqa: PLC0415 - a second to import
        DeadlineExceeded,
        InternalError,
        TemporarilyUnavailable,
    )
    from databricks.sdk.errors.base import DatabricksError  # noqa: PLC0415

    failing = isinstance(error, InternalError | DeadlineExceeded | TemporarilyUnavailable)
    # The SDK raises its base class for a status without a class, such as a gateway's 502.
    return "the service fails" if failing or type(error) is DatabricksError else None


def _some(names: list[str]) -> str:
    return ", ".join(names[:_NAMED]) + (", ..." if len(names) > _NAMED else "") or "none"
