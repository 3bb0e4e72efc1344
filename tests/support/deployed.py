"""The bundle's jobs in the sandbox's workspace, made and started by the real client."""

from collections.abc import Mapping
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

from databricks.sdk import WorkspaceClient
from databricks.sdk.service.jobs import JobSettings

from matchlake.dev.bundle.resolve import Resolved
from matchlake.dev.bundle.tree import Keyed
from matchlake.dev.bundle.workflow import TaskRun, Workflow
from matchlake.dev.sandbox.cloud.jobs import RunJob, Tell


def workflow_runner(root: Path) -> RunJob:
    """Runs what the workspace was given, as `matchlake bundle run` runs what the YAML says."""

    def run(
        jobs: Mapping[int, Mapping[str, Any]], job: int, parameters: Mapping[str, str], tell: Tell
    ) -> None:
        named = {str(number): settings for number, settings in jobs.items()}
        tree = {"workspace": {"file_path": str(root)}, "resources": {"jobs": named}}
        resolved = Resolved("deployed", _keyed(tree), (), {number: str(number) for number in jobs})

        def on_task(ended: TaskRun) -> None:
            if ended.job == str(job):
                tell(ended.task, ended.state)

        Workflow(resolved, root, on_task=on_task).run(str(job), parameters)

    return run


def deploy_jobs(client: WorkspaceClient, resolved: Resolved, folder: Path) -> dict[str, int]:
    """Makes every job, its scripts in `folder`; those that are called before those that call."""
    made: dict[str, int] = {}
    jobs = resolved.jobs
    calls = {
        key: {
            resolved.job_ids[task["run_job_task"]["job_id"]]
            for task in _plain(job)["tasks"]
            if "run_job_task" in task
        }
        for key, job in jobs.items()
    }
    for key in TopologicalSorter(calls).static_order():
        settings = _plain(jobs[key])
        for task in settings["tasks"]:
            if "spark_python_task" in task:
                script = task["spark_python_task"]
                script["python_file"] = str(folder / script["python_file"])
            if "run_job_task" in task:
                called = task["run_job_task"]
                called["job_id"] = made[resolved.job_ids[called["job_id"]]]
        created = client.jobs.create(**JobSettings.from_dict(settings).as_shallow_dict())
        made[key] = int(created.job_id or 0)
    return made


def _keyed(value: Any) -> Any:
    if isinstance(value, Mapping):
        return Keyed().like({str(key): _keyed(below) for key, below in value.items()})
    return [_keyed(each) for each in value] if isinstance(value, list) else value


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(below) for key, below in value.items()}
    return [_plain(each) for each in value] if isinstance(value, list) else value
