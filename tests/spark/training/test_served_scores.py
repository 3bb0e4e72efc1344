"""Answers of the server, scored again by Spark: none differs, and a planted one is found."""

import asyncio
import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from pyspark.sql import SparkSession
from tests.support.served import ROWS, export_scoring, json_rows, scoring_model, state_of

from matchlake.serve.app import application
from matchlake.serve.metrics import Metrics
from matchlake.serve.prediction_log import PredictionLog
from matchlake.training.served_scores import compare_served

MORE: list[dict[str, Any]] = [
    {"n": float("nan"), "i": 5.0, "d": "2024-02-25T10:00:00", "m": "1.5"},
    {"n": float("inf"), "i": None, "c": "\0", "f": 0.1},
    {"n": -1e300, "i": -(2**63), "l": [None, "a"], "k": [2.0, None]},
]


class Kept:
    """A broker that keeps what it is sent."""

    def __init__(self) -> None:
        self.events: list[tuple[str, str, str]] = []

    def connect(self) -> "Kept":
        return self

    def send(self, key: bytes, value: bytes, done: Any) -> None:
        del key
        event = json.loads(value)
        self.events.append((event["id"], event["inputs"], event["outputs"]))
        done(None)

    def flush(self, seconds: float) -> None:
        pass

    def close(self) -> None:
        pass


def served(path: Path, bodies: list[bytes]) -> list[tuple[str, str, str]]:
    """The events of requests that were answered."""
    kept, state = Kept(), state_of(path)
    state.log = PredictionLog(kept.connect, 10_000, Metrics())

    async def ask() -> None:
        transport = httpx.ASGITransport(application(state))
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            headers = {"content-type": "application/json"}
            for body in bodies:
                await client.post("/invocations", content=body, headers=headers)

    asyncio.run(ask())
    state.log.close(20)
    return kept.events


@pytest.mark.parametrize("kind", ["linear", "trees", "centroids"])
def test_no_answer_differs_and_a_planted_one_is_found(
    spark: SparkSession, tmp_path: Path, kind: str
) -> None:
    model = scoring_model(3, kind, None if kind == "trees" else 8)
    rows = json_rows(model, range(min(60, len(ROWS) // 4)))
    known = set(rows[0])
    odd = [rows[0] | {k: v for k, v in each.items() if k in known} for each in MORE]
    bodies = [json.dumps({"dataframe_records": [row]}).encode() for row in (*rows, *odd)]
    events = served(export_scoring(tmp_path / "m.onnx", model), bodies)
    assert len(events) > 40
    schema = "id STRING, inputs STRING, outputs STRING"
    found = compare_served(model, spark.createDataFrame(events, schema))
    assert (found.rows, found.differences, found.examples) == (len(events), 0, ())
    place = next(
        i for i, each in enumerate(events) if json.loads(each[2])["prediction"] is not None
    )
    identity, inputs, outputs = events[place]
    other = json.loads(outputs)
    for name, value in other.items():
        other[name] = _changed(value)
    events[place] = identity, inputs, json.dumps(other)
    found = compare_served(model, spark.createDataFrame(events, schema))
    assert (found.differences, found.examples) == (1, (identity,))


def _changed(value: Any) -> Any:
    if isinstance(value, list):
        return [each and each + 0.125 for each in value]
    return f"{value}x" if isinstance(value, str) else value + 1
