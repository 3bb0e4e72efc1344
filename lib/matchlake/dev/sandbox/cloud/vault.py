"""An emulator of the secrets of Azure Key Vault: addresses, bodies, errors, challenge."""

import re
import time
import uuid
from collections.abc import Callable, Mapping
from typing import Any

from matchlake.dev.sandbox.cloud.files import PrivateFile
from matchlake.dev.sandbox.cloud.logins import TENANT, Logins
from matchlake.dev.sandbox.cloud.web import Answer, Request

RESOURCE = "https://vault.azure.net"
_NAME = re.compile(r"[0-9A-Za-z-]{1,127}")
_LARGEST = 25_600
_KEPT_DAYS = 90
_RIGHTS = {"GET": "get", "PUT": "set", "PATCH": "set", "DELETE": "delete", "POST": "set"}


class Vault:
    """Serves the secrets of `file`: `{"live": {name: [versions]}, "deleted": ...}`."""

    def __init__(self, file: PrivateFile, logins: Logins) -> None:
        self._file = file
        self._logins = logins
        self.url = ""

    def handle(self, request: Request) -> Answer:
        """Answers one request: checks the token first, then the rights."""
        client = self._logins.who(request.bearer, RESOURCE)
        if client is None:
            return self._challenge()
        right = "list" if request.path in (("secrets",), ("deletedsecrets",)) else None
        right = right or _RIGHTS[request.method]
        if right not in self._logins.applications[client].rights:
            return _error(
                403, "Forbidden", f"No permission {right} on secrets.", "ForbiddenByPolicy"
            )
        with self._file.changing() as data:
            live: dict[str, Any] = data.setdefault("live", {})
            deleted: dict[str, Any] = data.setdefault("deleted", {})
            return self._route(request, live, deleted)

    def _route(self, request: Request, live: dict[str, Any], deleted: dict[str, Any]) -> Answer:
        kind, name, *rest = (*request.path, "")
        if kind == "deletedsecrets":
            return self._route_deleted(request.method, name, live, deleted)
        versions: list[dict[str, Any]] = live.get(name, [])
        match request.method:
            case "PUT":
                return self._set(name, request.json, live, deleted)
            case "PATCH":
                return self._update(name, versions, rest[0], request.json)
            case "DELETE" if versions:
                deleted[name] = live.pop(name)
                return self._deleted(name, deleted)
            case "GET":
                return self._read(name, rest[:1], live)
        return _missing(name)

    def _read(self, name: str, rest: list[str], live: dict[str, Any]) -> Answer:
        if not name:
            return self._listed({each: history[-1] for each, history in live.items()})
        versions = live.get(name, [])
        if rest == ["versions"]:
            return self._listed({f"{name}/{one['version']}": one for one in versions})
        return self._get(name, versions, "".join(rest))

    def _route_deleted(
        self, method: str, name: str, live: dict[str, Any], deleted: dict[str, Any]
    ) -> Answer:
        if name not in deleted:
            return _missing(name)
        if method == "POST":
            live[name] = deleted.pop(name)
            return Answer(body=self._bundle(name, live[name][-1]))
        return self._deleted(name, deleted)

    def _challenge(self) -> Answer:
        challenge = f'Bearer authorization="{self._logins.url}/{TENANT}", resource="{RESOURCE}"'
        body = {"error": {"code": "Unauthorized", "message": "AKV10000: No valid bearer token."}}
        return Answer(401, body, {"WWW-Authenticate": challenge})

    def _get(self, name: str, versions: list[dict[str, Any]], version: str) -> Answer:
        found_version = _version(versions, version)
        if found_version is None:
            return _missing(name)
        if not found_version["enabled"]:
            return _error(403, "Forbidden", "The secret is disabled.", "SecretDisabled")
        return Answer(body={"value": found_version["value"], **self._bundle(name, found_version)})

    def _set(
        self,
        name: str,
        fields: Mapping[str, Any],
        live: dict[str, Any],
        deleted: Mapping[str, Any],
    ) -> Answer:
        value = fields.get("value")
        if not _NAME.fullmatch(name) or not isinstance(value, str):
            return _error(400, "BadParameter", "The name or the value cannot be one.")
        if len(value.encode()) > _LARGEST:
            return _error(400, "BadParameter", "The value is too large.")
        if name in deleted:
            inner = "ObjectIsDeletedButRecoverable"
            return _error(409, "Conflict", f"Secret {name} is deleted but recoverable.", inner)
        live.setdefault(name, []).append(new_version(value, fields.get("contentType")))
        return Answer(body={"value": value, **self._bundle(name, live[name][-1])})

    def _update(
        self, name: str, versions: list[dict[str, Any]], version: str, fields: Mapping[str, Any]
    ) -> Answer:
        found_version = _version(versions, version)
        if found_version is None:
            return _missing(name)
        found_version["enabled"] = fields.get("attributes", {}).get(
            "enabled", found_version["enabled"]
        )
        return Answer(body=self._bundle(name, found_version))

    def _deleted(self, name: str, deleted: Mapping[str, Any]) -> Answer:
        now = int(time.time())
        dates = {"deletedDate": now, "scheduledPurgeDate": now + _KEPT_DAYS * 86_400}
        recovery = {"recoveryId": f"{self.url}/deletedsecrets/{name}"}
        return Answer(body={**recovery, **dates, **self._bundle(name, deleted[name][-1])})

    def _listed(self, found: Mapping[str, dict[str, Any]]) -> Answer:
        bundles = []
        for name, one in found.items():
            item = self._bundle(name.partition("/")[0], one)
            bundles.append({**item, "id": f"{self.url}/secrets/{name}"})
        return Answer(body={"value": bundles, "nextLink": None})

    def _bundle(self, name: str, found: Mapping[str, Any]) -> dict[str, Any]:
        attributes = {
            "enabled": found["enabled"],
            "created": found["created"],
            "updated": found["created"],
            "recoveryLevel": "Recoverable+Purgeable",
            "recoverableDays": _KEPT_DAYS,
        }
        url = f"{self.url}/secrets/{name}/{found['version']}"
        return {"id": url, "contentType": found["content_type"], "attributes": attributes}


def new_version(value: str, content_type: str | None = None) -> dict[str, Any]:
    """A new, enabled version of a secret, in the form of the vault's file."""
    return {
        "version": uuid.uuid4().hex,
        "value": value,
        "content_type": content_type,
        "enabled": True,
        "created": int(time.time()),
    }


def keep_or_make(file: PrivateFile, name: str, make: Callable[[], str]) -> str:
    """The value of a secret; a missing one is made first, as an administrator does once."""
    with file.changing() as data:
        versions = data.setdefault("live", {}).setdefault(name, [])
        if not versions:
            versions.append(new_version(make()))
        return str(versions[-1]["value"])


def _version(versions: list[dict[str, Any]], version: str) -> dict[str, Any] | None:
    if not version:
        return versions[-1] if versions else None
    return next((one for one in versions if one["version"] == version), None)


def _missing(name: str) -> Answer:
    return _error(404, "SecretNotFound", f"A secret with name {name} was not found in this vault.")


def _error(status: int, code: str, message: str, inner: str | None = None) -> Answer:
    error: dict[str, Any] = {"code": code, "message": message}
    if inner:
        error["innererror"] = {"code": inner}
    return Answer(status, {"error": error})
