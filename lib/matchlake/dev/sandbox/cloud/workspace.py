"""An emulator of a Databricks workspace: secret scopes of both kinds, their rights, jobs."""

import base64
import re
import time
from collections.abc import Callable, Mapping
from typing import Any

from matchlake.dev.sandbox.cloud.files import PrivateFile
from matchlake.dev.sandbox.cloud.web import Answer, Request

_NAME = re.compile(r"[A-Za-z0-9_.@-]{1,128}")
_LARGEST = 128 * 1024
_RIGHTS = ("READ", "WRITE", "MANAGE")
_NEEDS = {
    "get": "READ",
    "list": "READ",
    "put": "WRITE",
    "delete": "WRITE",
    "acls/put": "MANAGE",
    "acls/delete": "MANAGE",
    "acls/list": "READ",
    "acls/get": "READ",
    "scopes/delete": "MANAGE",
}
VAULT = "AZURE_KEYVAULT"

ReadVault = Callable[[str, str | None], Any]
"""Takes the address of a vault and a secret's name. Returns its value, or all names for None."""


class RefusalError(Exception):
    """Ends a request with an error in the platform's format."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.answer = Answer(status, {"error_code": code, "message": message})


class Workspace:
    """Serves secrets, and jobs if it has any, to the users of the tokens in `users`.

    Key-Vault-backed scopes are read through `read_vault`, as the platform's own application.
    """

    jobs: Callable[[str, Mapping[str, Any]], dict[str, Any]] | None = None
    """Answers requests to `/api/2.2/jobs/...`; None: there is no such API."""

    def __init__(self, file: PrivateFile, users: Mapping[str, str], read_vault: ReadVault) -> None:
        self._file = file
        self._read_vault = read_vault
        self.users = dict(users)

    def handle(self, request: Request) -> Answer:
        """Answers one request."""
        if request.path == (".well-known", "databricks-config"):
            return Answer(body={"workspace_id": "1", "cloud": "Azure"})
        of_jobs = self.jobs is not None and request.path[:3] == ("api", "2.2", "jobs")
        if not of_jobs and request.path[:3] != ("api", "2.0", "secrets"):
            return Answer(404, {"error_code": "ENDPOINT_NOT_FOUND", "message": "No such API."})
        user = self.users.get(request.bearer)
        if user is None:
            code = 403 if request.bearer else 401
            why = "Invalid access token." if request.bearer else "Credential was not sent."
            return Answer(code, {"error_code": str(code), "message": why})
        action = "/".join(request.path[3:])
        fields = dict(request.query) or request.json
        try:
            if self.jobs and of_jobs:
                return Answer(body=self.jobs(action, fields))
            with self._file.changing() as data:
                return Answer(body=self._act(action, fields, data.setdefault("scopes", {}), user))
        except RefusalError as refusal:
            return refusal.answer

    def _act(
        self, action: str, fields: Mapping[str, Any], scopes: dict[str, Any], user: str
    ) -> dict[str, Any]:
        if action == "scopes/list":
            return {"scopes": [_shown(name, scope) for name, scope in scopes.items()]}
        name = str(fields.get("scope", ""))
        if action == "scopes/create":
            scopes[name] = _new_scope(name, fields, scopes, user)
            return {}
        if action not in _NEEDS:
            raise RefusalError(404, "ENDPOINT_NOT_FOUND", f"No API for secrets/{action}.")
        if name not in scopes:
            raise RefusalError(404, "RESOURCE_DOES_NOT_EXIST", f"Scope {name} does not exist!")
        scope = scopes[name]
        _require(scope, user, _NEEDS[action])
        if action == "scopes/delete":
            del scopes[name]
            return {}
        if action.startswith("acls/"):
            return _act_on_rights(action, fields, scope["acls"])
        return self._act_on_keys(action, fields, scope)

    def _act_on_keys(
        self, action: str, fields: Mapping[str, Any], scope: dict[str, Any]
    ) -> dict[str, Any]:
        key, backed = str(fields.get("key", "")), scope["keyvault_metadata"]
        keys: dict[str, Any] = scope["secrets"]
        if backed and action in ("put", "delete"):
            raise RefusalError(400, "BAD_REQUEST", "A scope backed by Key Vault is read-only.")
        match action:
            case "list":
                names = self._read_vault(backed["dns_name"], None) if backed else keys
                return {"secrets": [{"key": name} for name in names]}
            case "get" if backed:
                value = self._read_vault(backed["dns_name"], key)
                return {"key": key, "value": base64.b64encode(value.encode()).decode()}
            case "put":
                keys[key] = _new_secret(key, fields)
                return {}
        if key not in keys:
            raise RefusalError(404, "RESOURCE_DOES_NOT_EXIST", f"Secret {key} does not exist.")
        if action == "delete":
            del keys[key]
            return {}
        return {"key": key, "value": keys[key]["value"]}


def _new_scope(
    name: str, fields: Mapping[str, Any], scopes: Mapping[str, Any], user: str
) -> dict[str, Any]:
    if not _NAME.fullmatch(name):
        raise RefusalError(400, "INVALID_PARAMETER_VALUE", "A scope's name has no such form.")
    if name in scopes:
        raise RefusalError(400, "RESOURCE_ALREADY_EXISTS", f"Scope {name} already exists!")
    backend = fields.get("scope_backend_type") or "DATABRICKS"
    metadata = fields.get("backend_azure_keyvault")
    if (backend == VAULT) != bool(metadata) or (
        metadata and not (metadata.get("dns_name") and metadata.get("resource_id"))
    ):
        raise RefusalError(400, "INVALID_PARAMETER_VALUE", "A vault has dns_name and resource_id.")
    everyone = {"users": "MANAGE"} if fields.get("initial_manage_principal") == "users" else {}
    return {
        "backend_type": backend,
        "keyvault_metadata": metadata,
        "secrets": {},
        "acls": {user: "MANAGE", **everyone},
    }


def _new_secret(key: str, fields: Mapping[str, Any]) -> dict[str, Any]:
    text = fields.get("string_value")
    raw = text.encode() if text is not None else base64.b64decode(fields["bytes_value"])
    if not _NAME.fullmatch(key) or len(raw) > _LARGEST:
        raise RefusalError(400, "INVALID_PARAMETER_VALUE", "Not a key, or too long a value.")
    return {"value": base64.b64encode(raw).decode(), "updated": int(time.time() * 1000)}


def _require(scope: Mapping[str, Any], user: str, right: str) -> None:
    rights = scope["acls"]
    held = max(
        (_RIGHTS.index(rights[principal]) for principal in (user, "users") if principal in rights),
        default=-1,
    )
    if held < _RIGHTS.index(right):
        raise RefusalError(403, "PERMISSION_DENIED", f"{user} does not have {right} on the scope.")


def _act_on_rights(
    action: str, fields: Mapping[str, Any], rights: dict[str, str]
) -> dict[str, Any]:
    principal = str(fields.get("principal", ""))
    match action:
        case "acls/list":
            return {"items": [{"principal": who, "permission": rights[who]} for who in rights]}
        case "acls/put":
            rights[principal] = _RIGHTS[_RIGHTS.index(fields["permission"])]
            return {}
    if principal not in rights:
        raise RefusalError(404, "RESOURCE_DOES_NOT_EXIST", f"{principal} has no rights.")
    if action == "acls/delete":
        del rights[principal]
        return {}
    return {"principal": principal, "permission": rights[principal]}


def _shown(name: str, scope: Mapping[str, Any]) -> dict[str, Any]:
    shown = {"name": name, "backend_type": scope["backend_type"]}
    if scope["keyvault_metadata"]:
        shown["keyvault_metadata"] = scope["keyvault_metadata"]
    return shown
