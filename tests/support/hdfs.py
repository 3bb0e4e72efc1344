"""A real HDFS of one node for tests: Hadoop's own NameNode and DataNode, each in its process."""

import hashlib
import json
import shutil
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from matchlake.dev.sandbox.jars import Jar, broker_folder, fetch_jars, spark_jars_folder
from matchlake.io.java import require_java
from matchlake.io.ports import HOST, choose_port

_JAR = Jar(
    "org.apache.hadoop",
    "hadoop-client-minicluster",
    "3.5.0",
    "06772d24529e59939915979b3edba204d367750ef7dc5120411f35221dd4818c",
)
_SERVER = "org.apache.hadoop.hdfs.server"
_PATIENCE = 120


def hadoop_jar() -> Path:
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
    port, page = choose_port(None), choose_port(None)
    _write_settings(folder, port, page)
    java = [
        *(require_java(), "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp"),
        f"{folder}/conf:{hadoop_jar()}:{spark_jars_folder()}/*",
    ]
    name_node, data_node = f"{_SERVER}.namenode.NameNode", f"{_SERVER}.datanode.DataNode"
    formatted = [*java, name_node, "-format", "-nonInteractive"]
    done = subprocess.run(formatted, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    with ExitStack() as stack:
        for main in (name_node, data_node):
            stack.enter_context(_running([*java, main], folder / f"{main.rpartition('.')[2]}.log"))
        _wait(page, folder)
        yield f"hdfs://{HOST}:{port}"


def _write_settings(folder: Path, port: int, page: int) -> None:
    settings = {
        "fs.defaultFS": f"hdfs://{HOST}:{port}",
        "dfs.namenode.name.dir": f"file://{folder}/name",
        "dfs.datanode.data.dir": f"file://{folder}/data",
        "dfs.namenode.http-address": f"{HOST}:{page}",
        "dfs.datanode.address": f"{HOST}:0",
        "dfs.datanode.http.address": f"{HOST}:0",
        "dfs.datanode.ipc.address": f"{HOST}:0",
        "dfs.namenode.datanode.registration.ip-hostname-check": "false",
        "dfs.permissions.enabled": "false",
        "dfs.replication": "1",
    }
    items = "".join(
        f"<property><name>{name}</name><value>{value}</value></property>"
        for name, value in settings.items()
    )
    (folder / "conf").mkdir(parents=True)
    for site in ("core-site.xml", "hdfs-site.xml"):
        (folder / "conf" / site).write_text(f"<configuration>{items}</configuration>")


@contextmanager
def _running(command: list[str], log: Path) -> Iterator[None]:
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT)
    try:
        yield
    finally:
        process.kill()
        process.wait(30)


def _wait(page: int, folder: Path) -> None:
    """Until the one data node has reported, and the name node takes writes."""
    query = f"http://{HOST}:{page}/jmx?qry=Hadoop:service=NameNode,name=FSNamesystemState"
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            with urllib.request.urlopen(query, timeout=5) as answer:
                state = json.load(answer)["beans"][0]
            if state["NumLiveDataNodes"] == 1 and state["FSState"] == "Operational":
                return
        except (OSError, ValueError, LookupError):
            pass
        logs = "\n".join(log.read_text(errors="replace")[-1500:] for log in folder.glob("*.log"))
        assert time.monotonic() < deadline, logs
        time.sleep(0.3)
