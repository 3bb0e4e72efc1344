"""The real clients of Databricks and of Key Vault, over the wire, against the sandbox's cloud."""

import dataclasses
import logging
from collections.abc import Iterator

import pytest
from azure.core.exceptions import HttpResponseError, ServiceRequestError
from databricks.sdk.errors import DatabricksError
from databricks.sdk.service.workspace import AclPermission, ScopeBackendType
from tests.support.clouds import (
    ADMIN,
    PLATFORM,
    TOKEN,
    USER,
    running_cloud,
    scopes_of,
    vaults_of,
    workspace,
)

from matchlake.dev.sandbox.cloud.service import SCOPE, Cloud
from matchlake.dev.sandbox.cloud.web import Answer
from matchlake.errors import SecretError, SecretMissingError
from matchlake.io.secrets import CachedSecrets, SecretRef

ODD = {
    "quotes": "a'b\"c`d\\e$f",
    "newlines": "first\nsecond\r\n\tthird",
    "unicode": "päßwörd \N{GRINNING FACE} 東京",
    "large": "x" * 25_600,
    "looks-like-json": '{"a": "b"}',
}
BUSY = Answer(429, {"error": {"code": "Throttled", "message": "slow down"}}, {"Retry-After": "1"})


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    with running_cloud(tmp_path_factory.mktemp("cloud")) as cloud:
        admin = cloud.client(cloud.vault_url, ADMIN)
        for name, value in ODD.items():
            admin.set_secret(name, value)
        yield cloud


@pytest.fixture(autouse=True)
def no_faults_left(cloud: Cloud) -> Iterator[None]:
    yield
    left = [*cloud.vault_faults.waiting, *cloud.workspace_faults.waiting]
    cloud.vault_faults.waiting.clear()
    cloud.workspace_faults.waiting.clear()
    assert left == []


def ref(key: str, scope: str = SCOPE) -> SecretRef:
    return SecretRef(scope=scope, key=key)


@pytest.mark.parametrize("name", ODD)
def test_odd_values_come_through_the_scope_and_straight_from_the_vault(
    cloud: Cloud, name: str
) -> None:
    assert scopes_of(cloud).get(ref(name)).reveal() == ODD[name]
    assert vaults_of(cloud).get(ref(name, "vault")).reveal() == ODD[name]


def test_a_scope_of_databricks_own_holds_odd_values(cloud: Cloud) -> None:
    client = workspace(cloud)
    client.secrets.create_scope("own")
    for name, value in ODD.items():
        client.secrets.put_secret("own", name, string_value=value)
        assert scopes_of(cloud).get(ref(name, "own")).reveal() == value
    client.secrets.put_secret("own", "bytes", bytes_value="/w==")
    with pytest.raises(SecretError, match="not UTF-8 text"):
        scopes_of(cloud).get(ref("bytes", "own"))
    client.secrets.delete_scope("own")


def test_a_missing_scope_and_a_missing_key_have_different_errors(cloud: Cloud) -> None:
    with pytest.raises(SecretMissingError, match=rf"no scope nowhere \(scopes: .*{SCOPE}"):
        scopes_of(cloud).get(ref("x", "nowhere"))
    with pytest.raises(SecretMissingError, match=rf"scope {SCOPE} has no key x \(keys: .*quo"):
        scopes_of(cloud).get(ref("x"))
    with pytest.raises(SecretMissingError, match=r"has no secret x: set it there"):
        vaults_of(cloud).get(ref("x", "vault"))
    with pytest.raises(SecretMissingError, match=r"has no vault x \(vaults: vault\)"):
        vaults_of(cloud).get(ref("x", "x"))


