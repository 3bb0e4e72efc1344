"""A real broker that asks for a login, over TLS: every mechanism, from kafka-python and Spark."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from pyspark.sql import SparkSession
from tests.integration.conftest import stopped_at_the_end
from tests.support.clouds import running_cloud
from tests.support.leaks import scan
from tests.support.streams import produce, stream_entry

from matchlake.dev.sandbox.broker import Login, start_broker
from matchlake.dev.sandbox.cloud.logins import TENANT, Application
from matchlake.dev.sandbox.cloud.service import Cloud
from matchlake.dev.sandbox.topics import create_topic
from matchlake.errors import SecretError, SourceError
from matchlake.ingest.params import StreamParams
from matchlake.ingest.streams.source import read_messages
from matchlake.io.brokers import Broker, jaas_text
from matchlake.io.kafka import require_topic
from matchlake.io.params import OAuthParams, SaslParams, SslParams
from matchlake.io.secrets import Secret, SecretRef
from matchlake.io.secrets.masking import written_forms
from matchlake.runtime import _REDACTION

REF = SecretRef(scope="test", key="password")
PASSWORD = "canary-Pa55-of-the-broker"  # noqa: S105 - of a broker that lives for one test
SECRET = "canary-s3cret-of-the-client"  # noqa: S105
ODD = "od\"d'\\ pä\nss"
TOPIC = "behind-a-login"
_OAUTH = "org.apache.kafka.common.security.oauthbearer"


class Guarded(NamedTuple):
    """A broker that asks for a login, and what it trusts."""

    address: str
    cloud: Cloud

    def by(self, login: SaslParams, secret: str) -> Broker:
        """The way to it by `login`, whose secret is `secret`."""
        ssl = SslParams(ca_file=str(self.cloud.ca))
        return Broker(self.address, ssl, login, secrets=Login("", Secret(secret)))


def password_login(mechanism: Any, username: str = "matchlake") -> SaslParams:
    return SaslParams(mechanism=mechanism, username=username, password=REF)


def token_login(cloud: Cloud, client: str = "ingest") -> SaslParams:
    oauth = OAuthParams(
        token_endpoint=f"{cloud.logins.url}/{TENANT}/oauth2/v2.0/token",
        client_id=client,
        client_secret=REF,
        scope="kafka/.default",
        ca_file=str(cloud.ca),
    )
    return SaslParams(mechanism="OAUTHBEARER", oauth=oauth)


def keys_of(cloud: Cloud) -> str:
    return f"{cloud.logins.url}/{TENANT}/discovery/v2.0/keys"


def broker_settings(cloud: Cloud) -> dict[str, str]:
    """TLS on the clients' listener, a user for PLAIN with an odd password, and tokens."""
    here = "listener.name.client."
    plain = "org.apache.kafka.common.security.plain.PlainLoginModule required "
    trust = f'ssl.truststore.type="PEM" ssl.truststore.location={jaas_text(str(cloud.ca))}'
    # Whom the broker would log in as elsewhere by this listener's way: it never does.
    trust += ' unsecuredLoginStringClaim_sub="broker"'
    return {
        "listener.security.protocol.map": "CLIENT:SASL_SSL,CONTROLLER:SASL_PLAINTEXT",
        f"{here}ssl.keystore.type": "PEM",
        f"{here}ssl.keystore.location": str(cloud.ca.parent / "server.pem"),
        f"{here}ssl.truststore.type": "PEM",
        f"{here}ssl.truststore.location": str(cloud.ca),
        f"{here}sasl.enabled.mechanisms": "SCRAM-SHA-512,SCRAM-SHA-256,PLAIN,OAUTHBEARER",
        f"{here}plain.sasl.jaas.config": f"{plain}user_odd={jaas_text(ODD)};",
        f"{here}oauthbearer.sasl.jaas.config": (
            f"{_OAUTH}.OAuthBearerLoginModule required {trust};"
        ),
        f"{here}oauthbearer.sasl.server.callback.handler.class": (
            f"{_OAUTH}.OAuthBearerValidatorCallbackHandler"
        ),
        f"{here}sasl.oauthbearer.jwks.endpoint.url": keys_of(cloud),
        f"{here}sasl.oauthbearer.expected.audience": "kafka",
    }


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    folder = tmp_path_factory.mktemp("guarded")
    with (
        pytest.MonkeyPatch.context() as patch,
        running_cloud(folder / "cloud") as cloud,
        stopped_at_the_end(folder / "lake") as root,
    ):
        cloud.logins.applications["ingest"] = Application(SECRET)
        told = f"-Dorg.apache.kafka.sasl.oauthbearer.allowed.urls={keys_of(cloud)}"
        patch.setenv("JAVA_TOOL_OPTIONS", told)
        login = Login("matchlake", Secret(PASSWORD), ca=str(cloud.ca))
        state = start_broker(root, heap="512m", login=login, settings=broker_settings(cloud))
        patch.undo()
        found = Guarded(state.bootstrap, cloud)
        create_topic(found.by(password_login("SCRAM-SHA-512"), PASSWORD), TOPIC, 1)
        produce(found.by(password_login("SCRAM-SHA-512"), PASSWORD), TOPIC, [b"1", b"2", b"3"])
        yield found


def ways(guarded: Guarded) -> dict[str, Broker]:
    return {
        "SCRAM-SHA-512": guarded.by(password_login("SCRAM-SHA-512"), PASSWORD),
        "SCRAM-SHA-256": guarded.by(password_login("SCRAM-SHA-256"), PASSWORD),
        "PLAIN": guarded.by(password_login("PLAIN", "odd"), ODD),
        "OAUTHBEARER": guarded.by(token_login(guarded.cloud), SECRET),
    }


