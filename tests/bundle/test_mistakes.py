"""Mistakes that people make in bundles: each is found, at its line, in words that help."""

import re
import shutil
from pathlib import Path
from typing import NamedTuple

import pytest
from tests.support.sources import ROOT
from typer.testing import CliRunner

from matchlake.dev.bundle.check import check_bundle
from matchlake.dev.bundle.commands import bundle_app
from matchlake.dev.bundle.package_rules import package_rules
from matchlake.dev.bundle.permission_rules import permission_rules
from matchlake.dev.bundle.resolve import read_bundle, resolve
from matchlake.dev.bundle.rules import production_rules
from matchlake.errors import BundleError


class Mistake(NamedTuple):
    """What stands in a file, what is written instead, and what the check has to say."""

    file: str
    before: str
    after: str
    said: str


TRAIN = "jobs/train_recommender.job.yml"
INGEST = "jobs/ingest_events.job.yml"
MISTAKES = {
    "a misspelt key": Mistake(
        TRAIN,
        "timeout_seconds: 14400",
        "timeout_second: 14400",
        "train_recommender.job.yml:25: resources.jobs.train_recommender.tasks[0].timeout_second: "
        "unknown key; did you mean timeout_seconds?",
    ),
    "an unset variable": Mistake(
        "databricks.yml",
        "    default: Standard_D4ds_v5\n",
        "",
        "${var.node_type} is not set and has no default",
    ),
    "a missing job-cluster key": Mistake(
        TRAIN,
        "          job_cluster_key: main\n",
        "          job_cluster_key: big\n",
        "no job_cluster_key big in the job's job_clusters; there is main",
    ),
    "a dependency cycle": Mistake(
        TRAIN,
        "        - task_key: train_recommender\n",
        "        - task_key: train_recommender\n          depends_on: [{task_key: recommend}]\n",
        "is_champion waits for train_recommender waits for recommend waits for is_champion",
    ),
    "readers of everything": Mistake(
        "databricks.yml",
        "        level: CAN_MANAGE\n    variables:\n      catalog: matchlake_dev\n",
        "        level: CAN_MANAGE\n      - group_name: analysts\n        level: CAN_VIEW\n"
        "    variables:\n      catalog: matchlake_dev\n",
        "analysts would read all secrets of the bundle's scope: name it at each resource",
    ),
    "a package without a hash": Mistake(
        TRAIN,
        "          libraries: ${var.libraries}\n",
        "          libraries: [{pypi: {package: requests}}]\n",
        "libraries[0]: {'pypi': {'package': 'requests'}} is installed without a hash: only "
        "/Workspace/Users/",
    ),
    "a task value that nobody sets": Mistake(
        TRAIN,
        "values.alias",
        "values.decision",
        "no task sets the value decision: task train_recommender sets alias",
    ),
    "a cron of five fields": Mistake(
        TRAIN,
        "0 0 3 ? * SUN",
        "0 3 * * SUN",
        "'0 3 * * SUN' has 5 fields; Quartz takes 6 or 7: second minute hour day-of-month month "
        "day-of-week [year]; with a second at the start: `0 0 3 * * SUN`",
    ),
    "a schedule together with continuous": Mistake(
        INGEST,
        "      continuous:\n",
        '      schedule: {quartz_cron_expression: "0 0 1 * * ?", timezone_id: UTC}\n'
        "      continuous:\n",
        "a job starts in one way, not by schedule and continuous",
    ),
    "a serverless task with a job cluster": Mistake(
        "jobs/serverless.job.yml",
        "          environment_key: main\n",
        "          environment_key: main\n          job_cluster_key: main\n",
        "a task with code must have exactly one of job_cluster_key, environment_key, "
        "existing_cluster_id, new_cluster; it has: job_cluster_key, environment_key "
        "(environment_key is serverless",
    ),
    "prod without run_as": Mistake(
        "databricks.yml",
        "    run_as:\n      service_principal_name: ${var.run_as}\n",
        "",
        "run_as: production runs as a service principal: set run_as.service_principal_name (in "
        "prod)",
    ),
    "a parameter that the job does not take": Mistake(
        "databricks.yml",
        "      - --log-level\n",
        "      - --loglevel\n",
        "refuses these parameters: unrecognized arguments: --loglevel INFO",
    ),
    "a conf key that is not": Mistake(
        "databricks.yml",
        "      - tracking.model=$",
        "      - tracking.modl=$",
        "tracking.modl: unknown key, did you mean model?",
    ),
    "a key that no argument may change": Mistake(
        INGEST,
        "              - ingest.trigger={{job.parameters.trigger}}\n",
        "              - ingest.trigger={{job.parameters.trigger}}\n"
        "              - --set\n              - checkpoints=/tmp/x\n",
        "--set checkpoints: --set may change this key only in the environment local",
    ),
    "a value outside an enumeration": Mistake(
        INGEST,
        "metric: STREAMING_BACKLOG_SECONDS",
        "metric: STREAMING_BACKLOG_MINUTES",
        "'STREAMING_BACKLOG_MINUTES' is none of RUN_DURATION_SECONDS, STREAMING_BACKLOG_BYTES",
    ),
    "text for a number": Mistake(
        TRAIN, "max_retries: 2", "max_retries: two", "max_retries: is str 'two'; expected: int"
    ),
    "a file that is not there": Mistake(
        TRAIN, "train_recommender.py", "train.py", "python_file: there is no file train.py"
    ),
    "a job that is not there": Mistake(
        TRAIN,
        "resources.jobs.recommend.id",
        "resources.jobs.recommned.id",
        "${resources.jobs.recommned.id} refers to no such resource or attribute",
    ),
    "an outcome of what is no condition": Mistake(
        "jobs/recommend.job.yml",
        "            - task_key: recommend\n",
        '            - {task_key: recommend, outcome: "true"}\n',
        "recommend is not a condition task, so it has no outcome",
    ),
    "a parameter that the called job does not declare": Mistake(
        TRAIN,
        "              log_level:",
        "              loglevel:",
        "has no such parameter; its parameters: log",
    ),
    "a trigger on a table that no job writes": Mistake(
        "jobs/build_features.job.yml", "bronze.items", "bronze.item", "no job writes bronze.item"
    ),
    "a volume that conf names and the bundle lacks": Mistake(
        "databricks.yml",
        "      name: checkpoints\n",
        "      name: checkpoint\n",
        "bronze/checkpoints, which conf's checkpoints names",
    ),
    "a cluster that opens a store by its key": Mistake(
        INGEST,
        "            spark_conf: ${var.redaction}\n",
        "            spark_conf: {fs.azure.account.key.lake: '{{secrets/matchlake/key}}'}\n",
        "fs.azure.account.key.lake is refused: an account key gives access",
    ),
    "a misspelt key of the workspace": Mistake(
        "databricks.yml",
        "      root_path: /Workspace/Users",
        "      rootpath: /Workspace/Users",
        "workspace.rootpath: unknown key; did you mean root_path?",
    ),
    "a lag without a notification": Mistake(
        INGEST,
        '        on_streaming_backlog_exceeded: ["${var.notify}"]\n',
        "",
        "nobody is notified: set email_notifications.on_streaming_backlog_exceeded",
    ),
}


