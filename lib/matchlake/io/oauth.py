"""Access tokens for kafka-python, by the client credentials grant of OAuth 2.0."""

import json
import ssl
import time
import urllib.request
from urllib.error import HTTPError
from urllib.parse import urlencode

from kafka.net.sasl.oauth import AbstractTokenProvider

from matchlake.errors import SourceError
from matchlake.io.params import OAuthParams
from matchlake.io.secrets import SecretStore

_SPARE_SECONDS = 60
_TIMEOUT_SECONDS = 30


class TokenProvider(AbstractTokenProvider):  # type: ignore[misc]  # kafka has no types
    """Gives kafka-python an access token, and a new one shortly before it expires."""

    def __init__(self, params: OAuthParams, secrets: SecretStore) -> None:
        super().__init__()
        self._params = params
        self._secrets = secrets
        self._tls = ssl.create_default_context(cafile=params.ca_file)
        self._token = ""
        self._until = 0.0

    def token(self) -> str:
        """A valid token. Raises SourceError if the endpoint gives none."""
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
        request = urllib.request.Request(  # noqa: S310 - the validator requires https
            self._params.token_endpoint, urlencode(form).encode(), method="POST"
        )
        try:
            with urllib.request.urlopen(  # noqa: S310
                request, timeout=_TIMEOUT_SECONDS, context=self._tls
            ) as answer:
                token = json.load(answer)
                return token["access_token"], float(token.get("expires_in", 0))
        except HTTPError as error:
            why = f"{error.code} {_why(error)}"
        except (OSError, ValueError, KeyError, TypeError) as error:
            why = f"{type(error).__name__}: {error}"
        raise SourceError(
            f"No token for client {self._params.client_id} from {self._params.token_endpoint} "
            f"({why}). Check kafka.sasl.oauth and {self._params.client_secret}."
        )


def _why(error: HTTPError) -> str:
    try:
        return str(json.load(error).get("error_description", error.reason)).splitlines()[0]
    except (ValueError, AttributeError, IndexError):
        return str(error.reason)
