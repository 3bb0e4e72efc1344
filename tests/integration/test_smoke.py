"""The check of real-time mode on a real broker: the query starts, and writes nothing."""

from contextlib import ExitStack
from pathlib import Path

import pytest
from pyspark.sql import SparkSession
from tests.support.lakes import lake_runtime

from matchlake.dev.sandbox.topics import create_topic
from matchlake.io.brokers import Broker
from matchlake.io.kafka import connect_admin
from matchlake.lakehouse.smoke_checks import Workspace, try_real_time

pytestmark = [pytest.mark.soak, pytest.mark.local_only]
TOPIC = "smoke-real-time"


def test_a_query_starts_in_real_time_and_leaves_nothing(
    spark: SparkSession, broker: str, tmp_path: Path
) -> None:
    create_topic(broker, TOPIC, 1)
    settings = (
        f"kafka.bootstrap_servers={broker}",
        "kafka.sasl=null",
        f"streams.rating_events.topic={TOPIC}",
        f"checkpoints={tmp_path}/checkpoints",
        "score_events.streams.a={stream: rating_events, model: user_age, topic: scores}",
        "score_events.batch=5 seconds",
    )
    runtime = lake_runtime(spark, tmp_path / "lake", *settings)
    parts = runtime.config, runtime.lakehouse, runtime.secrets, runtime.tracker
    with ExitStack() as undo:
        found = try_real_time(Workspace(*parts, "smoke_test"), undo)
        assert found == f"started on topic {TOPIC}, with 1 partition(s)"
        assert [each.isActive for each in spark.streams.active] == [True]
    assert spark.streams.active == []
    assert not (tmp_path / "checkpoints").exists()
    with connect_admin(Broker(broker), 10) as admin:
        assert "smoke_test" not in admin.list_topics()
