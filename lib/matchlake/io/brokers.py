"""How a broker is reached: address, encryption, login; told to Spark and to kafka-python alike."""

import json
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from matchlake.errors import ConfigError
from matchlake.io.oauth import OAuthParams, TokenProvider
from matchlake.io.secrets import EnvironmentSecrets, SecretRef, SecretStore
from matchlake.params import Params

_MODULES = {
    "PLAIN": "org.apache.kafka.common.security.plain.PlainLoginModule",
    "SCRAM-SHA-256": "org.apache.kafka.common.security.scram.ScramLoginModule",
    "SCRAM-SHA-512": "org.apache.kafka.common.security.scram.ScramLoginModule",
    "OAUTHBEARER": "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule",
}
_OAUTH_HANDLER = (
    "org.apache.kafka.common.security.oauthbearer.secured.OAuthBearerLoginCallbackHandler"
)
_HERE = ("127.0.0.1", "localhost", "[::1]")


class TlsParams(Params):
    """The connection is encrypted, and the broker's certificate checked against its host name."""

    ca: str | None = None
    """PEM file of the authorities to trust; null: those of Java and of Python."""


class LoginParams(Params):
    """Who we are to the broker."""

    mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"]
    """PLAIN and OAUTHBEARER send what is secret, so they need `kafka.tls`."""
    username: str | None = None
    """For PLAIN and SCRAM."""
    password: SecretRef | None = None
    """For PLAIN and SCRAM: where the password is."""
    oauth: OAuthParams | None = None
    """For OAUTHBEARER: where tokens come from."""

    @model_validator(mode="after")
    def _fits_its_mechanism(self) -> Self:
        by_token = self.mechanism == "OAUTHBEARER"
        if by_token and (self.oauth is None or self.username or self.password):
            raise ValueError("OAUTHBEARER takes oauth, and neither username nor password")
        if not by_token and (self.oauth or not self.username or self.password is None):
            raise ValueError(f"{self.mechanism} takes username and password, and no oauth")
        return self


class EventHubsParams(Params):
    """Azure Event Hubs through its Kafka endpoint: address, encryption and login follow from it."""

    namespace: str = Field(pattern=r"^[A-Za-z][A-Za-z0-9-]{4,48}[A-Za-z0-9](\.[a-z0-9.]+)?$")
    """The namespace, `NAME`, or its host where that is not `NAME.servicebus.windows.net`."""
    connection: SecretRef
    """Where the connection string is, of the namespace or of one hub."""


class KafkaParams(Params):
    """How the broker is reached."""

    bootstrap_servers: str | None = None
    """`host:port`, more than one with commas; null: the sandbox's broker below `lakehouse`."""
    event_hubs: EventHubsParams | None = None
    """Event Hubs, instead of `bootstrap_servers`, `tls` and `login`."""
    tls: TlsParams | None = None
    """How the connection is encrypted; null: it is not."""
    login: LoginParams | None = None
    """Who we are to the broker; null: it does not ask."""
    login_module_prefix: str = Field("", pattern=r"^([a-z]+\.)*$")
    """Before Java's login modules: `kafkashaded.` on Databricks."""
    patience: float = Field(5.0, gt=0)
    """Seconds to wait for its first answer before the job fails."""

    @model_validator(mode="after")
    def _keeps_secrets_off_open_lines(self) -> Self:
        if self.event_hubs and (self.bootstrap_servers or self.tls or self.login):
            raise ValueError("event_hubs stands instead of bootstrap_servers, tls and login")
        open_line = self.login and self.login.mechanism in ("PLAIN", "OAUTHBEARER") and not self.tls
        if open_line and not _all_here(self.bootstrap_servers):
            raise ValueError("PLAIN and OAUTHBEARER send what is secret: set tls as well")
        return self


def _all_here(servers: str | None) -> bool:
    named = [each.strip().rpartition(":")[0] for each in (servers or _HERE[0] + ":").split(",")]
    return all(host in _HERE for host in named)


