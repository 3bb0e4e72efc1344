"""The bundle's jobs through the real client: made in the sandbox's workspace, started, followed."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from databricks.sdk import WorkspaceClient
from databricks.sdk.errors import DatabricksError
from databricks.sdk.service.jobs import Run, RunResultState, SparkPythonTask, SubmitTask
from tests.support.clouds import running_cloud, workspace
from tests.support.deployed import deploy_jobs, workflow_runner
from tests.support.sources import ROOT

from matchlake.dev.bundle.resolve import read_bundle, resolve
from matchlake.dev.sandbox.cloud.jobs import Jobs

SCRIPT = """
import sys
from pathlib import Path
from matchlake.io.task_values import set_task_value
with (Path(__file__).parent / "ran").open("a") as ran:
    print(Path(__file__).stem, *sys.argv[1:], file=ran)
set_task_value("alias", "champion")
sys.exit(1 if Path(__file__).stem == "load_lake" else 0)
"""
"""Stands for every script of the bundle: what they do needs Spark, how they are run does not."""


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("bundle")
    shutil.copytree(ROOT / "jobs", root / "jobs")
    shutil.copy(ROOT / "databricks.yml", root)
    for script in (root / "jobs").glob("*.py"):
        script.write_text(SCRIPT)
    return root


@pytest.fixture(scope="module")
def client(root: Path) -> Iterator[WorkspaceClient]:
    with running_cloud(root / "cloud") as cloud:
        cloud.workspace.jobs = Jobs(workflow_runner(root)).act
        yield workspace(cloud)


@pytest.fixture(scope="module")
def made(client: WorkspaceClient, root: Path) -> dict[str, int]:
    return deploy_jobs(client, resolve(read_bundle(root), "dev"), root / "jobs")


def states(run: Run) -> dict[str, str]:
    return {
        str(task.task_key): task.state.result_state.value
        for task in run.tasks or []
        if task.state and task.state.result_state
    }


def test_every_job_comes_back_as_it_was_made(client: WorkspaceClient, made: dict[str, int]) -> None:
    listed = {job.job_id: job.settings for job in client.jobs.list()}
    assert set(listed) == set(made.values())
    train = client.jobs.get(made["train_recommender"]).settings
    assert train == listed[made["train_recommender"]]
    assert train is not None
    assert [task.task_key for task in train.tasks or []] == [
        "train_recommender",
        "is_champion",
        "recommend",
    ]


def test_a_run_passes_the_gate_and_runs_the_job_behind_it(
    client: WorkspaceClient, made: dict[str, int], root: Path
) -> None:
    started = client.jobs.run_now(made["train_recommender"], job_parameters={"log_level": "DEBUG"})
    run = started.result()
    assert run.state is not None
    assert run.state.result_state is RunResultState.SUCCESS
    tasks = ("train_recommender", "is_champion", "recommend")
    assert states(run) == dict.fromkeys(tasks, "SUCCESS")
    ran = (root / "jobs" / "ran").read_text().splitlines()
    assert [line.split()[0] for line in ran] == ["train_recommender", "recommend", "create_views"]
    assert all("--log-level DEBUG" in line for line in ran)


def test_a_run_that_fails_says_where(client: WorkspaceClient, made: dict[str, int]) -> None:
    run = client.jobs.run_now(made["load_lake"]).result()
    assert run.state is not None
    assert run.state.result_state is RunResultState.FAILED
    assert "load_lake failed" in str(run.state.state_message)
    assert states(run) == {"load_lake": "FAILED"}


def test_tasks_are_run_without_a_job(client: WorkspaceClient, root: Path) -> None:
    script = SparkPythonTask(str(root / "jobs" / "maintain_tables.py"))
    task = SubmitTask("once", spark_python_task=script)
    assert states(client.jobs.submit(run_name="once", tasks=[task]).result()) == {"once": "SUCCESS"}


def test_a_missing_object_is_rejected(client: WorkspaceClient) -> None:
    with pytest.raises(DatabricksError, match="Job 999 does not exist"):
        client.jobs.run_now(999)
    with pytest.raises(DatabricksError, match="Run 999 does not exist"):
        client.jobs.get_run(999)
    with pytest.raises(DatabricksError, match="at least one task"):
        client.jobs.create(name="empty")
