"""Changes of another database reach silver: Debezium's envelopes, tombstones, and a replay."""

import json
import runpy
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaProducer
from pyspark.sql import SparkSession
from tests.support.streams import batch_log_of, ingest, one_stream

from matchlake.ingest.streams.replay import Replay, Replayed
from matchlake.runtime import Runtime

RUN = runpy.run_path("jobs/build_silver.py")["run"]
COLUMNS: dict[str, Any] = {
    "id": {"type": "int", "comment": "key"},
    "user_id": {"type": "string", "comment": "who"},
    "price": {"type": "decimal(10,2)", "required": False, "comment": "how much"},
    "ordered_at": {"type": "timestamp", "epoch": "ms", "comment": "when"},
}


def row(number: int, price: str = "1.5") -> dict[str, Any]:
    return {"id": number, "user_id": f"u{number}", "price": price, "ordered_at": 1714557600123}


def shop(spark: SparkSession, folder: Path, broker: str, name: str, kind: str) -> Runtime:
    """A stream of orders that are changed and deleted, and its silver table by id."""
    at = one_stream(
        spark,
        folder,
        broker,
        name,
        columns=COLUMNS,
        event_time="ordered_at",
        change_data=kind,
        key_columns=["id"],
    )
    silver = {"stream": name, "table": f"{name}.orders", "comment": "c", "keys": ["id"]}
    tables = at.config.silver.model_validate({"tables": {"orders": silver}})
    return Runtime(
        spark,
        at.config.model_copy(update={"silver": tables}),
        at.lakehouse,
        at.secrets,
        at.tracker,
    )


def send(broker: str, topic: str, *messages: tuple[int, Any]) -> None:
    """Messages (id, value) in order; a value of None is a tombstone."""
    producer = KafkaProducer(bootstrap_servers=broker)
    for number, value in messages:
        raw = None if value is None else json.dumps(value).encode()
        producer.send(topic, raw, json.dumps({"id": number}).encode()).get(10)
    producer.close()


def orders(at: Runtime, name: str) -> dict[int, str]:
    RUN(at)
    rows = at.lakehouse.read(f"{name}.orders").collect()
    return {each.id: str(each.price) for each in rows}


@pytest.mark.soak
def test_debezium_envelopes_update_and_delete_by_key(
    spark: SparkSession, tmp_path: Path, broker: str
) -> None:
    at = shop(spark, tmp_path, broker, "dbz", "debezium")
    upsert = {"op": "c", "before": None, "ts_ms": 7}
    delete = {"op": "d", "before": {"id": 2}, "after": None}
    wrapped = {"schema": {}, "payload": upsert | {"after": row(3)}}
    first = (1, upsert | {"after": row(1)}), (2, upsert | {"after": row(2)}), (3, wrapped)
    broken = (4, upsert | {"after": row(4, price="1.234")})
    send(broker, "dbz", *first, (1, upsert | {"op": "u", "after": row(1, "2.5")}), broken)
    counts = ingest(at)
    assert (counts.offsets, counts.valid, counts.quarantined) == (5, 4, 1)
    assert orders(at, "dbz") == {1: "2.50", 2: "1.50", 3: "1.50"}

    send(broker, "dbz", (2, delete), (2, None), (3, None), (5, upsert | {"after": row(5)}))
    counts = ingest(at)
    assert (counts.offsets, counts.valid, counts.quarantined, counts.gaps) == (9, 8, 1, 0)
    assert orders(at, "dbz") == {1: "2.50", 5: "1.50"}

    # What was deleted is inserted again; what was quarantined is fixed.
    send(broker, "dbz", (2, upsert | {"after": row(2, "9")}))
    fix = "replace(value, '1.234', '1.23')"
    assert ingest(at).valid == 9
    assert Replay(at.config.streams["dbz"], at.lakehouse, fix=fix).run(
        batch_log_of(at)
    ) == Replayed(1, 1)
    assert orders(at, "dbz") == {1: "2.50", 2: "9.00", 4: "1.23", 5: "1.50"}
    seen = spark.sql("SELECT _operation, count(*) FROM dbz.valid GROUP BY ALL").collect()
    assert dict(map(tuple, seen)) == {"upsert": 7, "delete": 3}
