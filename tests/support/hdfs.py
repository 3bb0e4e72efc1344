"""A real HDFS of one node for tests: Hadoop's own mini cluster in a process of its own."""

import hashlib
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from matchlake.sandbox.jars import Jar, broker_folder, fetch_jars, spark_jars_folder
from matchlake.sandbox.java import require_java
from matchlake.sandbox.process import choose_port

_JAR = Jar(
    "org.apache.hadoop",
    "hadoop-client-minicluster",
    "3.5.0",
    "06772d24529e59939915979b3edba204d367750ef7dc5120411f35221dd4818c",
)
_MAIN = "org.apache.hadoop.mapreduce.MiniHadoopClusterManager"
_PATIENCE = 120


def minicluster_jar() -> Path:
    """The jar, fetched once into this environment (56 MB; the first time needs the network)."""
    place = broker_folder().parent / "hdfs" / _JAR.file_name
    if not place.is_file():
        with tempfile.TemporaryDirectory() as scratch:
            fetched = fetch_jars([_JAR], Path(scratch)) / _JAR.file_name
            assert hashlib.sha256(fetched.read_bytes()).hexdigest() == _JAR.sha256
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.move(fetched, place)
    return place


@contextmanager
def running_hdfs(folder: Path) -> Iterator[str]:
    """An HDFS that lives while the block runs; its address, `hdfs://127.0.0.1:PORT`."""
    port = choose_port(None)
    command = [
        *(require_java(), "-Xmx512m", "-XX:+UseSerialGC", f"-Dtest.build.data={folder}"),
        *("-cp", f"{minicluster_jar()}:{spark_jars_folder()}/*", _MAIN),
        *("-nomr", "-format", "-nnport", str(port), "-datanodes", "1"),
    ]
    folder.mkdir(exist_ok=True)
    with (folder / "log").open("wb") as log:
        # It ends when its input does, so it cannot outlive this process.
        process = subprocess.Popen(
            command, cwd=folder, stdin=subprocess.PIPE, stdout=log, stderr=subprocess.STDOUT
        )
    try:
        _wait(process, port, folder / "log")
        yield f"hdfs://127.0.0.1:{port}"
    finally:
        process.kill()
        process.communicate()


def _wait(process: "subprocess.Popen[bytes]", port: int, log: Path) -> None:
    deadline = time.monotonic() + _PATIENCE
    while b"Started MiniDFSCluster" not in log.read_bytes():
        assert process.poll() is None, log.read_text(errors="replace")[-3000:]
        assert time.monotonic() < deadline, log.read_text(errors="replace")[-3000:]
        time.sleep(0.2)
    with socket.create_connection(("127.0.0.1", port), timeout=10):
        pass
