"""The connection to a broker: its options for Spark and for kafka-python."""

import json
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from matchlake.errors import ConfigError
from matchlake.io.oauth import TokenProvider
from matchlake.io.params import KafkaParams, SaslParams, SslParams
from matchlake.io.secrets import EnvironmentSecrets, SecretStore

_MODULES = {
    "PLAIN": "org.apache.kafka.common.security.plain.PlainLoginModule",
    "SCRAM-SHA-256": "org.apache.kafka.common.security.scram.ScramLoginModule",
    "SCRAM-SHA-512": "org.apache.kafka.common.security.scram.ScramLoginModule",
    "OAUTHBEARER": "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule",
}
_OAUTH_HANDLER = (
    "org.apache.kafka.common.security.oauthbearer.secured.OAuthBearerLoginCallbackHandler"
)


@dataclass(frozen=True)
class Broker:
    """A broker's address, encryption and login; its options resolve the secrets."""

    address: str
    ssl: SslParams | None = None
    sasl: SaslParams | None = None
    prefix: str = ""
    secrets: SecretStore = field(default_factory=EnvironmentSecrets, repr=False, compare=False)

    def spark_options(self) -> dict[str, str]:
        """Options of Spark's Kafka source and sink. Secret: none of them may be logged."""
        options = {
            "kafka.bootstrap.servers": self.address,
            "kafka.security.protocol": self._protocol,
        }
        if self.ssl and self.ssl.ca_file:
            # Sends the text and not the path, because executors may not have the file.
            options["kafka.ssl.truststore.type"] = "PEM"
            options["kafka.ssl.truststore.certificates"] = _read_authorities(self.ssl.ca_file)
        if self.sasl:
            options["kafka.sasl.mechanism"] = self.sasl.mechanism
            options["kafka.sasl.jaas.config"] = self._jaas(self.sasl)
        if self.sasl and self.sasl.oauth:
            options["kafka.sasl.login.callback.handler.class"] = self.prefix + _OAUTH_HANDLER
            options["kafka.sasl.oauthbearer.token.endpoint.url"] = self.sasl.oauth.token_endpoint
        return options

    def client_options(self) -> dict[str, Any]:
        """The arguments of kafka-python's clients. They contain secrets, so never log them."""
        options: dict[str, Any] = {
            "bootstrap_servers": self.address.split(","),
            "security_protocol": self._protocol,
        }
        if self.ssl and self.ssl.ca_file:
            options["ssl_cafile"] = self.ssl.ca_file
        if self.sasl:
            options["sasl_mechanism"] = self.sasl.mechanism
        if self.sasl and self.sasl.oauth:
            options["sasl_oauth_token_provider"] = TokenProvider(self.sasl.oauth, self.secrets)
        elif self.sasl and self.sasl.password:
            options["sasl_plain_username"] = self.sasl.username
            options["sasl_plain_password"] = self.secrets.get(self.sasl.password).reveal()
        return options

    def __str__(self) -> str:
        if self.sasl is None:
            return self.address
        user, ref = self.sasl.username, self.sasl.password
        if self.sasl.oauth:
            user, ref = self.sasl.oauth.client_id, self.sasl.oauth.client_secret
        return f"{self.address} ({self._protocol} {self.sasl.mechanism}, {user} with {ref})"

    @property
    def _protocol(self) -> str:
        return f"{'SASL_' if self.sasl else ''}{'SSL' if self.ssl else 'PLAINTEXT'}"

    def _jaas(self, sasl: SaslParams) -> str:
        if sasl.oauth:
            entries = {
                "clientId": sasl.oauth.client_id,
                "clientSecret": self.secrets.get(sasl.oauth.client_secret).reveal(),
                "scope": sasl.oauth.scope,
            }
            if sasl.oauth.ca_file:
                entries["ssl.truststore.type"] = "PEM"
                entries["ssl.truststore.certificates"] = _read_authorities(sasl.oauth.ca_file)
        else:
            password = self.secrets.get(sasl.password).reveal() if sasl.password else ""
            entries = {"username": sasl.username or "", "password": password}
        written = " ".join(f"{key}={jaas_text(value)}" for key, value in entries.items() if value)
        return f"{self.prefix}{_MODULES[sasl.mechanism]} required {written};"


def jaas_text(value: str) -> str:
    """Any `value` in quotes, for Java's login configuration."""
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + escaped.replace("\n", "\\n").replace("\r", "\\r") + '"'


def _read_authorities(path: str) -> str:
    try:
        return Path(path).read_text(encoding="ascii")
    except (OSError, ValueError) as error:
        raise ConfigError(f"The authorities in {path} cannot be read as PEM: {error}.") from None


def configured_broker(params: KafkaParams, lakehouse: str | None, secrets: SecretStore) -> Broker:
    """The broker of conf, or the sandbox's; raises ConfigError without either."""
    prefix, hubs = params.login_module_prefix, params.event_hubs
    if hubs is None:
        address = broker_address(params, lakehouse)
        return Broker(address, params.ssl, params.sasl, prefix, secrets)
    host = hubs.namespace if "." in hubs.namespace else f"{hubs.namespace}.servicebus.windows.net"
    sasl = SaslParams(mechanism="PLAIN", username="$ConnectionString", password=hubs.connection)
    return Broker(f"{host}:9093", SslParams(), sasl, prefix, secrets)


def broker_address(params: KafkaParams, lakehouse: str | None) -> str:
    """The bootstrap servers, or the sandbox's broker; raises ConfigError without either."""
    if params.bootstrap_servers:
        return params.bootstrap_servers
    with suppress(OSError, ValueError, KeyError):
        state = json.loads((Path(lakehouse or "") / "kafka" / "state.json").read_text("utf-8"))
        return f"127.0.0.1:{int(state['port'])}"
    raise ConfigError(
        "No broker: kafka.bootstrap_servers is not set, and no sandbox was started in "
        f"{lakehouse or 'this environment'}. Set it in conf, or run `matchlake sandbox start`."
    )
