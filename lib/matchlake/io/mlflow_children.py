"""Child runs of a run: one per trial of a search. Each is logged completely or not at all."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from types import ModuleType
from typing import Any

_GROUP, _NAME = "matchlake.group", "matchlake.child"
_PARENT, _RUN_NAME = "mlflow.parentRunId", "mlflow.runName"
_LONGEST = 5_000
"""MLflow takes at most 6,000 characters of a parameter, and 5,000 of a tag of Databricks."""


@dataclass(frozen=True)
class Child:
    """What a child run logs."""

    name: str
    """Unique in its group."""
    started_at: datetime
    seconds: float
    params: Mapping[str, str]
    metrics: Mapping[str, float] = field(default_factory=dict)
    steps: Mapping[str, tuple[tuple[int, float], ...]] = field(default_factory=dict)
    """Metrics with several steps."""
    failure: str | None = None
    """Why the child failed; None: it succeeded."""
    tags: Mapping[str, str] = field(default_factory=dict)


class ChildRuns:
    """The child runs of a group, which may have several parents: a search that was resumed has."""

    def __init__(self, mlflow: ModuleType, parent_id: str, group: str) -> None:
        self._parent, self._group = parent_id, group
        self._client = mlflow.MlflowClient()
        self._experiment = self._client.get_run(parent_id).info.experiment_id

    def finished(self) -> set[str]:
        """Returns the names of the children that are logged completely. Deletes the others."""
        names = set()
        where = f"tags.`{_GROUP}` = '{self._group}'"
        token = None
        while True:
            page = self._client.search_runs([self._experiment], where, page_token=token)
            for run in page:
                if run.info.status == "RUNNING":
                    self._client.delete_run(run.info.run_id)
                else:
                    names.add(run.data.tags[_NAME])
            token = page.token
            if not token:
                return names

    def log(self, child: Child) -> None:
        """Logs a child run. The status is written last and marks the run as complete."""
        tags = {
            _GROUP: self._group,
            _NAME: child.name,
            _PARENT: self._parent,
            _RUN_NAME: child.name,
            **{name: value[:_LONGEST] for name, value in child.tags.items()},
        }
        if child.failure is not None:
            tags["failure"] = child.failure[:_LONGEST]
        began = _milliseconds(child.started_at)
        ended = _milliseconds(child.started_at + timedelta(seconds=child.seconds))
        status = "FINISHED" if child.failure is None else "FAILED"
        made = self._client.create_run(self._experiment, began, tags).info.run_id
        self._client.log_batch(made, self._metrics(child, ended), self._params(child))
        self._client.set_terminated(made, status, ended)

    def _params(self, child: Child) -> list[Any]:
        from mlflow.entities import Param  # noqa: PLC0415

        return [Param(name, value[:_LONGEST]) for name, value in child.params.items()]

    def _metrics(self, child: Child, at: int) -> list[Any]:
        from mlflow.entities import Metric  # noqa: PLC0415

        single = [Metric(name, value, at, 0) for name, value in child.metrics.items()]
        return single + [
            Metric(name, value, at, step)
            for name, points in child.steps.items()
            for step, value in points
        ]


def _milliseconds(time: datetime) -> int:
    return int(time.timestamp() * 1000)
