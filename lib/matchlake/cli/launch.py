"""A Spark session for a command: quick to start, and silent on the terminal."""

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

from py4j.protocol import Py4JError
from pyspark.errors import PySparkException
from pyspark.logger import PySparkLogger

from matchlake.config import JobConfig
from matchlake.errors import SandboxError
from matchlake.io.java import require_java
from matchlake.runtime import Runtime, start

SPARK_ERRORS = (PySparkException, Py4JError)
"""The errors of pyspark; py4j's are Delta errors that pyspark does not know."""

# The process of a query lives for seconds. Without Java's optimizing compiler it starts in half
# the time. By default the other compiler stops at 48 MiB of code, too little for a long session.
_OPTIONS = "-XX:TieredStopAtLevel=1 -XX:ReservedCodeCacheSize=240m -XX:+UseSerialGC"
_QUICK = {"spark.driver.extraJavaOptions": _OPTIONS}


def start_quietly(config: JobConfig, name: str, *, quick: bool = True) -> Runtime:
    """The runtime of one process; Spark never writes to the terminal.

    With `quick` Spark starts sooner, but runs long queries more slowly. Raises
    SandboxError, with the last lines of Spark's log, if Spark does not start.
    """
    # pyspark logs each failed query as a line of JSON; the command prints one sentence instead.
    PySparkLogger.getLogger("SQLQueryContextLogger").disabled = True
    if config.lakehouse:
        require_java()
    if config.lakehouse and quick:
        config = config.model_copy(update={"spark": {**_QUICK, **config.spark}})
    with _output_redirected() as log:
        try:
            return start(config, name)
        except (*SPARK_ERRORS, OSError) as error:
            log.seek(0)
            last = log.read().decode(errors="replace").strip().splitlines()[-3:]
            raise SandboxError(f"Spark did not start: {error} {' '.join(last)}".strip()) from None


@contextmanager
def _output_redirected() -> Iterator[BinaryIO]:
    """Redirects stdout and stderr of this process, and of the processes it starts, to a file.

    Spark's process keeps the file open until it ends. The file has no name: it disappears then.
    """
    with tempfile.TemporaryFile() as log:
        sys.stdout.flush()
        sys.stderr.flush()
        ours = {number: os.dup(number) for number in (1, 2)}
        try:
            for number in ours:
                os.dup2(log.fileno(), number)
            yield log
        finally:
            for number, copy in ours.items():
                os.dup2(copy, number)
                os.close(copy)
