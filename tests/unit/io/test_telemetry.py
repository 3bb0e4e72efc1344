"""Telemetry over the wire: everything arrives, no secret does, and no endpoint disturbs a job."""

import json
import logging
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tests.support.telemetry_servers import Behaviour, Endpoint, endpoint

from matchlake.dev.sandbox.cloud.certificates import make_certificates
from matchlake.errors import ConfigError, ParameterError
from matchlake.io.secrets import SecretRef
from matchlake.io.secrets.value import Secret
from matchlake.io.telemetry import count, observe, reporting_to, set_level, step
from matchlake.io.telemetry.names import METRICS
from matchlake.io.telemetry.params import TelemetryParams

KEY = "c0ffee00-feed-4bad-9dad-0123456789ab"
PLANTED = "hunter2-very-secret"
LOG = logging.getLogger("matchlake.test_telemetry")


@pytest.fixture(autouse=True)
def levels() -> Iterator[None]:
    logging.getLogger("matchlake").setLevel(logging.INFO)
    yield
    logging.getLogger("matchlake").setLevel(logging.NOTSET)


class Store:
    """A store with one secret."""

    def __init__(self, value: str = "") -> None:
        self.value = value

    def get(self, _: SecretRef) -> Secret:
        return Secret(self.value)


def params(**keys: Any) -> TelemetryParams:
    return TelemetryParams(**{"timeout_seconds": 2, **keys})


def job(given: TelemetryParams, store: Store | None = None, credential: Any = None) -> float:
    """A short job that records every metric; gives the seconds that it took beside its work."""
    began = time.monotonic()
    with reporting_to(given, store or Store(), "ingest", "test", credential):
        for metric in METRICS.values():
            if metric.name.startswith("matchlake.job"):
                continue
            record = {"counter": count, "gauge": set_level, "histogram": observe}[metric.kind]
            others = {name: "x" for name in metric.attributes if name != "job"}
            record(metric.name, 3, **others)
        with step("write", table=f"t {PLANTED}"):
            LOG.info("loaded with %s", PLANTED)
        time.sleep(0.3)
    return time.monotonic() - began - 0.3


def metrics_of(server: Endpoint) -> dict[str, Any]:
    return {
        metric.name: metric
        for request in server.otlp("/v1/metrics")
        for resource in request.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
    }


def test_every_metric_span_and_log_arrives_at_a_collector_without_the_secret() -> None:
    Secret(PLANTED)
    with endpoint() as server:
        job(params(otlp=f"http://127.0.0.1:{server.port}"))
        found = metrics_of(server)
        assert set(found) == set(METRICS)
        (seconds,) = found["matchlake.batch.seconds"].histogram.data_points
        assert (seconds.sum, seconds.count) == (3, 1)
        (offsets,) = found["matchlake.batch.offsets"].sum.data_points
        assert {each.key: each.value.string_value for each in offsets.attributes} == {
            "job": "ingest",
            "stream": "x",
        }
        spans = [
            span
            for request in server.otlp("/v1/traces")
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]
        assert {span.name for span in spans} == {"job ingest", "write"}
        by_name = {span.name: span for span in spans}
        assert by_name["write"].parent_span_id == by_name["job ingest"].span_id
        everything = b"".join(body for _, body in server.received)
        assert b"loaded with [secret]" in everything
        assert PLANTED.encode() not in everything


def test_application_insights_gets_the_metrics() -> None:
    with endpoint() as server:
        connection = f"InstrumentationKey={KEY};IngestionEndpoint=http://127.0.0.1:{server.port}/"
        ref = SecretRef(scope="s", key="k")
        job(params(app_insights=ref), Store(connection))
        assert {path for path, _ in server.received} == {"/v2.1/track"}
        envelopes = [each for body in server.bodies() for each in body]
        names = {
            each["data"]["baseData"]["metrics"][0]["name"]
            for each in envelopes
            if each["data"]["baseType"] == "MetricData"
        }
        assert names == set(METRICS)
        assert {each["data"]["baseType"] for each in envelopes} >= {"MetricData", "MessageData"}


def test_a_secret_that_is_no_connection_string_is_refused_without_its_value() -> None:
    given = params(app_insights=SecretRef(scope="s", key="k"))
    with pytest.raises(ConfigError, match="no connection string") as error:
        job(given, Store(PLANTED))
    assert PLANTED not in str(error.value)


