"""The sandbox's broker: a real Kafka with one node, started and stopped by commands.

Everything it owns lies in `<root>/kafka`: data, settings, logs, and `state.json` with its ports.
Its process is found by the settings file on its command line. So no other process is mistaken for
it, even if a crash or a reboot left an old process id in `state.json`.
"""

import json
import logging
import re
import secrets
import shutil
import subprocess
import time
import uuid
from base64 import urlsafe_b64encode
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal, NamedTuple

import psutil

from matchlake.dev.sandbox.broker_log import why_it_ended
from matchlake.dev.sandbox.broker_settings import (
    forget_inner_password,
    java_command,
    write_settings,
)
from matchlake.dev.sandbox.jars import broker_folder, install_jars
from matchlake.dev.sandbox.process import alone, end_process, find_process, spawn_detached
from matchlake.dev.sandbox.topics import broker_answers
from matchlake.errors import SandboxError
from matchlake.io.brokers import Broker, jaas_text
from matchlake.io.java import require_java
from matchlake.io.params import SaslParams, SslParams
from matchlake.io.ports import HOST, choose_port
from matchlake.io.secrets import Secret, SecretRef, masked, write_private

_LOG = logging.getLogger(__name__)
_SERVER = "kafka.Kafka"
MIN_FREE_BYTES = 512 * 2**20
_GRACE_SECONDS = 30.0
_MISSED = 3
"""After so many failed checks in a row the process counts as ended."""
_MECHANISM: Literal["SCRAM-SHA-512"] = "SCRAM-SHA-512"
_ANY = SecretRef(scope="sandbox", key="broker")


@dataclass(frozen=True)
class BrokerState:
    """The state of the broker of one root."""

    phase: Literal["absent", "stopped", "crashed", "running"]
    """`absent`: never started here; `crashed`: ended, but not by `stop_broker`."""
    port: int = 0
    """The port of clients; kept across restarts while it is free. 0 if absent."""
    controller_port: int = 0
    pid: int = 0
    """The process id while the broker runs, else 0."""
    started: float = 0.0
    """When that process began, in seconds since 1970."""
    asks_login: bool = False
    """Whether clients must log in; decided once, when the data folder is made."""

    @property
    def bootstrap(self) -> str:
        """The address for Kafka clients, `host:port`."""
        return f"{HOST}:{self.port}"


def broker_status(root: Path) -> BrokerState:
    """The state of the broker of `root` now, read from the running processes."""
    home = _home(root)
    try:
        last = BrokerState(**json.loads((home / "state.json").read_text(encoding="utf-8")))
    except (FileNotFoundError, NotADirectoryError, ValueError, TypeError):
        last = _state_of_settings(home)
    if last.phase == "absent":
        return last
    process = _find(home)
    if process is not None:
        return replace(last, phase="running", pid=process.pid, started=process.create_time())
    if last.phase == "running":
        return replace(last, phase="crashed", pid=0, started=0.0)
    return last


def _state_of_settings(home: Path) -> BrokerState:
    """The state from the broker's settings, for a missing or broken `state.json`."""
    try:
        text = (home / "server.properties").read_text(encoding="ascii")
    except OSError:
        return BrokerState("absent")
    ports = re.search(r"^listeners=CLIENT://[^,]*:(\d+),CONTROLLER://.*:(\d+)$", text, re.MULTILINE)
    client, controller = map(int, ports.groups()) if ports else (0, 0)
    return BrokerState("stopped", client, controller, asks_login="SASL_PLAINTEXT" in text)


class Login(NamedTuple):
    """The user that clients log in as."""

    username: str
    password: Secret
    ca: str | None = None
    """File of the broker's certificate authorities, for an encrypted listener."""

    def get(self, _: SecretRef) -> Secret:
        """The password, for any reference: a login serves as a secret store."""
        return self.password


def start_broker(
    root: Path,
    *,
    port: int | None = None,
    heap: str = "768m",
    timeout: float = 120.0,
    login: Login | None = None,
    settings: Mapping[str, str] | None = None,
) -> BrokerState:
    """Starts the broker of `root` unless it runs, and returns once it answers.

    Args:
        root: the sandbox's folder; data of an earlier start is kept.
        port: the port of clients; None for the last one, or any free one.
        heap: Java's memory, such as `512m`.
        timeout: seconds to wait for its first answer; without one it is stopped.
        login: the user that clients log in as, by SCRAM; None: no login.
        settings: further Kafka settings.

    Raises:
        SandboxError: no suitable Java, no jars and no network, a full disk, a folder that
            cannot be written, a taken port, or a broker that ended or did not answer.
    """
    with _alone(root) as home:
        state = broker_status(root)
        if state.phase == "running":
            _LOG.info("the broker already runs on %s", state.bootstrap)
            _refuse_to_move(state, port)
            _wait_until_it_answers(home, connection(state, login), timeout)
            return state
        _refuse_to_change_locks(home, state, login)
        try:
            state = _launch(home, state, port, heap, login, settings)
            _wait_until_it_answers(home, connection(state, login), timeout)
        except BaseException:
            _stop(home)
            raise
    return state


def connection(state: BrokerState, login: Login | None) -> Broker:
    """The connection to a sandbox's broker, for kafka-python and for Spark."""
    if login is None:
        return Broker(state.bootstrap)
    params = SaslParams(mechanism=_MECHANISM, username=login.username, password=_ANY)
    ssl = SslParams(ca_file=login.ca) if login.ca else None
    return Broker(state.bootstrap, ssl, params, secrets=login)


