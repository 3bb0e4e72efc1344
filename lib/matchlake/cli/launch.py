"""A Spark session for a command: quick to start, and silent on the terminal."""

from py4j.protocol import Py4JError
from pyspark.errors import PySparkException

from matchlake.config import JobConfig
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
    if config.lakehouse and quick:
        config = config.model_copy(update={"spark": {**_QUICK, **config.spark}})
    return start(config, name)
