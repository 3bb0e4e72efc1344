"""Runs a job of the bundle from its YAML, as Databricks would, in this process on local Spark.

Tasks run in the order of their dependencies, with parameters, conditions, task values and called
jobs. Features of a workspace are left out: clusters, schedules, retries, the queue.
"""

import logging
import runpy
import shutil
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

import yaml

from matchlake.config import environment
from matchlake.dev.bundle.resolve import Resolved
from matchlake.dev.bundle.tasks import on_disk, script_of, task_graph, task_kind
from matchlake.dev.bundle.tree import Keyed
from matchlake.dev.bundle.values import filled, holds
from matchlake.errors import BundleError
from matchlake.io.task_values import collected_task_values

_log = logging.getLogger("matchlake.dev.bundle")

LOCAL_CATALOG = "spark_catalog"
"""The only catalog of local Spark; names such as catalog.schema.table need it."""
SUCCESS, FAILED, EXCLUDED = "SUCCESS", "FAILED", "EXCLUDED"
UPSTREAM_FAILED = "UPSTREAM_FAILED"
_PLACES = (
    *("lakehouse", "checkpoints", "spark", "secrets", "kafka", "storage", "erase.salt"),
    *("lake.folder", "lake.file_discovery", "features.folder"),
    *("tracking.uri", "tracking.registry", "tracking.staging"),
)
"""The keys that name a place or a feature of a platform. A local run takes their values from
`local`."""


@dataclass(frozen=True)
class TaskRun:
    """The result of one task of a job."""

    job: str
    task: str
    state: str
    seconds: float = 0.0
    value: str = ""
    """The result of a condition."""


def local_conf(target: str, conf: Path, folder: Path) -> list[str]:
    """Writes the conf of a target, made local, into `folder`; the arguments that choose it.

    The data set and the names of tables and models stay. The catalog is that of local Spark. The
    broker gets no login.
    """
    made = _made_local(environment(target, conf), environment("local", conf))
    made |= {"catalog": LOCAL_CATALOG, "kafka": {**(made.get("kafka") or {}), "sasl": None}}
    others = shutil.ignore_patterns("*.yml")
    shutil.copytree(conf, folder, ignore=others, dirs_exist_ok=True)
    (folder / "base.yml").write_text(yaml.safe_dump(made, sort_keys=False), encoding="utf-8")
    (folder / f"{target}.yml").write_text("{}\n", encoding="utf-8")
    return ["--conf-dir", str(folder)]


def _made_local(there: Mapping[str, Any], here: Mapping[str, Any]) -> dict[str, Any]:
    """The keys of `there` with the places of `here`."""
    made = dict(there)
    for place in _PLACES:
        section, _, name = place.partition(".")
        if not name:
            made[section] = here.get(section)
            continue
        made[section] = {**(made.get(section) or {}), name: (here.get(section) or {}).get(name)}
        if made[section][name] is None:  # null is not the default of every key
            del made[section][name]
    return {key: value for key, value in made.items() if value is not None}


def _log_run(run: TaskRun) -> None:
    _log.info("%s.%s: %s %s", run.job, run.task, run.state, run.value)