def test_a_denied_user_gets_the_permission_to_request(cloud: Cloud) -> None:
    cloud.workspace.users["dapi-other"] = "other@example.com"
    with pytest.raises(SecretError, match=rf"is refused .*put-acl {SCOPE} PRINCIPAL READ"):
        scopes_of(cloud, "dapi-other").get(ref("quotes"))
    workspace(cloud).secrets.put_acl(SCOPE, "other@example.com", AclPermission.READ)
    assert scopes_of(cloud, "dapi-other").get(ref("quotes")).reveal() == ODD["quotes"]
    with pytest.raises(DatabricksError, match="does not have MANAGE"):
        workspace(cloud, "dapi-other").secrets.delete_scope(SCOPE)
    workspace(cloud).secrets.delete_acl(SCOPE, "other@example.com")
    acls = {acl.principal for acl in workspace(cloud).secrets.list_acls(SCOPE)}
    assert acls == {USER}


def test_a_denied_application_gets_the_permission_to_request(cloud: Cloud) -> None:
    known = cloud.logins.applications
    known["nobody"] = dataclasses.replace(known[ADMIN], rights=frozenset())
    with pytest.raises(SecretError, match="permission Get in its access policies"):
        vaults_of(cloud, "nobody").get(ref("quotes", "vault"))


def test_an_expired_login_says_so(cloud: Cloud) -> None:
    with pytest.raises(SecretError, match=r"does not accept this login .*Renew the credential"):
        vaults_of(cloud, PLATFORM, "wrong").get(ref("quotes", "vault"))
    known = cloud.logins.applications
    known["late"] = dataclasses.replace(known[ADMIN], expired=True)
    with pytest.raises(SecretError, match=r"AADSTS7000222.*expired"):
        vaults_of(cloud, "late").get(ref("quotes", "vault"))
    with pytest.raises(SecretError, match=r"login has expired or is not valid"):
        scopes_of(cloud, "dapi-expired").get(ref("quotes"))


def test_disabled_and_deleted_secrets_say_how_to_have_them_back(cloud: Cloud) -> None:
    admin = cloud.client(cloud.vault_url, ADMIN)
    admin.set_secret("passing", "there")
    version = admin.get_secret("passing").properties.version
    admin.update_secret_properties("passing", version, enabled=False)
    with pytest.raises(SecretError, match="secret is disabled: enable it"):
        vaults_of(cloud).get(ref("passing", "vault"))
    with pytest.raises(SecretError, match=r"is refused .*[dD]isabled"):
        scopes_of(cloud).get(ref("passing"))
    admin.begin_delete_secret("passing", _polling_interval=0).wait()
    with pytest.raises(
        SecretMissingError, match=r"was deleted, .* recovered until 20.*recover --name"
    ):
        vaults_of(cloud).get(ref("passing", "vault"))
    with pytest.raises(HttpResponseError, match="deleted but recoverable"):
        admin.set_secret("passing", "again")
    admin.begin_recover_deleted_secret("passing", _polling_interval=0).wait()
    admin.update_secret_properties("passing", version, enabled=True)
    assert vaults_of(cloud).get(ref("passing", "vault")).reveal() == "there"


@pytest.mark.parametrize("name", ["under_score", "dot.ted", "a" * 128])
def test_a_name_that_no_vault_allows_is_rejected_before_a_request(cloud: Cloud, name: str) -> None:
    seen = cloud.vault_faults.seen
    with pytest.raises(SecretError, match="1 to 127 letters, digits and hyphens"):
        vaults_of(cloud).get(ref(name, "vault"))
    assert cloud.vault_faults.seen == seen


def test_a_rotation_is_seen_after_the_cache_time(cloud: Cloud) -> None:
    now = [0.0]
    admin = cloud.client(cloud.vault_url, ADMIN)
    store = CachedSecrets(scopes_of(cloud), 300, lambda: now[0])
    for number in range(2):
        admin.set_secret("rotating", f"version-{number}")
        assert store.get(ref("rotating")).reveal() == "version-0"
    now[0] = 300
    assert store.get(ref("rotating")).reveal() == "version-1"
    versions = list(admin.list_properties_of_secret_versions("rotating"))
    assert len(versions) == 2
    assert admin.get_secret("rotating", versions[0].version).value == "version-0"