RULES = {
    "people who read all secrets of production": Mistake(
        "databricks.yml",
        "        level: CAN_MANAGE\n    variables:\n      catalog: matchlake_prod\n",
        "        level: CAN_MANAGE\n      - group_name: data-engineers\n        level: CAN_VIEW\n"
        "    variables:\n      catalog: matchlake_prod\n",
        "data-engineers would read all secrets of the bundle's scope; in production only run_as",
    ),
    "a person on the scope of production": Mistake(
        "databricks.yml",
        "      scope_readers:\n        - service_principal_name: ${var.run_as}\n",
        "      scope_readers:\n        - user_name: a@example.com\n",
        "a@example.com would read the secrets of production; only run_as may (in prod)",
    ),
    "a person who changes jobs of production": Mistake(
        "databricks.yml",
        "          level: CAN_VIEW\n",
        "          level: CAN_MANAGE_RUN\n",
        "data-engineers could run code as <id of service_principal matchlake-jobs>: in production "
        "CAN_VIEW is allowed",
    ),
    "analysts who read runs": Mistake(
        "databricks.yml",
        "      permissions: ${var.experiment_readers}\n",
        "      permissions:\n        - group_name: analysts\n          level: CAN_READ\n",
        "analysts could read the artifacts of runs, which hold ids of users",
    ),
    "a folder of production that everybody can write to": Mistake(
        "databricks.yml",
        "      root_path: /Workspace/Users/${var.run_as}/",
        "      root_path: /Workspace/Shared/",
        "every user of the workspace can change its files: use the folder of run_as (in prod)",
    ),
    "a serverless package without a hash": Mistake(
        "jobs/serverless.job.yml",
        "              - -r ${workspace.file_path}/dist/requirements.txt\n",
        "              - -r ${workspace.file_path}/dist/requirements.txt\n"
        "              - requests\n",
        "dependencies[1]: 'requests' is installed without a hash: only -r /Workspace/Users/",
    ),
    "a cluster that installs nothing": Mistake(
        TRAIN,
        "          libraries: ${var.libraries}\n",
        "",
        "tasks[0]: installs nothing: libraries must be requirements: /Workspace/Users/",
    ),
    "a lock without a package of the project": Mistake(
        "requirements-job.lock",
        "mlflow==",
        "mlfloe==",
        "mlflow of pyproject.toml is not in requirements-job.lock: `make lock` adds it",
    ),
    "a lock without hashes": Mistake(
        "requirements-job.lock",
        "==",
        "==1\nnothing==",
        "has no hash in requirements-job.lock: `make lock` writes it again",
    ),
}
"""Mistakes in packages and permissions. Their rules need no check of tasks, which takes seconds."""


