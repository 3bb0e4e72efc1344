"""The sandbox's cloud inside the test's own process, and the real clients that speak to it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from matchlake.dev.sandbox.cloud.logins import TENANT
from matchlake.dev.sandbox.cloud.service import ADMIN, PLATFORM, USER, Cloud, Credentials
from matchlake.io.secrets.scopes import ScopeSecrets
from matchlake.io.secrets.vaults import VaultSecrets, connect_vault

if TYPE_CHECKING:
    from databricks.sdk import WorkspaceClient

TOKEN = "dapi-token-of-the-test"  # noqa: S105 - known to the test only
PATIENCE = 3.0


@contextmanager
def running_cloud(home: Path) -> Iterator[Cloud]:
    """A cloud that serves while the block runs."""
    home.mkdir(exist_ok=True)
    cloud = Cloud(home, Credentials(TOKEN, "platform-secret", "admin-secret"))
    cloud.start()
    try:
        yield cloud
    finally:
        cloud.stop()


def workspace(cloud: Cloud, token: str = TOKEN) -> "WorkspaceClient":
    """The real client of the cloud's workspace."""
    from databricks.sdk import WorkspaceClient  # noqa: PLC0415 - a second to import
    from databricks.sdk.core import Config  # noqa: PLC0415

    return WorkspaceClient(
        config=Config(
            host=cloud.workspace_url,
            token=token,
            auth_type="pat",
            retry_timeout_seconds=int(PATIENCE),
        )
    )


def scopes_of(cloud: Cloud, token: str = TOKEN) -> ScopeSecrets:
    """The product's store on that workspace."""
    return ScopeSecrets(lambda: workspace(cloud, token), PATIENCE)


def vaults_of(cloud: Cloud, application: str = PLATFORM, secret: str | None = None) -> VaultSecrets:
    """The product's store on the cloud's vault, as scope `vault`, logged in as `application`."""
    from azure.identity import ClientSecretCredential  # noqa: PLC0415 - half a second to import

    def connect(url: str):  # noqa: ANN202 - the client's type needs its import
        credential = ClientSecretCredential(
            TENANT,
            application,
            secret or cloud.logins.applications[application].secret,
            authority=cloud.logins.url,
            disable_instance_discovery=True,
            connection_verify=str(cloud.ca),
        )
        return connect_vault(
            url,
            PATIENCE,
            credential=credential,
            verify_challenge_resource=False,
            connection_verify=str(cloud.ca),
        )

    return VaultSecrets({"vault": cloud.vault_url}, connect)


__all__ = ["ADMIN", "PLATFORM", "TOKEN", "USER", "running_cloud", "scopes_of", "vaults_of"]