def test_requests_to_a_busy_or_failing_service_are_repeated(cloud: Cloud) -> None:
    failing = Answer(500, {"error_code": "INTERNAL_ERROR", "message": "try later"})
    busy = Answer(429, {"error_code": "REQUEST_LIMIT_EXCEEDED", "message": "slow"})
    busy = dataclasses.replace(busy, headers={"Retry-After": "0"})
    store = scopes_of(cloud)
    store.get(ref("quotes"))
    cloud.workspace_faults.waiting += [busy, failing]
    assert store.get(ref("quotes")).reveal() == ODD["quotes"]
    direct = vaults_of(cloud)
    direct.get(ref("quotes", "vault"))
    cloud.vault_faults.waiting += [BUSY, Answer(503, {"error": {"code": "x", "message": "y"}})]
    assert direct.get(ref("quotes", "vault")).reveal() == ODD["quotes"]


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (500, {"error_code": "INTERNAL_ERROR", "message": "try later"}),
        (502, {"message": "Bad Gateway"}),
        (502, None),
        (503, {"error_code": "TEMPORARILY_UNAVAILABLE", "message": "restarting"}),
        (504, {"error_code": "DEADLINE_EXCEEDED", "message": "too slow"}),
        (504, None),
    ],
)
def test_requests_to_a_failing_gateway_are_repeated(
    cloud: Cloud, status: int, body: dict[str, str] | None
) -> None:
    store = scopes_of(cloud)
    store.get(ref("quotes"))
    cloud.workspace_faults.waiting.append(Answer(status, body))
    assert store.get(ref("quotes")).reveal() == ODD["quotes"]


def test_requests_to_a_service_that_stays_busy_fail(cloud: Cloud) -> None:
    failing = Answer(500, {"error_code": "INTERNAL_ERROR", "message": "try later"})
    store = scopes_of(cloud)
    store.get(ref("quotes"))
    cloud.workspace_faults.waiting += [failing] * 20
    with pytest.raises(SecretError, match=r"cannot be reached"):
        store.get(ref("quotes"))
    cloud.workspace_faults.waiting.clear()


def test_a_vault_whose_certificate_is_not_trusted_gets_no_token(cloud: Cloud) -> None:
    from azure.keyvault.secrets import SecretClient  # noqa: PLC0415
    from azure.keyvault.secrets._shared import http_challenge_cache  # noqa: PLC0415

    class NoCredential:
        def get_token(self, *_: object, **__: object) -> None:
            raise AssertionError("it was asked for a token")

    http_challenge_cache.clear()
    client = SecretClient(cloud.vault_url, NoCredential(), retry_total=0)
    with pytest.raises(ServiceRequestError, match="CERTIFICATE_VERIFY_FAILED"):
        client.get_secret("quotes")


def test_a_key_vault_scope_is_made_through_the_sdk_and_is_read_only(cloud: Cloud) -> None:
    client = workspace(cloud)
    scopes = {scope.name: scope for scope in client.secrets.list_scopes()}
    assert scopes[SCOPE].backend_type is ScopeBackendType.AZURE_KEYVAULT
    assert scopes[SCOPE].keyvault_metadata is not None
    assert scopes[SCOPE].keyvault_metadata.dns_name == cloud.vault_url
    with pytest.raises(DatabricksError, match="read-only"):
        client.secrets.put_secret(SCOPE, "x", string_value="y")
    with pytest.raises(DatabricksError, match="already exists"):
        client.secrets.create_scope(SCOPE)


def test_no_value_is_in_the_clients_logs(cloud: Cloud, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    scopes_of(cloud).get(ref("unicode"))
    vaults_of(cloud).get(ref("unicode", "vault"))
    assert caplog.records
    for shown in (
        ODD["unicode"],
        TOKEN,
        "platform-secret",
        cloud.logins.applications[ADMIN].secret,
    ):
        assert shown not in caplog.text


def test_the_state_of_the_cloud_is_readable_only_by_its_owner(cloud: Cloud) -> None:
    for name in ("vault.json", "workspace.json", "server.pem"):
        assert (cloud.ca.parent / name).stat().st_mode & 0o777 == 0o600