def made(folder: Path, mistake: Mistake | None = None) -> Path:
    """A copy of the bundle with the mistake in it."""
    for name in ("jobs", "conf"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("databricks.yml", "pyproject.toml", "requirements-job.lock"):
        shutil.copy(ROOT / name, folder)
    if mistake:
        path = folder / mistake.file
        text = path.read_text()
        assert mistake.before in text
        path.write_text(text.replace(mistake.before, mistake.after, 1))
    return folder


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.soak] * (number % 3 > 0))  # each takes a second
        for number, name in enumerate(MISTAKES)
    ],
)
def test_a_mistake_is_found(name: str, tmp_path: Path) -> None:
    mistake = MISTAKES[name]
    done = CliRunner().invoke(bundle_app, ["check", "--root", str(made(tmp_path, mistake))])
    assert done.exit_code == 1
    assert mistake.said in done.output, done.output
    assert re.search(r"^(databricks|jobs/\w+\.job)\.yml(:\d+)?: ", done.output, re.MULTILINE)


@pytest.mark.parametrize("name", RULES)
def test_a_mistake_in_packages_or_permissions_is_found(name: str, tmp_path: Path) -> None:
    root = made(tmp_path, RULES[name])
    resolved = resolve(read_bundle(root), "prod")
    rules = (package_rules(resolved, root), permission_rules(resolved), production_rules(resolved))
    found = [str(problem) for rule in rules for problem in rule]
    said = RULES[name].said.removesuffix(" (in prod)")
    assert any(said in text for text in found), found


def test_the_copy_without_a_mistake_is_right(tmp_path: Path) -> None:
    assert [checked.problems for checked in check_bundle(made(tmp_path))] == [(), (), ()]


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("bundle:\n", "bundle:\n  name: twice\n", r"databricks\.yml:\d+: one mapping repeats name"),
        ("  - jobs/*.job.yml", "  - jobs/*.jobs.yml", "there is no such file"),
        ("bundle:\n", "bundle: [\n", "not valid YAML"),
    ],
)
def test_an_unreadable_file_is_rejected(
    tmp_path: Path, before: str, after: str, message: str
) -> None:
    with pytest.raises(BundleError, match=message):
        check_bundle(made(tmp_path, Mistake("databricks.yml", before, after, "")))


def test_a_flag_of_the_script_is_accepted_and_another_is_not(tmp_path: Path) -> None:
    (tmp_path / "right").mkdir()
    (tmp_path / "wrong").mkdir()
    before = "              - ingest.trigger={{job.parameters.trigger}}\n"
    more = f"{before}              - --accept-data-loss\n              - rating_events\n"
    right = check_bundle(made(tmp_path / "right", Mistake(INGEST, before, more, "")))
    assert [checked.problems for checked in right] == [(), (), ()]
    typo = Mistake(INGEST, before, more.replace("--accept-data-loss", "--adapt"), "")
    wrong = check_bundle(made(tmp_path / "wrong", typo))
    (problem,) = {each for checked in wrong for each in checked.problems}
    assert "unrecognized arguments: --adapt rating_events" in problem.text


def test_variables_can_be_set_and_unknown_ones_are_named(tmp_path: Path) -> None:
    root = str(made(tmp_path))
    done = CliRunner().invoke(bundle_app, ["check", "--root", root, "--var", "catalogue=x"])
    assert "no variable catalogue is declared" in done.output
    done = CliRunner().invoke(bundle_app, ["check", "--root", root, "--var", "notify=a@b.example"])
    assert done.exit_code == 0
