"""Checks the tasks of jobs: their dependencies, their files and the parameters of scripts."""

import contextlib
import io
import runpy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any

from databricks.sdk.service.jobs import Task

from matchlake.config import load_config
from matchlake.dev.bundle.resolve import Resolved, walk_jobs, walk_tasks
from matchlake.dev.bundle.tree import Keyed, Path_, Problem, problem
from matchlake.dev.bundle.values import VALUE, named_values, value_problem
from matchlake.errors import ConfigError
from matchlake.runtime import Flag, job_arguments

# The task types, and the keys that name the compute of a task.
KINDS = tuple(field.name for field in fields(Task) if field.name.endswith("_task"))
_OF_EVERY_JOB = ("--env", "--set", "--conf-dir", "--log-level")
_COMPUTE = ("job_cluster_key", "environment_key", "existing_cluster_id", "new_cluster")
_CODE = ("spark_python_task", "python_wheel_task", "spark_jar_task", "notebook_task")


def task_problems(resolved: Resolved, root: Path) -> Iterator[Problem]:
    """Problems of the tasks of a resolved bundle; its files lie below `root`."""
    tree = resolved.tree
    for path, job in walk_jobs(resolved):
        yield from _graph_problems(tree, path, job)
        yield from _cluster_problems(tree, path, job)
    yield from _cycle_of_jobs(resolved)
    refused = cache(_conf_problem)  # most tasks set the same keys
    for path, task, job in walk_tasks(resolved):
        texts = (
            *_compute_texts(task, job),
            *_file_texts(task, root),
            *_parameter_texts(task, root, _with_defaults(task, job, resolved, root), refused),
            *_run_job_texts(task, resolved),
            *_value_texts(task, job, root),
        )
        yield from (problem(tree, (*path, *where), text) for where, text in texts)


def upstream(job: Keyed, task: str) -> set[str]:
    """All tasks that end before `task` starts."""
    graph = task_graph(job)
    result: set[str] = set()
    waiting = list(graph.get(task, ()))
    while waiting:
        before = waiting.pop()
        if before not in result:
            result.add(before)
            waiting += graph.get(before, ())
    return result


def task_graph(job: Keyed) -> dict[str, set[str]]:
    """The tasks that each task depends on."""
    return {
        task["task_key"]: {before["task_key"] for before in task.get("depends_on", [])}
        for task in job.get("tasks", [])
    }


def task_kind(task: Keyed) -> str | None:
    """The kind of the task: its one key that ends in `_task`."""
    kinds = [kind for kind in KINDS if kind in task]
    return kinds[0] if len(kinds) == 1 else None


def script_of(task: Keyed, root: Path) -> Path | None:
    """The Python file of a task; the task names it relative to its YAML file."""
    script = task.get("spark_python_task")
    if not script or "python_file" not in script:
        return None
    return (root / (script.file or task.file)).parent / str(script["python_file"])


def _graph_problems(tree: Keyed, path: Path_, job: Keyed) -> Iterator[Problem]:
    tasks = job.get("tasks", [])
    keys = [task.get("task_key") for task in tasks]
    kinds = {task.get("task_key"): task_kind(task) for task in tasks}
    for at, task in enumerate(tasks):
        here = (*path, "tasks", at)
        if keys.count(keys[at]) > 1:
            yield problem(tree, (*here, "task_key"), f"{keys[at]} names more than one task")
        if task_kind(task) is None:
            kind = ", ".join(kind for kind in KINDS if kind in task) or "none"
            yield problem(tree, here, f"a task must have exactly one type; its types: {kind}")
        for number, before in enumerate(task.get("depends_on", [])):
            place = (*here, "depends_on", number)
            if before.get("task_key") not in keys:
                text = f"no task {before.get('task_key')}; there is {', '.join(map(str, keys))}"
                yield problem(tree, place, text)
            elif "outcome" in before and kinds[before["task_key"]] != "condition_task":
                text = f"{before['task_key']} is not a condition task, so it has no outcome"
                yield problem(tree, place, text)
            elif before.get("outcome", "true") not in ("true", "false"):
                yield problem(tree, place, 'an outcome is "true" or "false", in quotes')
    cycle = _cycle(task_graph(job))
    if cycle:
        yield problem(tree, (*path, "tasks"), f"tasks wait for each other: {cycle}")


def _cycle_of_jobs(resolved: Resolved) -> Iterator[Problem]:
    graph: dict[str, set[str]] = {key: set() for key in resolved.jobs}
    for path, task, _ in walk_tasks(resolved):
        called = resolved.job_ids.get(task.get("run_job_task", {}).get("job_id", 0))
        if called:
            graph[str(path[2])].add(called)
    cycle = _cycle(graph)
    if cycle:
        yield problem(resolved.tree, ("resources", "jobs"), f"jobs run each other: {cycle}")


def _cycle(graph: dict[str, set[str]]) -> str:
    try:
        list(TopologicalSorter(graph).static_order())
    except CycleError as error:
        waiting = list(reversed(error.args[1]))[1:]
        first = waiting.index(min(waiting))
        ring = [*waiting[first:], *waiting[: first + 1]]
        return " waits for ".join(ring)
    return ""


