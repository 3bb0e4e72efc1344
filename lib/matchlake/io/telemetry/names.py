"""Every metric of jobs: the queries, the workbook and the alert rules of `deploy` use these names.

The metrics of the HTTP server are in `matchlake.serve.metrics`.
"""

from typing import Literal, NamedTuple

Kind = Literal["counter", "gauge", "histogram"]


class Metric(NamedTuple):
    """A metric: how it is recorded, its unit, its meaning, and the attributes of its points."""

    name: str
    kind: Kind
    unit: str
    comment: str
    attributes: tuple[str, ...]

    @property
    def prometheus(self) -> str:
        """Its name in Prometheus: underscores, the unit, and `_total` for a counter."""
        base = self.name.replace(".", "_")
        unit = {"s": "_seconds", "By": "_bytes"}.get(self.unit, "")
        named = base if not unit or base.endswith(unit) else f"{base}{unit}"
        return f"{named}_total" if self.kind == "counter" else named


_JOB, _STREAM, _FIT = ("job",), ("job", "stream"), ("job", "algorithm")

METRICS = {
    metric.name: metric
    for metric in (
        Metric("matchlake.job.starts", "counter", "1", "Runs that began", _JOB),
        Metric("matchlake.job.runs", "counter", "1", "Runs that ended", ("job", "outcome")),
        Metric("matchlake.job.seconds", "histogram", "s", "Time of a run", ("job", "outcome")),
        Metric("matchlake.step.seconds", "histogram", "s", "Time of a step", ("job", "step")),
        Metric("matchlake.batch.offsets", "counter", "1", "Offsets read", _STREAM),
        Metric("matchlake.batch.valid", "counter", "1", "Valid rows", _STREAM),
        Metric("matchlake.batch.quarantined", "counter", "1", "Quarantined rows", _STREAM),
        Metric("matchlake.batch.gaps", "counter", "1", "Offsets in gaps", _STREAM),
        Metric("matchlake.batch.bytes", "counter", "By", "Bytes of values as received", _STREAM),
        Metric("matchlake.batch.lag", "gauge", "1", "Unread records of the topic", _STREAM),
        Metric("matchlake.batch.seconds", "histogram", "s", "Time of a batch", _STREAM),
        Metric("matchlake.fit.loss", "gauge", "1", "Loss after an iteration", _FIT),
        Metric("matchlake.fit.iterations", "counter", "1", "Iterations of fits", _FIT),
        Metric("matchlake.fit.seconds", "histogram", "s", "Time of an iteration", _FIT),
        Metric("matchlake.log.errors", "counter", "1", "Log records of level ERROR", _JOB),
    )
}