@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-512", "SCRAM-SHA-256", "PLAIN", "OAUTHBEARER"])
def test_kafka_python_logs_in(guarded: Guarded, mechanism: str) -> None:
    assert require_topic(ways(guarded)[mechanism], TOPIC, 10) == 1


@pytest.mark.local_only
@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-512", "SCRAM-SHA-256", "PLAIN", "OAUTHBEARER"])
def test_spark_logs_in_and_no_plan_shows_the_secret(
    spark: SparkSession, guarded: Guarded, mechanism: str
) -> None:
    way = ways(guarded)[mechanism]
    if way.sasl and way.sasl.oauth:
        key = "org.apache.kafka.sasl.oauthbearer.allowed.urls"
        spark._jvm.java.lang.System.setProperty(key, way.sasl.oauth.token_endpoint)  # type: ignore[union-attr]
    for key, value in _REDACTION.items():
        if key.startswith("spark.sql"):
            spark.conf.set(key, value)
    options = {**way.spark_options(), "subscribe": TOPIC}
    frame = spark.read.format("kafka").options(**options).load()
    execution = frame._jdf.queryExecution()
    plans = [execution.toString(), str(frame), execution.executedPlan().treeString()]
    assert [bytes(row.value) for row in frame.collect()] == [b"1", b"2", b"3"]
    shown = "\n".join(plans)
    assert "password=" not in shown
    for secret in (PASSWORD, SECRET, "od\\", ODD):
        assert secret not in shown


def test_a_wrong_login_has_its_own_error_within_seconds(guarded: Guarded) -> None:
    wrong = {
        "password": guarded.by(password_login("SCRAM-SHA-512"), "wrong-password"),
        "user": guarded.by(password_login("SCRAM-SHA-256", "nobody"), PASSWORD),
    }
    for name, way in wrong.items():
        with pytest.raises(SourceError, match="refuses this login") as caught:
            require_topic(way, TOPIC, 4)
        assert "secret test/password" in str(caught.value), name
        assert "wrong-password" not in str(caught.value)


def test_a_refused_token_says_why(guarded: Guarded) -> None:
    with pytest.raises(SourceError, match=r"No token for client nobody .*AADSTS7000215"):
        require_topic(guarded.by(token_login(guarded.cloud, "nobody"), SECRET), TOPIC, 2)


def test_an_untrusted_certificate_has_its_own_error(guarded: Guarded) -> None:
    way = Broker(
        guarded.address,
        SslParams(),
        password_login("SCRAM-SHA-512"),
        secrets=Login("", Secret(PASSWORD)),
    )
    with pytest.raises(SourceError, match=r"certificate|does not answer"):
        require_topic(way, TOPIC, 2)


def test_without_a_login_nobody_comes_in(guarded: Guarded) -> None:
    with pytest.raises(SourceError, match="does not answer as Kafka"):
        require_topic(Broker(guarded.address), TOPIC, 2)


def test_a_missing_secret_fails_before_a_request_to_the_broker(guarded: Guarded) -> None:
    way = Broker(guarded.address, sasl=password_login("SCRAM-SHA-512"))
    with pytest.raises(SecretError, match="MATCHLAKE_SECRET_TEST__PASSWORD"):
        require_topic(way, TOPIC, 2)


@pytest.mark.local_only
def test_only_listed_settings_are_logged(
    spark: SparkSession, guarded: Guarded, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG", "matchlake")
    stream = StreamParams.model_validate(stream_entry(TOPIC, "logged"))
    read_messages(spark, ways(guarded)["SCRAM-SHA-512"], stream)
    line = next(each for each in caplog.messages if each.startswith("Kafka: "))
    names = set(re.findall(r"([\w.]+)=", line))
    assert names <= {"subscribe", "kafka.bootstrap.servers", "startingOffsets"}


@pytest.mark.local_only
def test_no_progress_and_no_checkpoint_of_a_stream_holds_its_login(
    spark: SparkSession, guarded: Guarded, tmp_path: Path
) -> None:
    options = {**ways(guarded)["SCRAM-SHA-512"].spark_options(), "subscribe": TOPIC}
    frame = spark.readStream.format("kafka").options(startingOffsets="earliest", **options).load()
    writer = frame.writeStream.format("noop").option("checkpointLocation", str(tmp_path))
    query = writer.trigger(availableNow=True).start()
    assert query.awaitTermination(60)
    told = [str(each.json) for each in query.recentProgress]
    assert sum(each["numInputRows"] for each in map(json.loads, told)) == 3
    assert TOPIC in told[0]
    assert not [form for form in written_forms(PASSWORD) for text in told if form in text]
    found = scan([tmp_path], {"login": PASSWORD, "topic": TOPIC}).found
    assert set(found) == {"topic"}


@pytest.mark.local_only
def test_java_reads_a_login_as_it_was_written(spark: SparkSession) -> None:
    jvm: Any = spark._jvm
    for value in (
        ODD,
        'a"; x="',
        "\\",
        "\\\\n",
        "tab\there",
        "\N{GRINNING FACE} 東京 ü",
        "{}$,;=#",
    ):
        login = Broker("here:1", None, password_login("PLAIN"), secrets=Login("", Secret(value)))
        text = login.spark_options()["kafka.sasl.jaas.config"]
        settings = jvm.java.util.HashMap()
        password = jvm.org.apache.kafka.common.config.types.Password(text)
        settings.put("sasl.jaas.config", password)
        context = jvm.org.apache.kafka.common.security.JaasContext.loadClientContext(settings)
        entry = context.configurationEntries().get(0)
        assert entry.getOptions().get("password") == value
        assert entry.getOptions().get("username") == "matchlake"