def _cluster_problems(tree: Keyed, path: Path_, job: Keyed) -> Iterator[Problem]:
    for group, name in (("job_clusters", "job_cluster_key"), ("environments", "environment_key")):
        used = {task.get(name) for task in job.get("tasks", [])}
        for at, each in enumerate(job.get(group, [])):
            if each.get(name) not in used:
                yield problem(tree, (*path, group, at), f"no task uses {each.get(name)}")


_Texts = Iterator[tuple[tuple[str | int, ...], str]]


def _compute_texts(task: Keyed, job: Keyed) -> _Texts:
    chosen = [key for key in _COMPUTE if key in task]
    if task_kind(task) in _CODE and len(chosen) != 1:
        hint = " (environment_key is serverless compute)" if "environment_key" in chosen else ""
        yield (
            (),
            f"a task with code must have exactly one of {', '.join(_COMPUTE)}; it has: "
            + (f"{', '.join(chosen)}{hint}" if chosen else "none"),
        )
    for group, name in (("job_clusters", "job_cluster_key"), ("environments", "environment_key")):
        there = [each.get(name) for each in job.get(group, [])]
        if name in task and task[name] not in there:
            known = ", ".join(map(str, there)) or "none"
            yield (name,), f"no {name} {task[name]} in the job's {group}; there is {known}"
    if "environment_key" in task and "libraries" in task:
        yield ("libraries",), "serverless tasks take their packages from the environment's spec"


def _file_texts(task: Keyed, root: Path) -> _Texts:
    script = script_of(task, root)
    if script and not script.is_file():
        yield ("spark_python_task", "python_file"), f"there is no file {script.name}"


def _with_defaults(task: Keyed, job: Keyed, resolved: Resolved, root: Path) -> list[str]:
    """The parameters of a task's script for a job with default parameters."""
    defaults = {
        f"job.parameters.{each['name']}": each.get("default", "")
        for each in job.get("parameters", [])
    }
    texts = task.get("spark_python_task", {}).get("parameters", [])
    # The other values are known only in a run; here `x` replaces them.
    filled = [VALUE.sub(lambda hit: str(defaults.get(hit[1], "x")), str(each)) for each in texts]
    return on_disk(filled, resolved, root)


def _parameter_texts(
    task: Keyed, root: Path, parameters: Sequence[str], refused: Callable[..., str]
) -> _Texts:
    """The problem of parameters that the script or conf refuses."""
    script = script_of(task, root)
    if not script or not script.is_file():
        return
    errors = io.StringIO()
    try:
        with contextlib.redirect_stderr(errors):
            args = job_arguments(script.stem, parameters, _flags(script, parameters))
        text = refused(args.env, tuple(args.set), args.conf_dir)
    except SystemExit:
        text = errors.getvalue().strip().splitlines()[-1].partition("error: ")[2]
    except ConfigError as error:
        text = str(error)
    if text:
        yield ("spark_python_task", "parameters"), f"{script.name} refuses these parameters: {text}"


def _flags(script: Path, parameters: Sequence[str]) -> list[Flag]:
    """A script's own flags; runs the script only for parameters that not every job has."""
    if not {text for text in parameters if text.startswith("--")} - {*_OF_EVERY_JOB}:
        return []
    values = runpy.run_path(str(script), run_name=script.stem).values()
    groups = [value for value in values if isinstance(value, tuple | list)]
    return [each for group in groups for each in group if isinstance(each, Flag)]


def _conf_problem(env: str, overrides: tuple[str, ...], conf: Path | None) -> str:
    try:
        load_config(env, overrides, conf)
    except ConfigError as error:
        return str(error)
    return ""


def on_disk(parameters: Sequence[str], resolved: Resolved, root: Path) -> list[str]:
    """The parameters with the file folder of the workspace replaced by `root`."""
    files = str(resolved.tree["workspace"]["file_path"])
    return [text.replace(files, str(root)) for text in parameters]


def _run_job_texts(task: Keyed, resolved: Resolved) -> _Texts:
    called = task.get("run_job_task")
    if not called:
        return
    key = resolved.job_ids.get(called.get("job_id", 0))
    if key is None:
        text = "this is no job of the bundle: use ${resources.jobs.KEY.id}"
        yield ("run_job_task", "job_id"), text
        return
    declared = [each["name"] for each in resolved.jobs[key].get("parameters", [])]
    for name in set(called.get("job_parameters", {})) - set(declared):
        known = ", ".join(declared) or "none"
        text = f"job {key} has no such parameter; its parameters: {known}"
        yield ("run_job_task", "job_parameters", name), text


def _value_texts(task: Keyed, job: Keyed, root: Path) -> _Texts:
    before = upstream(job, str(task.get("task_key")))
    scripts: dict[str, Path] = {}
    for each in job.get("tasks", []):
        script = script_of(each, root)
        if script and script.is_file():
            scripts[each["task_key"]] = script
    for name in named_values(task):
        text = value_problem(name, job, before, scripts)
        if text:
            yield ((task_kind(task) or "task_key"),), text


def unused_parameters(job: Keyed) -> list[Any]:
    """Parameters of a job that none of its tasks uses."""
    used = {name for task in job.get("tasks", []) for name in named_values(task)}
    declared = [each.get("name") for each in job.get("parameters", [])]
    return [name for name in declared if f"job.parameters.{name}" not in used]
