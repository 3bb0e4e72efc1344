"""Spark's Thrift server on the catalog of a session, for JDBC clients on this machine.

The server runs in the process of the session and uses the session's in-memory catalog, so it needs
no Hive metastore. The server contains Hive's client, which works in a temporary folder.
"""

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pyspark.sql import SparkSession

from matchlake.errors import SandboxError
from matchlake.io.ports import HOST, is_port_free

_GRACE_SECONDS = 30.0


@contextmanager
def sql_server(spark: SparkSession, port: int) -> Iterator[None]:
    """Serves the catalog of `spark` to JDBC clients on `port` while the block runs.

    It listens on this machine only and requires no login. Raises SandboxError if it does not
    start.
    """
    with tempfile.TemporaryDirectory(prefix="matchlake-sql-") as folder:
        for key, value in _settings(port, folder).items():
            spark.conf.set(key, value)
        # Derby, a part of Hive's client, would write derby.log to the working folder.
        jvm: Any = spark._jvm  # noqa: SLF001 - Spark has no Python API for it
        jvm.java.lang.System.setProperty("derby.stream.error.file", f"{folder}/derby.log")
        thrift = jvm.org.apache.spark.sql.hive.thriftserver.HiveThriftServer2
        server = thrift.startWithContext(spark._jsparkSession.sqlContext())  # noqa: SLF001
        try:
            _wait_until_it_listens(port)
            yield
        finally:
            server.stop()


def _settings(port: int, folder: str) -> dict[str, str]:
    return {
        "hive.server2.thrift.bind.host": HOST,
        "hive.server2.thrift.port": str(port),
        "hive.server2.authentication": "NONE",
        "hive.server2.logging.operation.enabled": "false",
        "hive.exec.scratchdir": f"{folder}/scratch",
        "hive.exec.local.scratchdir": f"{folder}/local",
        "hive.downloaded.resources.dir": f"{folder}/resources",
        "hive.querylog.location": f"{folder}/queries",
    }


def _wait_until_it_listens(port: int) -> None:
    deadline = time.monotonic() + _GRACE_SECONDS
    while is_port_free(port):
        if time.monotonic() > deadline:
            raise SandboxError(f"The SQL server did not open port {port}: try another --port.")
        time.sleep(0.1)
