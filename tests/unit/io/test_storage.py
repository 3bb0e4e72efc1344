"""abfss by OAuth from a scope; keys, signatures and odd places are refused with a reason."""

from typing import Any

import pytest
from pydantic import ValidationError
from tests.support.sources import ROOT

from matchlake.config import load_config
from matchlake.errors import ConfigError
from matchlake.io.secrets import Secret, SecretRef
from matchlake.io.storage import (
    StorageParams,
    cluster_settings,
    refuse_keys,
    storage_settings,
)

ACCOUNT: dict[str, Any] = {
    "tenant": "11111111-2222-3333-4444-555555555555",
    "client_id": "app",
    "client_secret": {"scope": "lake", "key": "app-secret"},
}
PLACE = "mylake.dfs.core.windows.net"


class One:
    """A store with one secret."""

    def get(self, ref: SecretRef) -> Secret:
        assert str(ref) == "secret lake/app-secret"
        return Secret("canary-value")


def test_storage_settings_of_an_account() -> None:
    params = StorageParams.model_validate({"accounts": {"mylake": ACCOUNT}})
    settings = storage_settings(params, One())
    assert settings == {
        f"fs.azure.account.auth.type.{PLACE}": "OAuth",
        f"fs.azure.account.oauth.provider.type.{PLACE}": (
            "org.apache.hadoop.fs.azurebfs.oauth2.ClientCredsTokenProvider"
        ),
        f"fs.azure.account.oauth2.client.id.{PLACE}": "app",
        f"fs.azure.account.oauth2.client.secret.{PLACE}": "canary-value",
        f"fs.azure.account.oauth2.client.endpoint.{PLACE}": (
            "https://login.microsoftonline.com/11111111-2222-3333-4444-555555555555/oauth2/token"
        ),
    }
    on_cluster = cluster_settings(params)
    assert "canary-value" not in str(on_cluster)
    secret = on_cluster[f"spark.hadoop.fs.azure.account.oauth2.client.secret.{PLACE}"]
    assert secret == "{{secrets/lake/app-secret}}"  # noqa: S105 - a reference


@pytest.mark.parametrize(
    ("key", "why"),
    [
        ("fs.azure.account.key.mylake.dfs.core.windows.net", "account key gives access"),
        (
            "spark.hadoop.fs.azure.account.key.mylake.dfs.core.windows.net",
            "gives access to the whole account",
        ),
        ("FS.Azure.Account.Key.x", "gives access to the whole account"),
        ("fs.azure.sas.fixed.token.mylake.dfs.core.windows.net", "does not name its user"),
        (
            "fs.azure.account.oauth2.client.secret.mylake.dfs.core.windows.net",
            "references to secrets",
        ),
        ("fs.azure.account.oauth2.refresh.token", "references to secrets"),
        ("fs.azure.account.oauth2.user.password.mylake", "references to secrets"),
        ("fs.s3a.secret.key", "references to secrets"),
        ("fs.s3a.bucket.my.lake.secret.key", "references to secrets"),
        ("spark.hadoop.fs.s3a.bucket.mylake.session.token", "references to secrets"),
    ],
)
def test_refuse_keys_names_the_reason(key: str, why: str) -> None:
    with pytest.raises(ConfigError, match=why) as caught:
        load_config("demo", [f"spark={{{key}: canary-value}}"], ROOT / "conf")
    assert "canary-value" not in str(caught.value)


def test_cluster_settings_hold_references_and_no_account_key() -> None:
    params = StorageParams.model_validate({"accounts": {"mylake": ACCOUNT}})
    assert refuse_keys(cluster_settings(params)) == cluster_settings(params)
    with pytest.raises(ValueError, match="gives access to the whole account"):
        refuse_keys({"spark.hadoop.fs.azure.account.key.mylake": "{{secrets/lake/key}}"})


@pytest.mark.parametrize(
    ("override", "why"),
    [
        ("lake.folder=wasbs://c@a.blob.core.windows.net/x", "wasbs is refused: use abfss"),
        ("lake.folder=abfs://c@a.dfs.core.windows.net/x", "abfs is refused"),
        ("lake.folder=https://a.blob.core.windows.net/x", "https is refused"),
        ("lake.folder=abfss://u:canary@a.dfs.core.windows.net/x", "must not hold a password"),
        ("checkpoints='abfss://c@a.dfs.core.windows.net/x?sig=canary'", "or a signature"),
        ("lake.sources.users.path=../../etc/passwd", "relative path without"),
        ("lake.sources.users.path=/etc/passwd", "below the folder"),
        ("lake.sources.users.path='file:/etc/passwd'", "below the folder"),
        ("lake.sources.users.path='a/../../b'", "relative path without"),
    ],
)
def test_paths_with_refused_protocol_login_or_steps_raise(override: str, why: str) -> None:
    with pytest.raises(ConfigError, match=why) as caught:
        load_config("demo", [override], ROOT / "conf")
    assert "canary" not in str(caught.value)


def test_paths_plain_ones_are_accepted() -> None:
    for place in ("abfss://c@a.dfs.core.windows.net/x", "hdfs://h:8020/x", "/Volumes/a", "../x"):
        assert load_config("demo", [f"lake.folder={place}"], ROOT / "conf").lake.folder == place


@pytest.mark.parametrize("name", ["UPPER", "a", "a.b", "x/../y", "a" * 25])
def test_storage_params_invalid_account_name_raises(name: str) -> None:
    with pytest.raises(ValidationError, match="is not the name of a storage account"):
        StorageParams.model_validate({"accounts": {name: ACCOUNT}})
