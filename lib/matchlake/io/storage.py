"""Storage: paths that are allowed, files of state, and the settings of Azure Data Lake (abfss).

On a classic cluster without Unity Catalog's external locations a service principal reads and
writes by OAuth, with a secret from a scope. Account keys and shared access signatures are refused:
whoever has one can open the whole account, and the lake's log does not name them.
"""

import os
import re
from collections.abc import Mapping
from pathlib import Path

from matchlake.errors import TableError
from matchlake.io.params import StorageParams
from matchlake.io.secrets import SecretRef, SecretStore

_PROVIDER = "org.apache.hadoop.fs.azurebfs.oauth2.ClientCredsTokenProvider"
_NO_VALUE = "conf holds references to secrets, not secrets"
_REFUSED = {
    r"fs\.azure\.account\.key": "an account key gives access to the whole account",
    r"fs\.azure\.(sas|account\.sas)": "a shared access signature does not name its user",
    r"fs\.azure\.account\.oauth2\.(client\.secret|refresh\.token|user\.password)": _NO_VALUE,
    r"fs\.s3a\.(bucket\..+\.)?(access\.key|secret\.key|session\.token)": _NO_VALUE,
}
_REFERENCE = re.compile(r"\{\{secrets/[^/{}]+/[^/{}]+\}\}")
_OLD = ("wasb", "wasbs", "adl", "abfs", "http", "https")


def storage_settings(params: StorageParams, secrets: SecretStore) -> dict[str, str]:
    """Hadoop's settings for every account. Secret: none of them may be logged."""
    return {
        key: secrets.get(value).reveal() if isinstance(value, SecretRef) else value
        for key, value in _settings(params).items()
    }


def cluster_settings(params: StorageParams) -> dict[str, str]:
    """`storage_settings` for the `spark_conf` of a cluster, with references to the secrets."""
    return {
        f"spark.hadoop.{key}": (
            f"{{{{secrets/{value.scope}/{value.key}}}}}" if isinstance(value, SecretRef) else value
        )
        for key, value in _settings(params).items()
    }


def _settings(params: StorageParams) -> dict[str, str | SecretRef]:
    settings: dict[str, str | SecretRef] = {}
    for name, account in params.accounts.items():
        host = f"{name}.{account.suffix}"
        endpoint = f"https://login.microsoftonline.com/{account.tenant}/oauth2/token"
        settings |= {
            f"fs.azure.account.auth.type.{host}": "OAuth",
            f"fs.azure.account.oauth.provider.type.{host}": _PROVIDER,
            f"fs.azure.account.oauth2.client.id.{host}": account.client_id,
            f"fs.azure.account.oauth2.client.secret.{host}": account.client_secret,
            f"fs.azure.account.oauth2.client.endpoint.{host}": endpoint,
        }
    return settings


def refuse_keys(settings: Mapping[str, str]) -> Mapping[str, str]:
    """Returns the settings unchanged; raises ValueError if one holds a key or a secret.

    A reference to a service principal's secret, as in `cluster_settings`, is allowed.
    """
    for name, value in settings.items():
        for pattern, why in _REFUSED.items():
            if why == _NO_VALUE and _REFERENCE.fullmatch(value):
                continue
            if re.match(rf"(spark\.hadoop\.)?{pattern}", name, re.IGNORECASE):
                raise ValueError(
                    f"{name} is refused: {why}. Use a service principal, with a reference to its "
                    "secret, in storage.accounts instead."
                )
    return settings


def check_place(path: str) -> str:
    """Returns a folder's path unchanged; raises ValueError for a refused protocol or login.

    Paths with a password or a signature are refused, and protocols without encryption or OAuth.
    """
    scheme, _, rest = path.rpartition("://")
    if scheme.lower() in _OLD:
        raise ValueError(
            f"{scheme} is refused: use abfss://CONTAINER@ACCOUNT.dfs.core.windows.net/"
        )
    login = rest.partition("/")[0].rpartition("@")[0]
    if scheme and (":" in login or "?" in rest):
        raise ValueError(
            "a path must not hold a password or a signature: see storage.accounts in conf"
        )
    return path


def check_below(path: str) -> str:
    """Returns a path below a folder unchanged; raises ValueError if it can leave the folder."""
    if path.startswith(("/", "\\", "~")) or ":" in path or ".." in re.split(r"[/\\]", path):
        raise ValueError("must be below the folder: a relative path without ..")
    return path


def is_local(path: str) -> bool:
    """Whether Python can open the path; only Spark can open a URL such as abfss://..."""
    return re.match(r"[a-z][a-z0-9+.-]*:/", path) is None


def write_json(folder: str, name: str, number: int, text: str) -> Path:
    """Writes `folder/name/number.json`, whole or not at all; `folder` may be a mounted volume."""
    path = Path(folder) / name / f"{number}.json"
    part = path.with_suffix(f".{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(text, encoding="utf-8")
        part.replace(path)
    except OSError as error:
        raise TableError(f"{path} cannot be written: {error.strerror}.") from None
    return path
