"""databricks.yml and the jobs, held to the SDK's own types and to each other."""

import re
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

import pytest
import yaml
from databricks.sdk.service.jobs import JobSettings

from matchlake.config import find_conf, load_config
from matchlake.runtime import job_arguments

ROOT = find_conf().parent
BUNDLE = yaml.safe_load((ROOT / "databricks.yml").read_text())
FILES = sorted(path for pattern in BUNDLE["include"] for path in ROOT.glob(pattern))
JOBS: dict[str, tuple[Path, dict[str, Any]]] = {
    key: (path, job)
    for path in FILES
    for key, job in yaml.safe_load(path.read_text())["resources"]["jobs"].items()
}
REFERENCE = re.compile(r"\$\{([^}]+)\}")


def leaves(value: object, at: str = "") -> dict[str, object]:
    """Every scalar of a nested structure by its path."""
    if isinstance(value, dict):
        return {
            k: v for key, below in value.items() for k, v in leaves(below, f"{at}.{key}").items()
        }
    if isinstance(value, list):
        return {
            k: v for i, below in enumerate(value) for k, v in leaves(below, f"{at}.{i}").items()
        }
    return {at: value}


def scripts() -> set[str]:
    return {path.name for path in (ROOT / "jobs").glob("*.py")}


def test_every_job_script_runs_in_some_job() -> None:
    used = {
        task["spark_python_task"]["python_file"]
        for _, job in JOBS.values()
        for task in job["tasks"]
    }
    assert used == scripts()


@pytest.mark.parametrize("key", JOBS)
def test_the_sdk_knows_every_key_of_a_job(key: str) -> None:
    written = leaves(JOBS[key][1])
    understood = leaves(JobSettings.from_dict(JOBS[key][1]).as_dict())
    assert written.keys() == understood.keys()


@pytest.mark.parametrize("key", JOBS)
def test_tasks_depend_on_tasks_that_exist_without_a_cycle(key: str) -> None:
    tasks = {task["task_key"]: task for task in JOBS[key][1]["tasks"]}
    graph = {
        name: {other["task_key"] for other in task.get("depends_on", [])}
        for name, task in tasks.items()
    }
    assert set().union(*graph.values()) <= tasks.keys()
    assert list(TopologicalSorter(graph).static_order())


@pytest.mark.parametrize("key", JOBS)
def test_tasks_name_files_clusters_and_arguments_that_exist(key: str) -> None:
    path, job = JOBS[key]
    clusters = {cluster["job_cluster_key"] for cluster in job["job_clusters"]}
    for task in job["tasks"]:
        assert task["job_cluster_key"] in clusters
        script = task["spark_python_task"]
        assert (path.parent / script["python_file"]).is_file()
        assert job_arguments(task["task_key"], script["parameters"]).env == "${bundle.target}"


@pytest.mark.parametrize("target", BUNDLE["targets"])
def test_every_reference_resolves_in_every_target(target: str) -> None:
    texts = [text for _, job in JOBS.values() for text in leaves(job).values()]
    texts += leaves(BUNDLE["targets"][target]).values()
    given = BUNDLE["targets"][target].get("variables", {})
    for name in {name for text in texts for name in REFERENCE.findall(str(text))}:
        scope, _, key = name.partition(".")
        if scope == "var":
            variable = BUNDLE["variables"][key]
            assert key in given or "default" in variable, f"{name} has no value in {target}"
        else:
            assert name in {"bundle.target", "bundle.name", "workspace.file_path"}


@pytest.mark.parametrize("target", BUNDLE["targets"])
def test_a_target_is_an_environment_of_conf_with_the_same_catalog(target: str) -> None:
    assert load_config(target).catalog == BUNDLE["targets"][target]["variables"]["catalog"]


def test_production_is_run_by_a_service_principal_and_guarded() -> None:
    prod = BUNDLE["targets"]["prod"]
    assert prod["mode"] == "production"
    assert prod["run_as"]["service_principal_name"] == "${var.run_as}"
    assert {entry["level"] for entry in prod["permissions"]} == {"CAN_MANAGE", "CAN_VIEW"}


def test_conf_reaches_the_workspace_and_the_wheel_is_built() -> None:
    assert "conf/*.yml" in BUNDLE["sync"]["include"]
    assert BUNDLE["artifacts"]["wheel"]["type"] == "whl"
