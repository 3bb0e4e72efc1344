"""Access tokens for Kafka by OAuth 2.0's client credentials, for clients that bring no own way."""

import json
import ssl
import time
import urllib.request
from urllib.error import HTTPError
from urllib.parse import urlencode, urlsplit

from kafka.net.sasl.oauth import AbstractTokenProvider
from pydantic import field_validator

from matchlake.errors import SourceError
from matchlake.io.secrets import SecretRef, SecretStore
from matchlake.params import Params

_SPARE_SECONDS = 60
_PATIENCE = 30


class OAuthParams(Params):
    """Where access tokens come from: a client's id and secret are exchanged for them."""

    token_endpoint: str
    """Such as https://login.microsoftonline.com/TENANT/oauth2/v2.0/token."""
    client_id: str
    """The application's id."""
    client_secret: SecretRef
    """Where its secret is."""
    scope: str = ""
    """What the token is for, such as https://NAME.servicebus.windows.net/.default."""
    ca: str | None = None
    """PEM file of the authorities that the endpoint's certificate is checked with; null: all."""

    @field_validator("token_endpoint")
    @classmethod
    def _is_encrypted(cls, url: str) -> str:
        if urlsplit(url).scheme != "https":
            raise ValueError("has to be an https address: a secret is sent there")
        return url


class TokenProvider(AbstractTokenProvider):  # type: ignore[misc]  # kafka has no types
    """Gives kafka-python an access token, a new one shortly before the last one expires."""

    def __init__(self, params: OAuthParams, secrets: SecretStore) -> None:
        super().__init__()
        self._params = params
        self._secrets = secrets
        self._tls = ssl.create_default_context(cafile=params.ca)
        self._token = ""
        self._until = 0.0

    def token(self) -> str:
        """A token that is valid for a while; raises SourceError where none is given."""
        if time.monotonic() >= self._until:
            self._token, seconds = self._ask()
            self._until = time.monotonic() + max(0.0, seconds - _SPARE_SECONDS)
        return self._token

    def _ask(self) -> tuple[str, float]:
        form = {
            "grant_type": "client_credentials",
            "client_id": self._params.client_id,
            "client_secret": self._secrets.get(self._params.client_secret).reveal(),
            **({"scope": self._params.scope} if self._params.scope else {}),
        }
        request = urllib.request.Request(  # noqa: S310 - https by its validator
            self._params.token_endpoint, urlencode(form).encode(), method="POST"
        )
        try:
            with urllib.request.urlopen(  # noqa: S310
                request, timeout=_PATIENCE, context=self._tls
            ) as answer:
                found = json.load(answer)
                return found["access_token"], float(found.get("expires_in", 0))
        except HTTPError as error:
            why = f"{error.code} {_why(error)}"
        except (OSError, ValueError, KeyError, TypeError) as error:
            why = f"{type(error).__name__}: {error}"
        raise SourceError(
            f"No token for client {self._params.client_id} from {self._params.token_endpoint} "
            f"({why}). Check kafka.login.oauth and {self._params.client_secret}."
        )


def _why(error: HTTPError) -> str:
    try:
        return str(json.load(error).get("error_description", error.reason)).splitlines()[0]
    except (ValueError, AttributeError, IndexError):
        return str(error.reason)
