"""The settings of the sandbox's broker: properties, logging, Java command line."""

import re
from collections.abc import Mapping
from pathlib import Path

from matchlake.dev.sandbox.jars import broker_folder
from matchlake.errors import SandboxError
from matchlake.io.ports import HOST
from matchlake.io.secrets import write_private

_NODE = 1
# A local broker: one node, one copy of each partition, few threads. Records never expire, because
# the demo finds its own events by their offsets.
_PROPERTIES = {
    "process.roles": "broker,controller",
    "node.id": f"{_NODE}",
    "auto.create.topics.enable": "false",
    "default.replication.factor": "1",
    "offsets.topic.replication.factor": "1",
    "offsets.topic.num.partitions": "1",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "transaction.state.log.num.partitions": "1",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    "share.coordinator.state.topic.num.partitions": "1",
    "group.initial.rebalance.delay.ms": "0",
    "log.retention.ms": "-1",
    "num.network.threads": "2",
    "num.io.threads": "4",
    "num.recovery.threads.per.data.dir": "2",
}
_LOGGING = """status = error
appender.file.type = RollingFile
appender.file.name = file
appender.file.fileName = {folder}/server.log
appender.file.filePattern = {folder}/server.%i.log
appender.file.layout.type = PatternLayout
appender.file.layout.pattern = %d{{yyyy-MM-dd HH:mm:ss,SSS}} %p %m (%c{{1}})%n
appender.file.policies.type = SizeBasedTriggeringPolicy
appender.file.policies.size = 10MB
appender.file.strategy.type = DefaultRolloverStrategy
appender.file.strategy.max = 2
rootLogger.level = warn
rootLogger.appenderRef.file.ref = file
"""


_SCRAM_MODULE = "org.apache.kafka.common.security.scram.ScramLoginModule required;"
_PLAIN_MODULE = (
    "org.apache.kafka.common.security.plain.PlainLoginModule required "
    'username="broker" password="{0}" user_broker="{0}";'
)


def listener_settings(port: int, controller_port: int, inner: str = "") -> dict[str, str]:
    """The listeners and their logins: the whole access control of the broker.

    Both listen on this machine only. Clients use `CLIENT`, the broker's own controller uses
    `CONTROLLER`. With `inner`, the broker's own password, both require a login: clients log in
    by SCRAM, the broker itself by PLAIN.
    """
    protocol = "SASL_PLAINTEXT" if inner else "PLAINTEXT"
    settings = {
        "listeners": f"CLIENT://{HOST}:{port},CONTROLLER://{HOST}:{controller_port}",
        "advertised.listeners": f"CLIENT://{HOST}:{port}",
        "listener.security.protocol.map": f"CLIENT:{protocol},CONTROLLER:{protocol}",
        "inter.broker.listener.name": "CLIENT",
        "controller.listener.names": "CONTROLLER",
        # Only this file has the port, so the next start may choose another port.
        "controller.quorum.voters": f"{_NODE}@{HOST}:{controller_port}",
    }
    return {**settings, **_login_settings(inner)} if inner else settings


def _login_settings(inner: str) -> dict[str, str]:
    plain = _PLAIN_MODULE.format(inner)
    return {
        "sasl.mechanism.inter.broker.protocol": "PLAIN",
        "sasl.mechanism.controller.protocol": "PLAIN",
        "listener.name.client.sasl.enabled.mechanisms": "SCRAM-SHA-512,SCRAM-SHA-256,PLAIN",
        "listener.name.client.scram-sha-512.sasl.jaas.config": _SCRAM_MODULE,
        "listener.name.client.scram-sha-256.sasl.jaas.config": _SCRAM_MODULE,
        "listener.name.client.plain.sasl.jaas.config": plain,
        "listener.name.controller.sasl.enabled.mechanisms": "PLAIN",
        "listener.name.controller.plain.sasl.jaas.config": plain,
    }


def write_settings(
    home: Path,
    port: int,
    controller_port: int,
    inner: str = "",
    more: Mapping[str, str] | None = None,
) -> None:
    """Writes `server.properties` and `log4j2.properties` into the broker's folder `home`.

    `inner` is as for `listener_settings`; the settings of `more` replace others.
    """
    if "," in str(home):
        raise SandboxError(f"Kafka cannot keep data under {home}: a comma ends a path for it.")
    settings = {
        **_PROPERTIES,
        **listener_settings(port, controller_port, inner),
        "log.dirs": str(home / "data"),
        **(more or {}),
    }
    lines = "".join(f"{key}={_escape(value)}\n" for key, value in settings.items())
    write_private(home / "server.properties", lines)
    logging = _LOGGING.format(folder=_escape(str(home / "logs")))
    (home / "log4j2.properties").write_text(logging, encoding="ascii")


def forget_inner_password(home: Path) -> None:
    """Removes the broker's own password from the file, after the broker has read it."""
    path = home / "server.properties"
    text = path.read_text(encoding="ascii")
    write_private(path, re.sub(r'(password|user_broker)="\w+"', r'\1="forgotten"', text))


def _escape(value: str) -> str:
    # Java reads properties as Latin-1; other characters are \uXXXX, one per UTF-16 unit.
    units = value.replace("\\", "\\\\").encode("utf-16-be")
    codes = (int.from_bytes(units[at : at + 2], "big") for at in range(0, len(units), 2))
    return "".join(chr(code) if chr(code).isascii() else f"\\u{code:04x}" for code in codes)


def java_command(java: str, home: Path, heap: str, *program: str) -> list[str]:
    """The command that runs a Kafka `program` with at most `heap` memory, such as 512m."""
    return [
        java,
        f"-Xmx{heap}",
        "-XX:+UseSerialGC",
        "-XX:+ExitOnOutOfMemoryError",
        "-Djava.awt.headless=true",
        f"-Dlog4j2.configurationFile={home / 'log4j2.properties'}",
        "-cp",
        f"{broker_folder()}/*",
        *program,
    ]
