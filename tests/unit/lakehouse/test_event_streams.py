"""What score_events refuses by name before it starts, and why it runs in micro-batches."""

import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tests.support.event_models import event_model, event_stream, scored_conf

from matchlake.config import JobConfig
from matchlake.errors import ConfigError, ModelError
from matchlake.formulas.heads import LinearHead
from matchlake.io.brokers import Broker
from matchlake.lakehouse import event_streams
from matchlake.lakehouse.event_streams import EventStream, EventStreams, RunningStream, cores_of
from matchlake.model_store.scoring_model import ScoringModel
from matchlake.training.event_scores import EventQuery, RowQuery


def session(master: str = "local[2]") -> Any:
    return SimpleNamespace(version="4.2.0", conf=SimpleNamespace(get=lambda *_: master))


class Streams(EventStreams):
    """Streams of a model of the tests."""

    model: ScoringModel = event_model()

    def _query(self, name: str, scoring: Any) -> EventQuery:  # noqa: ARG002 - as the base
        return RowQuery(scoring, self.config.streams[scoring.stream], self.model, "1")

    def champion_version(self, scoring: Any) -> str | None:  # noqa: ARG002 - as the base
        return "1"

    def erased_version(self) -> int | None:
        return None


def prepared(
    monkeypatch: pytest.MonkeyPatch, partitions: int = 1, master: str = "local[2]", **scoring: Any
) -> list[Any]:
    monkeypatch.setattr(event_streams, "require_topic", lambda *_: partitions)
    conf = {"env": "test", "checkpoints": "c", **scored_conf("127.0.0.1:9", "e", **scoring)}
    config = JobConfig.model_validate(conf)
    lake: Any = SimpleNamespace(spark=session(master))
    return list(Streams(config, lake, None, Broker("127.0.0.1:9")).prepare())  # type: ignore[arg-type]


def test_real_time_is_chosen_where_it_is_possible(monkeypatch: pytest.MonkeyPatch) -> None:
    assert [each.is_real_time for each in prepared(monkeypatch)] == [True]
    assert [each.is_real_time for each in prepared(monkeypatch, mode="micro_batch")] == [False]


def test_too_few_cores_are_told_or_refused(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    assert [each.is_real_time for each in prepared(monkeypatch, 3)] == [False]
    assert "e: micro-batches, because topic e needs one core per partition" in caplog.text
    with pytest.raises(ConfigError, match="it has 3 partitions, and the session 2 cores"):
        prepared(monkeypatch, 3, mode="real_time")
    assert prepared(monkeypatch, 3, "spark://host:7077", mode="real_time")[0].is_real_time


def test_a_head_without_sql_is_refused_where_conf_insists(monkeypatch: pytest.MonkeyPatch) -> None:
    head = LinearHead(
        columns=("f",), labels=tuple(map(str, range(1200))), link="softmax",
        weights=((1.0,),) * 1200, intercepts=(0.0,) * 1200,
    )  # fmt: skip
    model = event_model().model_copy(update={"head": head, "task": "classification"})
    monkeypatch.setattr(Streams, "model", model)
    with pytest.raises(
        ConfigError, match="cannot run in real time: the head of model m has no SQL"
    ):
        prepared(monkeypatch, mode="real_time")
    assert not prepared(monkeypatch)[0].is_real_time


def test_a_stream_that_python_reads_is_refused_where_conf_insists(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    avro = event_stream("e", format="csv").model_dump()
    conf = scored_conf("127.0.0.1:9", "e", mode="real_time")
    conf["streams"]["events"] = avro
    monkeypatch.setattr(f"{__name__}.scored_conf", lambda *_, **__: conf)
    with pytest.raises(ConfigError, match="the format csv is read by Python"):
        prepared(monkeypatch)


@pytest.mark.parametrize(
    ("key", "said"), [("model", "n is not a model"), ("stream", "n is not a stream")]
)
def test_undeclared_names_are_told(monkeypatch: pytest.MonkeyPatch, key: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        prepared(monkeypatch, **{key: "n"})


@pytest.mark.parametrize(
    ("master", "cores"),
    [
        ("local", 1),
        ("local[3]", 3),
        ("local[2,4]", 2),
        ("local-cluster[2,3,1024]", 6),
        ("yarn", None),
    ],
)
def test_cores_of_a_session(master: str, cores: int | None) -> None:
    assert cores_of(session(master)) == cores


def test_a_champion_that_cannot_score_stops_nothing_and_erased_users_are_left_out(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (stream,) = prepared(monkeypatch)
    started: list[Any] = []
    query: Any = SimpleNamespace(awaitTermination=lambda **_: False, stop=lambda: None)
    monkeypatch.setattr(
        EventStream, "start", lambda self: started.append(self.input_versions) or query
    )
    running = RunningStream(stream)

    def refuse(*_: Any) -> Any:
        raise ModelError("it reads a column that the stream lacks")

    def look(version: Any, erased: int | None) -> None:
        monkeypatch.setattr(Streams, "champion_version", version)
        monkeypatch.setattr(Streams, "erased_version", lambda _: erased)
        running._check_at = 0.0
        assert not running.has_ended(0)

    monkeypatch.setattr(Streams, "_query", refuse)
    look(lambda *_: "2", None)
    assert (started, "version 1 stays" in caplog.text) == ([("1", None)], True)
    look(lambda *_: "2", 7)
    look(lambda *_: None, 8)
    look(refuse, 9)
    look(refuse, 9)
    assert started[1:] == [("1", 7), ("1", 8), ("1", 9)]
    monkeypatch.undo()


def test_the_job_is_told_where_it_is_misdeclared() -> None:
    base = {"env": "test", "checkpoints": str(Path("c")), **scored_conf("127.0.0.1:9", "e")}
    for change, said in (
        ({"batch": "2 seconds"}, "not an interval of at least 5 seconds"),
        ({"trigger": "soon"}, "neither available_now nor an interval"),
        ({"names": ["x"]}, "x is not a declared stream; declared: e"),
    ):
        changed = {**base, "score_events": {**base["score_events"], **change}}
        with pytest.raises(ValueError, match=said):
            JobConfig.model_validate(changed)
