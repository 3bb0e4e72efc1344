"""`score_events` with a model of the tests instead of a registry.

    python -m tests.support.scored_events ADDRESS NAME FOLDER MODE

runs it until it is killed, for the stream NAME with checkpoints in FOLDER.
"""

import sys
from pathlib import Path
from typing import Any

from pyspark.sql import SparkSession
from tests.support.event_models import event_model, scored_conf
from tests.support.jvm import QUICK_JVM
from tests.support.streams import runtime_in

from matchlake.io.brokers import Broker
from matchlake.lakehouse.event_streams import EventStreams, run_streams
from matchlake.runtime import Runtime
from matchlake.training.event_scores import EventQuery, RowQuery


class StreamsUnderTest(EventStreams):
    """Queries of a model of the tests; its version is that of `versions` now."""

    versions: dict[str, str] = {"now": "1"}  # noqa: RUF012 - shared on purpose

    def _query(self, name: str, scoring: Any) -> EventQuery:  # noqa: ARG002 - as the base
        stream = self.config.streams[scoring.stream]
        return RowQuery(scoring, stream, event_model(), self.versions["now"])

    def champion_version(self, scoring: Any) -> str | None:  # noqa: ARG002 - as the base
        return self.versions["now"]

    def erased_version(self) -> int | None:
        return None


def event_streams(at: Runtime, broker: str) -> StreamsUnderTest:
    """The streams of a runtime of `scored_conf`."""
    return StreamsUnderTest(at.config, at.lakehouse, at.tracker, Broker(broker))


def main() -> None:
    """Runs until it is killed."""
    address, name, folder, mode = sys.argv[1:]
    settings = {
        "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
        "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
        "spark.sql.session.timeZone": "UTC",
        "spark.ui.enabled": "false",
        "spark.log.level": "ERROR",
        "spark.driver.extraJavaOptions": QUICK_JVM,
    }
    builder = SparkSession.builder.master("local[2]")
    for key, value in settings.items():
        builder = builder.config(key, value)
    conf = scored_conf(address, name, mode=mode)
    at = runtime_in(builder.getOrCreate(), Path(folder), **conf)
    run_streams(event_streams(at, address).prepare())


if __name__ == "__main__":
    main()
