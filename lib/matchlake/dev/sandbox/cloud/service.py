"""Runs the emulators: vault and logins behind TLS, and a workspace that reads the vault."""

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from matchlake.dev.sandbox.cloud.certificates import make_certificates
from matchlake.dev.sandbox.cloud.files import PrivateFile
from matchlake.dev.sandbox.cloud.logins import TENANT, Application, Logins
from matchlake.dev.sandbox.cloud.vault import Vault
from matchlake.dev.sandbox.cloud.web import Answer, Faults, Request, WebServer
from matchlake.dev.sandbox.cloud.workspace import VAULT, RefusalError, Workspace

if TYPE_CHECKING:
    from azure.keyvault.secrets import SecretClient

SCOPE = "matchlake"
"""The scope of every sandbox's workspace; it reads the vault."""

PLATFORM = "databricks"
"""The application of the workspace for vaults; it may get and list."""

ADMIN = "admin"
"""The application with all rights in the vault."""

USER = "sandbox"
"""The workspace user of the token in the sandbox's state."""

RESOURCE_ID = (
    f"/subscriptions/{TENANT}/resourceGroups/sandbox/providers/Microsoft.KeyVault/vaults/sandbox"
)


class Credentials(NamedTuple):
    """The secrets of a cloud: the user's token, and the applications' secrets."""

    token: str
    platform: str
    admin: str


class Cloud:
    """The servers of the sandbox in `home`; port 0 is any free one."""

    def __init__(
        self, home: Path, credentials: Credentials, vault_port: int = 0, workspace_port: int = 0
    ) -> None:
        make_certificates(home)
        self.ca = home / "ca.pem"
        self.logins = Logins(
            {
                PLATFORM: Application(credentials.platform),
                ADMIN: Application(credentials.admin, frozenset({"get", "list", "set", "delete"})),
            }
        )
        self.vault = Vault(PrivateFile(home / "vault.json"), self.logins)
        file = PrivateFile(home / "workspace.json")
        self.workspace = Workspace(file, {credentials.token: USER}, self._read_vault)
        self.vault_faults, self.workspace_faults = Faults(), Faults()
        self._open_vault = functools.cache(self.client)
        self._behind_tls = WebServer(
            self.vault_faults.wrap(self._vault_or_login), vault_port, home / "server.pem"
        )
        self._plain = WebServer(self.workspace_faults.wrap(self.workspace.handle), workspace_port)
        self.vault.url = self.logins.url = self.vault_url = self._behind_tls.url
        self.workspace_url = self._plain.url
        self._make_scope(file)

    def start(self) -> None:
        """Serves until the process ends or `stop` is called."""
        self._behind_tls.start()
        self._plain.start()

    def stop(self) -> None:
        """Ends both servers."""
        self._behind_tls.stop()
        self._plain.stop()

    def client(self, url: str, application: str = PLATFORM) -> "SecretClient":
        """A client of Azure's SDK for the vault at `url`, with the login of `application`."""
        from azure.identity import ClientSecretCredential  # noqa: PLC0415 - half a second to import
        from azure.keyvault.secrets import SecretClient  # noqa: PLC0415

        credential = ClientSecretCredential(
            TENANT,
            application,
            self.logins.applications[application].secret,
            authority=self.logins.url,
            disable_instance_discovery=True,
            connection_verify=str(self.ca),
        )
        return SecretClient(
            url, credential, verify_challenge_resource=False, connection_verify=str(self.ca)
        )

    def _vault_or_login(self, request: Request) -> Answer:
        handle = self.logins.handle if request.path[0] == TENANT else self.vault.handle
        return handle(request)

    def _read_vault(self, url: str, name: str | None) -> Any:
        from azure.core.exceptions import (  # noqa: PLC0415 - half a second to import
            AzureError,
            HttpResponseError,
            ResourceNotFoundError,
        )

        vault = self._open_vault(url)
        try:
            if name is None:
                return [secret.name for secret in vault.list_properties_of_secrets()]
            return vault.get_secret(name).value
        except ResourceNotFoundError:
            raise RefusalError(
                404, "RESOURCE_DOES_NOT_EXIST", f"Secret {name} does not exist in the vault."
            ) from None
        except HttpResponseError as error:
            raise RefusalError(403, "PERMISSION_DENIED", f"Key Vault: {error.message}") from None
        except AzureError as error:
            raise RefusalError(
                500, "INTERNAL_ERROR", f"Key Vault: {type(error).__name__}"
            ) from None

    def _make_scope(self, file: PrivateFile) -> None:
        """Connects the sandbox's scope to the vault at its current port."""
        with file.changing() as data:
            scope = data.setdefault("scopes", {}).setdefault(SCOPE, {"acls": {USER: "MANAGE"}})
            scope.update(backend_type=VAULT, secrets={})
            scope["keyvault_metadata"] = {"dns_name": self.vault_url, "resource_id": RESOURCE_ID}