@dataclass(frozen=True)
class Broker:
    """A broker and the way to it; secrets are resolved when its options are asked for."""

    address: str
    tls: TlsParams | None = None
    login: LoginParams | None = None
    prefix: str = ""
    secrets: SecretStore = field(default_factory=EnvironmentSecrets, repr=False, compare=False)

    def spark_options(self) -> dict[str, str]:
        """Options of Spark's Kafka source and sink. Secret: none of them may be logged."""
        options = {
            "kafka.bootstrap.servers": self.address,
            "kafka.security.protocol": self._protocol,
        }
        if self.tls and self.tls.ca:
            # The text, not the path: the executors need not have the file.
            options["kafka.ssl.truststore.type"] = "PEM"
            options["kafka.ssl.truststore.certificates"] = _read_authorities(self.tls.ca)
        if self.login:
            options["kafka.sasl.mechanism"] = self.login.mechanism
            options["kafka.sasl.jaas.config"] = self._jaas(self.login)
        if self.login and self.login.oauth:
            options["kafka.sasl.login.callback.handler.class"] = self.prefix + _OAUTH_HANDLER
            options["kafka.sasl.oauthbearer.token.endpoint.url"] = self.login.oauth.token_endpoint
        return options

    def client_options(self) -> dict[str, Any]:
        """Arguments of kafka-python's clients. Secret: none of them may be logged."""
        options: dict[str, Any] = {
            "bootstrap_servers": self.address.split(","),
            "security_protocol": self._protocol,
        }
        if self.tls and self.tls.ca:
            options["ssl_cafile"] = self.tls.ca
        if self.login:
            options["sasl_mechanism"] = self.login.mechanism
        if self.login and self.login.oauth:
            options["sasl_oauth_token_provider"] = TokenProvider(self.login.oauth, self.secrets)
        elif self.login and self.login.password:
            options["sasl_plain_username"] = self.login.username
            options["sasl_plain_password"] = self.secrets.get(self.login.password).reveal()
        return options

    def __str__(self) -> str:
        if self.login is None:
            return self.address
        who, ref = self.login.username, self.login.password
        if self.login.oauth:
            who, ref = self.login.oauth.client_id, self.login.oauth.client_secret
        return f"{self.address} ({self._protocol} {self.login.mechanism}, {who} with {ref})"

    @property
    def _protocol(self) -> str:
        return f"{'SASL_' if self.login else ''}{'SSL' if self.tls else 'PLAINTEXT'}"

    def _jaas(self, login: LoginParams) -> str:
        if login.oauth:
            entries = {
                "clientId": login.oauth.client_id,
                "clientSecret": self.secrets.get(login.oauth.client_secret).reveal(),
                "scope": login.oauth.scope,
            }
            if login.oauth.ca:
                entries["ssl.truststore.type"] = "PEM"
                entries["ssl.truststore.certificates"] = _read_authorities(login.oauth.ca)
        else:
            password = self.secrets.get(login.password).reveal() if login.password else ""
            entries = {"username": login.username or "", "password": password}
        written = " ".join(f"{key}={jaas_text(value)}" for key, value in entries.items() if value)
        return f"{self.prefix}{_MODULES[login.mechanism]} required {written};"


def jaas_text(value: str) -> str:
    """`value` in quotes as Java's login configuration reads it, whatever it holds."""
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + escaped.replace("\n", "\\n").replace("\r", "\\r") + '"'


def _read_authorities(path: str) -> str:
    try:
        return Path(path).read_text(encoding="ascii")
    except (OSError, ValueError) as error:
        raise ConfigError(f"The authorities in {path} cannot be read as PEM: {error}.") from None


def configured_broker(params: KafkaParams, lakehouse: str | None, secrets: SecretStore) -> Broker:
    """The broker that conf names; raises ConfigError where it names none and no sandbox is here."""
    prefix, hubs = params.login_module_prefix, params.event_hubs
    if hubs is None:
        address = broker_address(params, lakehouse)
        return Broker(address, params.tls, params.login, prefix, secrets)
    host = hubs.namespace if "." in hubs.namespace else f"{hubs.namespace}.servicebus.windows.net"
    login = LoginParams(mechanism="PLAIN", username="$ConnectionString", password=hubs.connection)
    return Broker(f"{host}:9093", TlsParams(), login, prefix, secrets)


def broker_address(params: KafkaParams, lakehouse: str | None) -> str:
    """The bootstrap servers; raises ConfigError where none is named and no sandbox was started."""
    if params.bootstrap_servers:
        return params.bootstrap_servers
    with suppress(OSError, ValueError, KeyError):
        state = json.loads((Path(lakehouse or "") / "kafka" / "state.json").read_text("utf-8"))
        return f"127.0.0.1:{int(state['port'])}"
    raise ConfigError(
        "No broker: kafka.bootstrap_servers is not set, and no sandbox was started in "
        f"{lakehouse or 'this environment'}. Set it in conf, or run `matchlake sandbox start`."
    )
