"""Metric points as plain rows, for a table of Log Analytics and for the text of Prometheus."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from opentelemetry.sdk.metrics import Counter, Histogram
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    MetricExporter,
    MetricExportResult,
    MetricsData,
)

from matchlake.io.telemetry.names import METRICS

_NANOSECONDS = 1e9


class Point(NamedTuple):
    """One point of a metric; a histogram has also its count, bounds and counts per bucket."""

    name: str
    value: float
    attributes: Mapping[str, str]
    at: datetime
    total: int = 0
    bounds: Sequence[float] = ()
    counts: Sequence[int] = ()


def points_of(data: MetricsData) -> Iterator[Point]:
    """The points of an export; the value of a histogram is its sum."""
    metrics = (
        metric
        for resource in data.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
    )
    for metric in metrics:
        for each in metric.data.data_points:
            point: Any = each
            at = datetime.fromtimestamp(point.time_unix_nano / _NANOSECONDS, UTC)
            attributes = {name: str(value) for name, value in (point.attributes or {}).items()}
            if hasattr(point, "bucket_counts"):
                more = (point.count, point.explicit_bounds, point.bucket_counts)
                yield Point(metric.name, point.sum, attributes, at, *more)
            else:
                yield Point(metric.name, point.value, attributes, at)


class PointsExporter(MetricExporter):
    """Gives the points of each export to a function; errors of the function are raised."""

    def __init__(
        self,
        take: Callable[[list[Point]], None],
        temporality: AggregationTemporality = AggregationTemporality.CUMULATIVE,
    ) -> None:
        super().__init__({Counter: temporality, Histogram: temporality})
        self._take = take

    def export(
        self, metrics_data: MetricsData, timeout_millis: float = 10_000, **_: Any
    ) -> MetricExportResult:
        """Calls the function with the points."""
        del timeout_millis
        points = list(points_of(metrics_data))
        if points:
            self._take(points)
        return MetricExportResult.SUCCESS

    def force_flush(self, timeout_millis: float = 10_000) -> bool:
        """Does nothing: no point waits here."""
        del timeout_millis
        return True

    def shutdown(self, timeout_millis: float = 30_000, **_: Any) -> None:
        """Does nothing: there is nothing to end."""


def rows_exporter(upload: Callable[[list[dict[str, Any]]], None]) -> PointsExporter:
    """Uploads each point as a row, as a delta since the previous export, so that sums are right."""
    return PointsExporter(
        lambda points: upload([_row(point) for point in points]), AggregationTemporality.DELTA
    )


def _row(point: Point) -> dict[str, Any]:
    return {
        "TimeGenerated": point.at.isoformat(),
        "Name": point.name,
        "Value": point.value,
        "Count": point.total,
        "Unit": METRICS[point.name].unit if point.name in METRICS else "",
        "Attributes": dict(point.attributes),
    }


def file_exporter(path: Path) -> PointsExporter:
    """Replaces a file for Prometheus' text collector with each export, atomically."""

    def write(points: list[Point]) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(f".{os.getpid()}.part")
        part.write_text(prometheus_text(points), encoding="utf-8")
        part.replace(path)

    return PointsExporter(write)


def prometheus_text(points: Sequence[Point]) -> str:
    """The points in Prometheus' text format."""
    lines: list[str] = []
    for name in dict.fromkeys(point.name for point in points):
        metric = METRICS.get(name)
        if metric is None:
            continue
        lines += [f"# HELP {metric.prometheus} {metric.comment}."]
        lines += [f"# TYPE {metric.prometheus} {metric.kind}"]
        for point in points:
            if point.name == name:
                lines += _series(metric.prometheus, point)
    return "\n".join(lines) + "\n"


def _series(name: str, point: Point) -> Iterator[str]:
    if not point.counts:
        yield f"{name}{_labels(point.attributes)} {point.value:.17g}"
        return
    total = 0
    for bound, number in zip((*point.bounds, float("inf")), point.counts, strict=True):
        total += number
        le = "+Inf" if bound == float("inf") else f"{bound:g}"
        yield f"{name}_bucket{_labels({**point.attributes, 'le': le})} {total}"
    yield f"{name}_sum{_labels(point.attributes)} {point.value:.17g}"
    yield f"{name}_count{_labels(point.attributes)} {point.total}"


def _labels(attributes: Mapping[str, str]) -> str:
    def quoted(value: str) -> str:
        return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")

    inner = ",".join(f'{name}="{quoted(value)}"' for name, value in sorted(attributes.items()))
    return f"{{{inner}}}" if inner else ""
