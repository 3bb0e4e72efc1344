"""What Spark and kafka-python are told of a broker: encryption, login, and nothing in the clear."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from matchlake.errors import ConfigError, SecretError
from matchlake.io.brokers import Broker, configured_broker
from matchlake.io.params import KafkaParams
from matchlake.io.secrets import Secret, SecretRef

REF = {"scope": "s", "key": "k"}
SCRAM = {"mechanism": "SCRAM-SHA-512", "username": "u", "password": REF}
TOKEN = {
    "mechanism": "OAUTHBEARER",
    "oauth": {
        "token_endpoint": "https://login.example.com/token",
        "client_id": "app",
        "client_secret": REF,
        "scope": "https://hub/.default",
    },
}
VALUE = 'canary"\\value'


class One:
    """A store with one secret, counting how often it is asked."""

    asked = 0

    def get(self, _: SecretRef) -> Secret:
        self.asked += 1
        return Secret(VALUE)


def params(**keys: Any) -> KafkaParams:
    return KafkaParams.model_validate(keys)


def configured(**keys: Any) -> Broker:
    return configured_broker(params(**keys), None, One())


def test_broker_without_ssl_and_sasl_is_an_address() -> None:
    broker = configured(bootstrap_servers="a:1,b:2")
    assert str(broker) == "a:1,b:2"
    assert broker.spark_options() == {
        "kafka.bootstrap.servers": "a:1,b:2",
        "kafka.security.protocol": "PLAINTEXT",
    }
    assert broker.client_options() == {
        "bootstrap_servers": ["a:1", "b:2"],
        "security_protocol": "PLAINTEXT",
    }


def test_broker_options_with_ssl_and_sasl(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("-----BEGIN CERTIFICATE-----")
    broker = configured(
        bootstrap_servers="a:1", ssl={"ca_file": str(tmp_path / "ca.pem")}, sasl=SCRAM
    )
    assert broker.spark_options() == {
        "kafka.bootstrap.servers": "a:1",
        "kafka.security.protocol": "SASL_SSL",
        "kafka.ssl.truststore.type": "PEM",
        "kafka.ssl.truststore.certificates": "-----BEGIN CERTIFICATE-----",
        "kafka.sasl.mechanism": "SCRAM-SHA-512",
        "kafka.sasl.jaas.config": (
            "org.apache.kafka.common.security.scram.ScramLoginModule required "
            r'username="u" password="canary\"\\value";'
        ),
    }
    client = broker.client_options()
    assert client["sasl_plain_password"] == VALUE
    assert client["ssl_cafile"] == str(tmp_path / "ca.pem")
    assert str(broker) == "a:1 (SASL_SSL SCRAM-SHA-512, u with secret s/k)"
    assert VALUE not in f"{broker!r} {broker}"


def test_broker_resolves_the_secret_only_when_connecting() -> None:
    store = One()
    broker = configured_broker(params(bootstrap_servers="a:1", sasl=SCRAM), None, store)
    assert store.asked == 0
    broker.spark_options()
    broker.client_options()
    assert store.asked == 2, "each time anew: the cache decides, and a rotation is seen"


def test_broker_login_module_prefix_is_added() -> None:
    keys = {"bootstrap_servers": "a:1", "ssl": {}, "login_module_prefix": "kafkashaded."}
    scram = configured(**keys, sasl=SCRAM).spark_options()
    assert scram["kafka.sasl.jaas.config"].startswith("kafkashaded.org.apache.kafka.common.sec")
    token = configured(**keys, sasl=TOKEN).spark_options()
    handler = token["kafka.sasl.login.callback.handler.class"]
    assert handler.startswith("kafkashaded.org.apache.kafka.common.security.oauthbearer.")
    assert token["kafka.sasl.oauthbearer.token.endpoint.url"] == "https://login.example.com/token"
    assert 'clientId="app"' in token["kafka.sasl.jaas.config"]
    assert 'scope="https://hub/.default"' in token["kafka.sasl.jaas.config"]


@pytest.mark.parametrize(
    ("namespace", "address"),
    [
        ("my-namespace", "my-namespace.servicebus.windows.net:9093"),
        (
            "my-namespace.servicebus.chinacloudapi.cn",
            "my-namespace.servicebus.chinacloudapi.cn:9093",
        ),
    ],
)
def test_event_hubs_needs_a_namespace_and_a_connection_string(namespace: str, address: str) -> None:
    options = configured(event_hubs={"namespace": namespace, "connection": REF}).spark_options()
    assert options["kafka.bootstrap.servers"] == address
    assert options["kafka.security.protocol"] == "SASL_SSL"
    assert options["kafka.sasl.mechanism"] == "PLAIN"
    assert 'username="$ConnectionString"' in options["kafka.sasl.jaas.config"]


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"sasl": {**SCRAM, "password": "hunter2"}}, "sasl.password"),
        ({"sasl": {**SCRAM, "mechanism": "PLAIN"}, "bootstrap_servers": "a:1"}, "set ssl as well"),
        ({"sasl": TOKEN, "bootstrap_servers": "localhost:1,a:1"}, "set ssl as well"),
        ({"sasl": {**SCRAM, "username": None}}, "takes username and password"),
        ({"sasl": {**TOKEN, "username": "u"}}, "takes oauth, and neither"),
        ({"sasl": {**SCRAM, "mechanism": "GSSAPI"}}, "sasl.mechanism"),
        ({"event_hubs": {"namespace": "a/b", "connection": REF}}, "event_hubs.namespace"),
        (
            {"event_hubs": {"namespace": "abcdef", "connection": REF}, "ssl": {}},
            "cannot be combined with bootstrap_servers",
        ),
        ({"login_module_prefix": "x y"}, "login_module_prefix"),
        (
            {"sasl": {**TOKEN, "oauth": {**TOKEN["oauth"], "token_endpoint": "http://x"}}},  # type: ignore[dict-item]
            "must be an https address",
        ),
    ],
)
def test_kafka_params_invalid_values_raise_without_repeating_them(
    keys: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValidationError, match=message) as caught:
        params(**keys)
    assert "hunter2" not in str(caught.value)


def test_broker_missing_file_or_secret_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere.pem cannot be read as PEM"):
        configured(
            bootstrap_servers="a:1", ssl={"ca_file": f"{tmp_path}/nowhere.pem"}
        ).spark_options()
    ref = params(bootstrap_servers="a:1", sasl=SCRAM).sasl
    with pytest.raises(SecretError, match="MATCHLAKE_SECRET_S__K"):
        Broker("a:1", sasl=ref).client_options()
