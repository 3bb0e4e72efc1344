"""An emulator of Entra ID: applications log in with a secret and get signed tokens."""

import base64
import json
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from matchlake.dev.sandbox.cloud.web import Answer, Request

TENANT = "11111111-2222-3333-4444-555555555555"
_KEY_ID = "sandbox"


@dataclass(frozen=True)
class Application:
    """An application, and its rights on secrets: get, list, set, delete."""

    secret: str
    rights: frozenset[str] = frozenset({"get", "list"})
    expired: bool = False
    """Whether its secret has expired."""


class Logins:
    """Issues and checks tokens; `url` is its address, set by the server."""

    def __init__(self, applications: Mapping[str, Application], lifetime: float = 3600) -> None:
        self.applications = dict(applications)
        self.lifetime = lifetime
        self.url = ""
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)

    def handle(self, request: Request) -> Answer:
        """Serves discovery, keys and tokens of the tenant."""
        match (request.method, request.path[1:]):
            case ("GET", ("v2.0", ".well-known", "openid-configuration")):
                return Answer(body=self._discovery())
            case ("GET", ("discovery", "v2.0", "keys")):
                return Answer(body={"keys": [self._public_key()]})
            case ("POST", ("oauth2", "v2.0", "token")):
                return self._token(request)
        return Answer(404, {"error": "not_found"})

    def who(self, token: str, audience: str) -> str | None:
        """The application of a valid token for `audience`, else None."""
        try:
            signed, _, signature = token.rpartition(".")
            self._key.public_key().verify(
                _decoded(signature), signed.encode(), padding.PKCS1v15(), hashes.SHA256()
            )
            claims = json.loads(_decoded(signed.split(".")[1]))
        except (ValueError, IndexError, InvalidSignature):
            return None
        if claims["exp"] < time.time() or claims["aud"] != audience:
            return None
        return str(claims["appid"])

    def issue(self, client: str, audience: str) -> str:
        """A signed token of `client` for `audience`."""
        now = int(time.time())
        claims = {
            "iss": f"{self.url}/{TENANT}/v2.0",
            "aud": audience,
            "sub": client,
            "appid": client,
            "tid": TENANT,
            "iat": now,
            "nbf": now - 5,
            "jti": uuid.uuid4().hex,
            "exp": now + int(self.lifetime),
        }
        header = {"alg": "RS256", "typ": "JWT", "kid": _KEY_ID}
        signed = ".".join(_encoded(json.dumps(part).encode()) for part in (header, claims))
        signature = self._key.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256())
        return f"{signed}.{_encoded(signature)}"

    def _token(self, request: Request) -> Answer:
        form, client = _login(request)
        application = self.applications.get(client)
        if application is None or application.secret != form.get("client_secret"):
            return _refused("invalid_client", "AADSTS7000215: Invalid client secret provided.")
        if application.expired:
            return _refused("invalid_client", "AADSTS7000222: The client secret keys are expired.")
        audience = form.get("scope", "").removesuffix("/.default") or "kafka"
        token = self.issue(client, audience)
        kind = {"token_type": "Bearer", "expires_in": int(self.lifetime)}
        return Answer(body={"access_token": token, **kind})

    def _discovery(self) -> dict[str, Any]:
        here = f"{self.url}/{TENANT}"
        return {
            "issuer": f"{here}/v2.0",
            "authorization_endpoint": f"{here}/oauth2/v2.0/authorize",
            "token_endpoint": f"{here}/oauth2/v2.0/token",
            "jwks_uri": f"{here}/discovery/v2.0/keys",
        }

    def _public_key(self) -> dict[str, str]:
        numbers = self._key.public_key().public_numbers()
        return {
            "kty": "RSA",
            "use": "sig",
            "alg": "RS256",
            "kid": _KEY_ID,
            "n": _encoded(numbers.n.to_bytes(256, "big")),
            "e": _encoded(numbers.e.to_bytes(3, "big")),
        }


def _login(request: Request) -> tuple[dict[str, str], str]:
    """The form with the client's secret, from the body or the header; the client's id."""
    form = request.form
    kind, _, coded = request.headers.get("authorization", "").partition(" ")
    if kind.lower() == "basic":
        client, _, secret = base64.b64decode(coded).decode().partition(":")
        form |= {"client_id": client, "client_secret": secret}
    return form, form.get("client_id", "")


def _refused(error: str, why: str) -> Answer:
    return Answer(401, {"error": error, "error_description": why, "error_codes": [7000215]})


def _encoded(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def _decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