def test_log_analytics_gets_a_row_per_point(tmp_path: Path) -> None:
    make_certificates(tmp_path)
    token = SimpleNamespace(token="t", expires_on=time.time() + 3600)  # noqa: S106 - a stand-in
    credential = SimpleNamespace(
        get_token=lambda *_, **__: token, get_token_info=lambda *_, **__: token
    )
    with endpoint(certificate=tmp_path / "server.pem") as server:
        target = {"endpoint": f"https://127.0.0.1:{server.port}", "rule": "dcr-00112233445566aa"}
        target["ca_file"] = str(tmp_path / "ca.pem")
        job(params(log_analytics=target), credential=credential)
        rows = [row for body in server.bodies() for row in body]
        assert {row["Name"] for row in rows} == set(METRICS)
        starts = [row["Value"] for row in rows if row["Name"] == "matchlake.job.starts"]
        assert sum(starts) == 1, "rows of later exports hold only what came since"
        (seconds,) = [r for r in rows if r["Name"] == "matchlake.job.seconds"]
        assert (seconds["Unit"], seconds["Count"]) == ("s", 1)
        assert seconds["Attributes"] == {"job": "ingest", "outcome": "done"}
        assert (
            "/dataCollectionRules/dcr-00112233445566aa/streams/Custom-Mat" in server.received[0][0]
        )


def test_prometheus_gets_a_file_with_sums_and_buckets(tmp_path: Path) -> None:
    path = tmp_path / "new" / "matchlake.prom"
    job(params(prometheus=str(path)))
    lines = path.read_text().splitlines()
    assert "# TYPE matchlake_batch_seconds histogram" in lines
    assert 'matchlake_batch_seconds_sum{job="ingest",stream="x"} 3' in lines
    assert 'matchlake_batch_seconds_bucket{job="ingest",le="+Inf",stream="x"} 1' in lines
    assert 'matchlake_batch_bytes_total{job="ingest",stream="x"} 3' in lines
    assert [each.name for each in path.parent.iterdir()] == ["matchlake.prom"]


@pytest.mark.parametrize("behaviour", ["slow", "throttling", "refusing", "broken", "down"])
def test_a_bad_endpoint_changes_neither_outcome_nor_time(
    behaviour: str, caplog: pytest.LogCaptureFixture
) -> None:
    started: Behaviour = "ok" if behaviour == "down" else behaviour  # type: ignore[assignment]
    with endpoint(started) as server:
        address = f"http://127.0.0.1:{server.port}"
        if behaviour == "down":
            server.server.shutdown()
            server.server.server_close()
        assert job(params(otlp=address, timeout_seconds=1)) < 1.5, "the packages are imported once"
        assert job(params(otlp=address, timeout_seconds=1)) < 0.3
    assert "Traceback" not in caplog.text


def test_a_job_that_fails_is_told_as_failed_without_its_error() -> None:
    with endpoint() as server:
        given = params(otlp=f"http://127.0.0.1:{server.port}")
        with pytest.raises(KeyError):
            _failing(given)
        server.wait_for(b"failed")
        assert PLANTED.encode() not in b"".join(body for _, body in server.received)


def _failing(given: TelemetryParams) -> None:
    with reporting_to(given, Store(), "j", "test"):
        time.sleep(0.2)
        raise KeyError(PLANTED)


def test_a_full_queue_drops_and_does_not_grow() -> None:
    with endpoint("slow") as server:
        given = params(otlp=f"http://127.0.0.1:{server.port}", queue_size=16, timeout_seconds=30)
        began = time.monotonic()
        with reporting_to(given, Store(), "j", "test"):
            for number in range(20_000):
                with step("s"):
                    LOG.debug("%d", number)
        assert time.monotonic() - began < 8, "20,000 steps"


def test_without_a_session_nothing_happens_and_wrong_kinds_are_errors_of_the_code() -> None:
    count("matchlake.batch.valid", 1, stream="x")
    with step("nothing"):
        pass
    with (
        endpoint() as server,
        reporting_to(params(otlp=f"http://127.0.0.1:{server.port}"), Store(), "j", "test"),
    ):
        count("matchlake.batch.valid", float("nan"), stream="x")
        count("matchlake.batch.valid", -1, stream="x")
        with pytest.raises(TypeError, match="is a counter, not a gauge"):
            set_level("matchlake.batch.valid", 1)
    assert "matchlake.batch.valid" not in metrics_of(server)


def test_a_missing_package_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.metric_exporter", None)
    with pytest.raises(ConfigError, match=r"pip install 'matchlake\[telemetry\]'"):
        job(params(otlp="http://127.0.0.1:1"))


@pytest.mark.parametrize(
    "wrong",
    [
        {"otlp": "collector:4318"},
        {"otlp": "http://user:word@host:4318"},
        {"prometheus": "/tmp/x.txt"},  # noqa: S108 - never written
        {"log_analytics": {"endpoint": "http://x", "rule": "dcr-00112233445566aa"}},
        {"log_analytics": {"endpoint": "https://x", "rule": "rule"}},
        {"log_analytics": {"endpoint": "https://x", "rule": "dcr-00112233445566aa", "tenant": "t"}},
        {"app_insights": "InstrumentationKey=1"},
    ],
)
def test_wrong_conf_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ParameterError):
        TelemetryParams(**wrong)


def test_names_of_prometheus_are_unique_and_legal() -> None:
    names = [metric.prometheus for metric in METRICS.values()]
    assert len(set(names)) == len(names)
    assert json.dumps(names).isascii()
    assert "matchlake_job_seconds" in names
