"""A Spark session for a command: quick to start, and silent on the terminal."""

from py4j.protocol import Py4JError
from pyspark.errors import PySparkException

from matchlake.config import JobConfig
from matchlake.runtime import Runtime, quick_to_start, start

SPARK_ERRORS = (PySparkException, Py4JError)
"""The errors of pyspark and of py4j; Delta errors unknown to pyspark come as errors of py4j."""


def start_quietly(config: JobConfig, name: str, *, quick: bool = True) -> Runtime:
    """The runtime of one process; Spark never writes to the terminal.

    With `quick` Spark starts sooner, but runs long queries more slowly. Raises
    SandboxError, with the last lines of Spark's log, if Spark does not start.
    """
    return start(quick_to_start(config) if quick else config, name)