@dataclass(frozen=True)
class Workflow:
    """The jobs of a resolved bundle; its files lie below `root`.

    `arguments` are added to the parameters of every task.
    """

    resolved: Resolved
    root: Path
    arguments: Sequence[str] = ()
    on_task: Callable[[TaskRun], None] = _log_run

    def run(self, key: str, parameters: Mapping[str, Any] | None = None) -> list[TaskRun]:
        """Runs a job to its end; raises BundleError if it fails.

        `parameters` override the defaults of the job.
        """
        runs, nested = self._job(key, parameters or {})
        failed = self._failed(key, runs)
        if failed:
            raise BundleError(f"Job {key}: {', '.join(failed)} failed; the log says why.")
        return [*runs.values(), *nested]

    def _job(
        self, key: str, parameters: Mapping[str, Any]
    ) -> tuple[dict[str, TaskRun], list[TaskRun]]:
        """Runs a job. Returns the results of its tasks, and of the tasks of called jobs."""
        if key not in self.resolved.jobs:
            raise BundleError(f"No job {key!r}: there is {', '.join(self.resolved.jobs)}.")
        job = self.resolved.jobs[key]
        parameters_of_job = {each["name"]: each["default"] for each in job.get("parameters", [])}
        parameters_of_job |= parameters
        values = {f"job.parameters.{name}": value for name, value in parameters_of_job.items()}
        values |= {"job.name": job.get("name", key)}
        tasks = {task["task_key"]: task for task in job["tasks"]}
        runs: dict[str, TaskRun] = {}
        nested: list[TaskRun] = []
        for name in TopologicalSorter(task_graph(job)).static_order():
            runs[name] = self._task(key, tasks[name], values, runs, nested)
            self.on_task(runs[name])
        return runs, nested

    def _failed(self, key: str, runs: Mapping[str, TaskRun]) -> list[str]:
        """The failed tasks of a failed job, else none; its last tasks decide, as on Databricks."""
        before = set().union(*task_graph(self.resolved.jobs[key]).values())
        last = {run.state for name, run in runs.items() if name not in before}
        failed = [name for name, run in runs.items() if run.state == FAILED]
        return failed if last & {FAILED, UPSTREAM_FAILED} else []

    def _task(
        self,
        key: str,
        task: Keyed,
        values: dict[str, Any],
        runs: Mapping[str, TaskRun],
        nested: list[TaskRun],
    ) -> TaskRun:
        name = task["task_key"]
        left_out = _left_out(task, runs)
        if left_out:
            values[f"tasks.{name}.result_state"] = left_out.lower()
            return TaskRun(key, name, left_out)
        began = time.monotonic()
        state, outcome = SUCCESS, ""
        match task_kind(task):
            case "spark_python_task":
                with collected_task_values() as left:
                    code = self._script(task, values)
                values |= {f"tasks.{name}.values.{each}": value for each, value in left.items()}
                state = FAILED if code else SUCCESS
            case "condition_task":
                outcome = str(holds(task["condition_task"], values)).lower()
            case "run_job_task":
                called = task["run_job_task"]
                texts = called.get("job_parameters", {})
                inner_parameters = {name: filled(str(text), values) for name, text in texts.items()}
                inner = self.resolved.job_ids[called["job_id"]]
                ended, below = self._job(inner, inner_parameters)
                nested += [*ended.values(), *below]
                state = FAILED if self._failed(inner, ended) else SUCCESS
            case kind:
                raise BundleError(f"{key}.{name}: a {kind} cannot be run here.")
        values[f"tasks.{name}.result_state"] = state.lower()
        return TaskRun(key, name, state, time.monotonic() - began, outcome)

    def _script(self, task: Keyed, values: Mapping[str, Any]) -> int:
        """Runs the task's script as `python script PARAMETERS` would; returns the exit code."""
        script = script_of(task, self.root)
        arguments = task["spark_python_task"].get("parameters", [])
        texts = on_disk([filled(str(text), values) for text in arguments], self.resolved, self.root)
        before = sys.argv
        sys.argv = [str(script), *texts, *self.arguments]
        _log.info("task %s runs %s", task["task_key"], script)  # parameters may name a user
        try:
            runpy.run_path(str(script), run_name="__main__")
        except SystemExit as end:
            return end.code if isinstance(end.code, int) else int(end.code is not None)
        finally:
            sys.argv = before
        return 0


def _left_out(task: Keyed, runs: Mapping[str, TaskRun]) -> str:
    """The state of a task that its dependencies prevent from running; empty if it runs.

    The rules of https://docs.databricks.com/jobs/run-if.html: an excluded dependency counts as a
    success. A task with only excluded dependencies is excluded, for any `run_if`.
    """
    states = []
    for before in task.get("depends_on", []):
        run = runs[before["task_key"]]
        if run.state == SUCCESS and before.get("outcome", run.value) != run.value:
            return EXCLUDED
        states.append(run.state)
    if not states:
        return ""
    if set(states) == {EXCLUDED}:
        return EXCLUDED
    failed = [state in (FAILED, UPSTREAM_FAILED) for state in states]
    run_if = task.get("run_if", "ALL_SUCCESS")
    allowed = {
        "ALL_SUCCESS": not any(failed),
        "NONE_FAILED": not any(failed),
        "AT_LEAST_ONE_SUCCESS": SUCCESS in states,
        "AT_LEAST_ONE_FAILED": any(failed),
        "ALL_FAILED": all(failed),
        "ALL_DONE": True,
    }
    handles_failures = run_if in ("AT_LEAST_ONE_FAILED", "ALL_FAILED")
    return "" if allowed[run_if] else EXCLUDED if handles_failures else UPSTREAM_FAILED
