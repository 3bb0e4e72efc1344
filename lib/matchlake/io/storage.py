"""Azure Data Lake by abfss: its settings are built here and nowhere else.

On a classic cluster without Unity Catalog's external locations a service principal reads and
writes, by OAuth, its secret from a scope. Keys of whole accounts and shared access signatures are
refused: they open everything to everybody who ever saw them, and name nobody in the lake's log.
"""

import re
from collections.abc import Mapping

from pydantic import Field, field_validator

from matchlake.io.secrets import SecretRef, SecretStore
from matchlake.params import Params

_PROVIDER = "org.apache.hadoop.fs.azurebfs.oauth2.ClientCredsTokenProvider"
_NO_VALUE = "conf holds no secret, only where one is"
_REFUSED = {
    r"fs\.azure\.account\.key": "an account's key opens all of it to whoever holds it",
    r"fs\.azure\.(sas|account\.sas)": "a shared access signature names nobody",
    r"fs\.azure\.account\.oauth2\.(client\.secret|refresh\.token|user\.password)": _NO_VALUE,
    r"fs\.s3a\.(bucket\..+\.)?(access\.key|secret\.key|session\.token)": _NO_VALUE,
}
_REFERENCE = re.compile(r"\{\{secrets/[^/{}]+/[^/{}]+\}\}")
_OLD = ("wasb", "wasbs", "adl", "abfs", "http", "https")
_ACCOUNT = re.compile(r"[a-z0-9]{3,24}")
_TENANT = re.compile(r"[A-Za-z0-9.-]{1,64}")


class AccountParams(Params):
    """As whom a storage account is used."""

    tenant: str
    """The directory's id or domain."""
    client_id: str
    """The application's id."""
    client_secret: SecretRef
    """Where its secret is."""
    suffix: str = Field("dfs.core.windows.net", pattern=r"^dfs(\.[a-z0-9-]+)+$")
    """What follows the account's name; another one in national clouds."""

    @field_validator("tenant")
    @classmethod
    def _is_a_tenant(cls, tenant: str) -> str:
        if not _TENANT.fullmatch(tenant):
            raise ValueError("a directory is named by its id or by a domain")
        return tenant


class StorageParams(Params):
    """Storage accounts that are used without Unity Catalog's external locations."""

    accounts: dict[str, AccountParams] = Field(default_factory=dict)
    """By the account's name: as whom it is used."""

    @field_validator("accounts")
    @classmethod
    def _are_accounts(cls, accounts: dict[str, AccountParams]) -> dict[str, AccountParams]:
        for name in accounts:
            if not _ACCOUNT.fullmatch(name):
                raise ValueError(f"{name!r} is no storage account: 3 to 24 letters and digits")
        return accounts


def storage_settings(params: StorageParams, secrets: SecretStore) -> dict[str, str]:
    """Hadoop's settings for every account. Secret: none of them may be logged."""
    return {
        key: secrets.get(value).reveal() if isinstance(value, SecretRef) else value
        for key, value in _settings(params).items()
    }


def cluster_settings(params: StorageParams) -> dict[str, str]:
    """The same as a Databricks cluster's `spark_conf` takes them: references, which it resolves."""
    return {
        f"spark.hadoop.{key}": (
            f"{{{{secrets/{value.scope}/{value.key}}}}}" if isinstance(value, SecretRef) else value
        )
        for key, value in _settings(params).items()
    }


def _settings(params: StorageParams) -> dict[str, str | SecretRef]:
    settings: dict[str, str | SecretRef] = {}
    for name, account in params.accounts.items():
        place = f"{name}.{account.suffix}"
        endpoint = f"https://login.microsoftonline.com/{account.tenant}/oauth2/token"
        settings |= {
            f"fs.azure.account.auth.type.{place}": "OAuth",
            f"fs.azure.account.oauth.provider.type.{place}": _PROVIDER,
            f"fs.azure.account.oauth2.client.id.{place}": account.client_id,
            f"fs.azure.account.oauth2.client.secret.{place}": account.client_secret,
            f"fs.azure.account.oauth2.client.endpoint.{place}": endpoint,
        }
    return settings


def refuse_keys(settings: Mapping[str, str]) -> Mapping[str, str]:
    """Returns settings as they are; raises ValueError where one opens a store by a key.

    A cluster's settings may refer to a service principal's secret, as `cluster_settings` has it.
    """
    for name, value in settings.items():
        for pattern, why in _REFUSED.items():
            if why == _NO_VALUE and _REFERENCE.fullmatch(value):
                continue
            if re.match(rf"(spark\.hadoop\.)?{pattern}", name, re.IGNORECASE):
                raise ValueError(
                    f"{name} is refused: {why}. Name a service principal and its secret's place "
                    "in storage.accounts instead."
                )
    return settings


def check_place(path: str) -> str:
    """Returns a folder's path as it is; raises ValueError where its protocol or login is refused.

    Refused is what carries a password or a signature, and what is not encrypted or knows no OAuth.
    """
    scheme, _, rest = path.rpartition("://")
    if scheme.lower() in _OLD:
        raise ValueError(f"{scheme} is not taken: abfss://CONTAINER@ACCOUNT.dfs.core.windows.net/")
    login = rest.partition("/")[0].rpartition("@")[0]
    if scheme and (":" in login or "?" in rest):
        raise ValueError("a path holds no password and no signature: see storage.accounts in conf")
    return path


def check_below(path: str) -> str:
    """Returns a path below a folder as it is; raises ValueError where it may lead out of it."""
    if path.startswith(("/", "\\", "~")) or ":" in path or ".." in re.split(r"[/\\]", path):
        raise ValueError("names files below the folder: no step upwards, no place of its own")
    return path
