"""The one Spark session of a test run, classic or Connect, and its settings."""

import logging
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext

import pytest
from hypothesis import settings
from pyspark.sql import SparkSession

from matchlake.io.ports import choose_port
from tests.support.jvm import QUICK_JVM

settings.register_profile("matchlake", deadline=None)  # no test depends on time
settings.load_profile("matchlake")

os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
os.environ["PYSPARK_PYTHON"] = sys.executable

KIND = os.environ.get("MATCHLAKE_TEST_SPARK", "classic")

SETTINGS = {
    "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
    "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.ansi.enabled": "true",
    "spark.sql.shuffle.partitions": "2",
    "spark.databricks.delta.snapshotPartitions": "1",
    "spark.sql.sources.parallelPartitionDiscovery.parallelism": "2",
    # Small data: plans are interpreted here, and compiled over Connect.
    "spark.sql.codegen.wholeStage": str(KIND == "connect").lower(),
    "spark.sql.codegen.factoryMode": "FALLBACK" if KIND == "connect" else "NO_CODEGEN",
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
    "spark.driver.memory": "2g",
    "spark.driver.extraJavaOptions": QUICK_JVM,
}


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leaves out what only Spark Connect answers where Spark is classic."""
    if KIND == "connect":
        return
    left_out = [item for item in items if item.get_closest_marker("connect_only")]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]


@pytest.fixture(autouse=True)
def own_log() -> None:
    """Each test finds the product's loggers as a fresh process does, whatever ran before it."""
    for name, logger in logging.root.manager.loggerDict.items():
        if name.split(".")[0] == "matchlake" and isinstance(logger, logging.Logger):
            logger.setLevel(logging.NOTSET)
            logger.disabled, logger.propagate = False, True


@pytest.fixture
def tell(record_property: Callable[[str, object], None]) -> Callable[[str], None]:
    """Takes lines of a test that are shown at the end of the run, also of one in many processes."""
    return lambda line: record_property("told", line)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Shows what tests told."""
    for report in terminalreporter.getreports("passed"):
        for name, line in report.user_properties:
            if name == "told" and report.when == "call":
                terminalreporter.write_line(f"{report.nodeid.split('::')[-1]}: {line}")


@pytest.fixture(scope="session")
def spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SparkSession]:
    """A session on two threads; over Connect where MATCHLAKE_TEST_SPARK=connect."""
    settings = SETTINGS | {"spark.sql.warehouse.dir": str(tmp_path_factory.mktemp("warehouse"))}
    builder = SparkSession.builder
    if KIND == "connect":
        builder = builder.remote("local[2]")
        settings["spark.connect.grpc.binding.port"] = str(_own_connect_port())
    else:
        builder = builder.master("local[2]")
    for key, value in settings.items():
        builder = builder.config(key, value)
    with warnings.catch_warnings():
        # The client sets again what the Connect server was started with, and warns of each.
        warnings.filterwarnings("ignore", message="Failed to set spark", category=UserWarning)
        session = builder.getOrCreate()
    with _rules():
        yield session
    session.stop()


def _own_connect_port() -> int:
    """A free port that client and server agree on: the usual one serves another run by its side."""
    from pyspark.sql.connect.client import DefaultChannelBuilder  # noqa: PLC0415 - needs grpc

    port = choose_port(None)
    DefaultChannelBuilder.default_port = staticmethod(lambda: port)  # type: ignore[method-assign]
    return port


def _rules() -> AbstractContextManager[None]:
    """On Connect what serverless compute refuses is refused; but checkpoints, for want of storage.

    Fits get no storage to cut their plans to in these tests; jobs have some, and are held to it.
    """
    if KIND != "connect":
        return nullcontext()
    from tests.support.serverless import serverless_rules  # noqa: PLC0415 - needs Connect's client

    return serverless_rules(checkpoints=True)
