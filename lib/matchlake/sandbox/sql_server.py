"""Spark's Thrift server on a session's catalog: what JDBC clients on this machine connect to.

It runs inside the session's own process, with the session's in-memory catalog, so that it needs
no Hive metastore; Hive's client, which it cannot do without, works in a temporary folder.
"""

import logging
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pyspark.sql import SparkSession

from matchlake.errors import SandboxError
from matchlake.sandbox.process import HOST, choose_port, is_port_free

_log = logging.getLogger(__name__)

DEFAULT_PORT = 10_000
_GRACE_SECONDS = 30.0


@contextmanager
def sql_server(spark: SparkSession, port: int | None = None) -> Iterator[int]:
    """Serves the catalog of `spark` to JDBC clients while the block runs; yields the port.

    It listens on this machine only and asks nobody who he is. Without `port` it takes 10000, or
    any free one. Raises SandboxError when `port` is taken or the server does not come up.
    """
    chosen = choose_port(port, DEFAULT_PORT)
    with tempfile.TemporaryDirectory(prefix="matchlake-sql-") as folder:
        for key, value in _settings(chosen, folder).items():
            spark.conf.set(key, value)
        # Derby, below Hive's client, would write its log into the working folder.
        jvm: Any = spark._jvm  # noqa: SLF001 - Spark has no Python API for it
        jvm.java.lang.System.setProperty("derby.stream.error.file", f"{folder}/derby.log")
        thrift = jvm.org.apache.spark.sql.hive.thriftserver.HiveThriftServer2
        server = thrift.startWithContext(spark._jsparkSession.sqlContext())  # noqa: SLF001
        try:
            _wait_until_it_listens(chosen)
            yield chosen
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
