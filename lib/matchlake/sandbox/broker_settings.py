"""What the sandbox's broker is told: its properties, its logging, its Java command line."""

from pathlib import Path

from matchlake.errors import SandboxError
from matchlake.sandbox.jars import broker_folder
from matchlake.sandbox.process import HOST

_NODE = 1
# A laptop's broker: one node, so one copy of everything; few threads; nothing ever expires,
# because the demo recognises what it published by the offsets that are there.
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


def listener_settings(port: int, controller_port: int) -> dict[str, str]:
    """The listeners, who may speak on each and how: all of the broker's access control is here.

    Both listen on this machine only. Clients use `CLIENT`; the broker talks to its own
    controller on `CONTROLLER`.
    """
    return {
        "listeners": f"CLIENT://{HOST}:{port},CONTROLLER://{HOST}:{controller_port}",
        "advertised.listeners": f"CLIENT://{HOST}:{port}",
        "listener.security.protocol.map": "CLIENT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "inter.broker.listener.name": "CLIENT",
        "controller.listener.names": "CONTROLLER",
        # Named in the file, not in the data: so the port may differ at the next start.
        "controller.quorum.voters": f"{_NODE}@{HOST}:{controller_port}",
    }


def write_settings(home: Path, port: int, controller_port: int) -> None:
    """Writes `server.properties` and `log4j2.properties` into the broker's folder `home`."""
    if "," in str(home):
        raise SandboxError(f"Kafka cannot keep data under {home}: a comma ends a path for it.")
    settings = {
        **_PROPERTIES,
        **listener_settings(port, controller_port),
        "log.dirs": str(home / "data"),
    }
    lines = "".join(f"{key}={_escape(value)}\n" for key, value in settings.items())
    (home / "server.properties").write_text(lines, encoding="ascii")
    logging = _LOGGING.format(folder=_escape(str(home / "logs")))
    (home / "log4j2.properties").write_text(logging, encoding="ascii")


def _escape(value: str) -> str:
    # Java reads properties as Latin-1 with \uXXXX, in UTF-16 units.
    units = value.replace("\\", "\\\\").encode("utf-16-be")
    codes = (int.from_bytes(units[at : at + 2], "big") for at in range(0, len(units), 2))
    return "".join(chr(code) if chr(code).isascii() else f"\\u{code:04x}" for code in codes)


def java_command(java: str, home: Path, heap: str, *program: str) -> list[str]:
    """The command that runs `program` of Kafka's with at most `heap` (such as 512m) of memory."""
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
