"""`matchlake secrets` as it is typed, against the sandbox's cloud."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from databricks.sdk.service.workspace import ScopeBackendType
from tests.support.clouds import ADMIN, TOKEN, running_cloud, workspace
from tests.support.sources import ROOT
from typer.testing import CliRunner, Result

from matchlake.cli.secrets import secrets_app
from matchlake.dev.sandbox.cloud.service import RESOURCE_ID, Cloud
from matchlake.errors import SecretError

VALUE = "canary-of-the-commands"


@pytest.fixture
def cloud(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cloud]:
    """A cloud below the lakehouse that conf/local.yml names, in a folder of the test's own."""
    shutil.copytree(ROOT / "conf", tmp_path / "conf")
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".lakehouse").mkdir()
    with running_cloud(tmp_path / ".lakehouse" / "cloud") as cloud:
        state = {"workspace": cloud.workspace_url, "token": TOKEN}
        (tmp_path / ".lakehouse" / "cloud" / "state.json").write_text(json.dumps(state))
        yield cloud


def call(*words: str, text: str | None = None) -> Result:
    return CliRunner().invoke(secrets_app, words, input=text, terminal_width=300)


def test_check_resolves_every_reference_and_shows_no_value(cloud: Cloud) -> None:
    missing = call("check")
    assert missing.exit_code == 1
    assert "FAILED" in missing.output
    assert "kafka.sasl.password" in missing.output
    for name in ("kafka-password", "erasure-salt"):
        cloud.client(cloud.vault_url, ADMIN).set_secret(name, VALUE)
    found = call("check")
    assert found.exit_code == 0, found.output
    assert "matchlake/kafka-password" in found.output
    assert "from databricks" in found.output
    assert VALUE not in found.output + missing.output


def test_put_keeps_a_secret_in_the_local_file(cloud: Cloud, tmp_path: Path) -> None:
    keys = ("kafka-password", "erasure-salt")
    for key in keys:
        done = call("put", "matchlake", key, text=f"{VALUE}\n")
        assert done.exit_code == 0, done.output
        assert VALUE not in done.output
    file = tmp_path / ".lakehouse" / "secrets.json"
    assert json.loads(file.read_text()) == {"matchlake": dict.fromkeys(keys, VALUE)}
    assert file.stat().st_mode & 0o777 == 0o600
    assert "from file" in call("check").output
    assert cloud.workspace_faults.seen == 0
    for words, why in (
        (("put", "a/b", "c"), "is not a valid reference"),
        (("put", "a", "c", "--env", "prod"), "is not a secret store of prod"),
        (("put", "a", "b"), "The pipe was empty"),
    ):
        with pytest.raises(SecretError, match=why):
            raise call(*words, text="").exception or AssertionError


def test_a_scope_is_made_over_the_vault(cloud: Cloud) -> None:
    words = ("scope", "create-keyvault", "eu", "--env", "local", "--dns-name", cloud.vault_url)
    done = call(*words, "--resource-id", RESOURCE_ID)
    assert done.exit_code == 0, done.output
    scopes = {scope.name: scope for scope in workspace(cloud).secrets.list_scopes()}
    assert scopes["eu"].backend_type is ScopeBackendType.AZURE_KEYVAULT
    assert scopes["eu"].keyvault_metadata is not None
    assert scopes["eu"].keyvault_metadata.resource_id == RESOURCE_ID
    with pytest.raises(SecretError, match=r"Scope eu was not created: .*already exists"):
        raise call(*words, "--resource-id", RESOURCE_ID).exception or AssertionError
    with pytest.raises(SecretError, match="is not the resource id of a vault"):
        raise call(*words, "--resource-id", "x").exception or AssertionError