def stop_broker(root: Path) -> bool:
    """Stops the broker of `root` and keeps its data. Returns whether it was running."""
    if broker_status(root).phase == "absent":
        return False
    with _alone(root) as home:
        return _stop(home)


def _home(root: Path) -> Path:
    return root.resolve() / "kafka"


def _find(home: Path) -> psutil.Process | None:
    return find_process(_SERVER, str(home / "server.properties"))


@contextmanager
def _alone(root: Path) -> Iterator[Path]:
    home = _home(root)
    with alone(home):
        (home / "logs").mkdir(exist_ok=True)
        yield home


def _check_disk(home: Path) -> None:
    free = shutil.disk_usage(home).free
    if free < MIN_FREE_BYTES:
        raise SandboxError(
            f"The disk of {home} has {free // 2**20} MiB left, and the broker needs "
            f"{MIN_FREE_BYTES // 2**20}: free some, or give a --root on another disk."
        )


def _launch(
    home: Path,
    last: BrokerState,
    port: int | None,
    heap: str,
    login: Login | None,
    settings: Mapping[str, str] | None,
) -> BrokerState:
    java = require_java()
    install_jars("broker", broker_folder())
    _check_disk(home)
    chosen = choose_port(port, last.port)
    controller = choose_port(None, last.controller_port, avoid=chosen)
    state = BrokerState("running", chosen, controller, asks_login=login is not None)
    # A new password at each start; while the broker starts, a file of the owner holds it.
    inner = secrets.token_hex(16) if login else ""
    write_settings(home, state.port, state.controller_port, inner, settings)
    _format_once(home, java, heap, login)
    # Saved before the broker starts, so that its ports are known even if this program is killed.
    _save(home, state)
    for log in (home / "logs").iterdir():
        log.unlink()
    server = java_command(java, home, heap, _SERVER, str(home / "server.properties"))
    pid = spawn_detached(server, _console(home))
    state = replace(state, pid=pid, started=time.time())
    _save(home, state)
    return state


def _format_once(home: Path, java: str, heap: str, login: Login | None) -> None:
    if (home / "data" / "meta.properties").is_file():
        return
    cluster = urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
    command = java_command(java, home, heap, "kafka.tools.StorageTool", "format")
    # --ignore-formatted completes a format that a crash interrupted.
    command += [f"--cluster-id={cluster}", "--ignore-formatted"]
    command += ["--config", str(home / "server.properties")]
    for mechanism in ("SCRAM-SHA-512", "SCRAM-SHA-256") if login else ():
        password = f"name={login.username},password={login.password.reveal()}" if login else ""
        command += ["--add-scram", f"{mechanism}=[{password}]"]
    # Passes the secret in a file, because every user of the machine can read a command line.
    arguments = home / "format.arguments"
    write_private(arguments, "\n".join(jaas_text(part) for part in command[1:]))
    try:
        done = subprocess.run(  # noqa: S603
            [java, f"@{arguments}"], capture_output=True, text=True, check=False
        )
    finally:
        arguments.unlink()
    if done.returncode:
        _console(home).write_text(masked(done.stdout + done.stderr), encoding="utf-8")
        raise SandboxError(f"The broker's data folder could not be formatted: {why_it_ended(home)}")


def _refuse_to_change_locks(home: Path, last: BrokerState, login: Login | None) -> None:
    if not (home / "data" / "meta.properties").is_file() or last.asks_login == (login is not None):
        return
    was = "with" if last.asks_login else "without"
    raise SandboxError(
        f"The broker's data in {home} was created {was} a login. This cannot be changed. Start the "
        f"broker {was} a login, or delete the data with `make clean`."
    )


def _cluster(home: Path) -> str:
    lines = (home / "data" / "meta.properties").read_text(encoding="ascii").splitlines()
    return next(line for line in lines if line.startswith("cluster.id=")).partition("=")[2]


def _save(home: Path, state: BrokerState) -> None:
    staged = home / "state.json.partial"
    staged.write_text(json.dumps(asdict(state), indent=1) + "\n", encoding="utf-8")
    staged.replace(home / "state.json")


def _stop(home: Path) -> bool:
    process = _find(home)
    if process is not None:
        end_process(process, _GRACE_SECONDS)
    state = broker_status(home.parent)
    if state.phase != "absent":
        _save(home, replace(state, phase="stopped"))
    return process is not None


def _refuse_to_move(state: BrokerState, port: int | None) -> None:
    if port not in (None, state.port):
        raise SandboxError(
            f"The broker already runs on port {state.port}. Stop the broker to use port {port}."
        )


def _wait_until_it_answers(home: Path, broker: Broker, timeout: float) -> None:
    deadline = time.monotonic() + timeout
    cluster, missed = _cluster(home), 0
    while not broker_answers(broker, cluster):
        # While a process starts another program, it briefly has no command line.
        missed = missed + 1 if _find(home) is None else 0
        if missed == _MISSED:
            raise SandboxError(f"The broker ended while it started: {why_it_ended(home)}")
        if time.monotonic() > deadline:
            raise SandboxError(
                f"The broker did not answer on {broker} within {timeout:.0f} s and was "
                f"ended: {why_it_ended(home)}"
            )
        time.sleep(0.1)
    forget_inner_password(home)


def _console(home: Path) -> Path:
    return home / "logs" / "console.log"
