"""How a job of a bundle runs from its YAML: order, conditions, values, jobs in jobs, failures."""

import shutil
from pathlib import Path
from textwrap import dedent

import pytest
from databricks.sdk.service.jobs import RunIf
from tests.support.sources import ROOT
from typer.testing import CliRunner

from matchlake.config import JobConfig, load_config
from matchlake.dev.bundle.commands import bundle_app
from matchlake.dev.bundle.resolve import read_bundle, resolve
from matchlake.dev.bundle.tree import Keyed
from matchlake.dev.bundle.workflow import (
    LOCAL_CATALOG,
    TaskRun,
    Workflow,
    _left_out,
    local_conf,
)
from matchlake.errors import BundleError

BUNDLE = """
    bundle: {name: test}
    targets: {dev: {variables: {wanted: "3"}}}
    variables: {wanted: {default: "4"}}
    resources:
      jobs:
        inner:
          name: inner
          parameters: [{name: greeting, default: hi}]
          tasks:
            - task_key: say
              spark_python_task:
                python_file: say.py
                parameters: ["{{job.parameters.greeting}}", "${workspace.file_path}/conf"]
        outer:
          name: outer
          tasks:
            - task_key: after
              depends_on: [{task_key: enough, outcome: "true"}]
              run_job_task:
                job_id: ${resources.jobs.inner.id}
                job_parameters: {greeting: "{{tasks.count.values.number}} times"}
            - task_key: count
              spark_python_task: {python_file: count.py, parameters: ["3"]}
            - task_key: enough
              depends_on: [{task_key: count}]
              condition_task:
                op: GREATER_THAN_OR_EQUAL
                left: "{{tasks.count.values.number}}"
                right: ${var.wanted}
            - task_key: at_last
              depends_on: [{task_key: after}]
              run_if: NONE_FAILED
              spark_python_task: {python_file: say.py, parameters: [bye]}
"""
COUNT = """
    import sys
    from matchlake.io.task_values import set_task_value
    set_task_value("number", sys.argv[1])
"""
SAY = """
    import sys
    from pathlib import Path
    with (Path(__file__).parent / "said").open("a") as said:
        print(*sys.argv[1:], file=said)
    sys.exit(1 if "fail" in sys.argv else 0)
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name, text in (("databricks.yml", BUNDLE), ("count.py", COUNT), ("say.py", SAY)):
        (tmp_path / name).write_text(dedent(text))
    return tmp_path


def states(runs: list[TaskRun]) -> dict[str, tuple[str, str]]:
    return {f"{run.job}.{run.task}": (run.state, run.value) for run in runs}


def test_run_runs_tasks_in_order_with_values_and_called_jobs(root: Path) -> None:
    resolved = resolve(read_bundle(root), "dev")
    assert resolved.problems == ()
    found = Workflow(resolved, root, ["--set", "a=b"]).run("outer")
    assert states(found) == {
        "outer.count": ("SUCCESS", ""),
        "outer.enough": ("SUCCESS", "true"),
        "outer.after": ("SUCCESS", ""),
        "outer.at_last": ("SUCCESS", ""),
        "inner.say": ("SUCCESS", ""),
    }
    assert (root / "said").read_text().splitlines() == [
        f"3 times {root}/conf --set a=b",
        "bye --set a=b",
    ]


def test_workflow_log_holds_no_parameter_of_a_task(
    root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "matchlake")
    resolved = resolve(read_bundle(root), "dev")
    Workflow(resolved, root).run("inner", {"greeting": "Zoe"})
    assert (root / "said").read_text().startswith("Zoe ")
    assert "say.py" in caplog.text
    assert "Zoe" not in caplog.text


def test_run_false_condition_excludes_later_tasks(root: Path) -> None:
    found = Workflow(resolve(read_bundle(root), "dev", {"wanted": "10"}), root).run("outer")
    assert states(found) == {
        "outer.count": ("SUCCESS", ""),
        "outer.enough": ("SUCCESS", "false"),
        "outer.after": ("EXCLUDED", ""),
        "outer.at_last": ("EXCLUDED", ""),
    }
    assert not (root / "said").exists()


# What Databricks' page on run_if says of a task behind others that ended in these states.
RUN_IFS = [
    ("ALL_SUCCESS", "SUCCESS EXCLUDED", "runs"),
    ("ALL_SUCCESS", "SUCCESS FAILED", "UPSTREAM_FAILED"),
    ("ALL_SUCCESS", "SUCCESS UPSTREAM_FAILED", "UPSTREAM_FAILED"),
    ("NONE_FAILED", "SUCCESS EXCLUDED", "runs"),
    ("NONE_FAILED", "EXCLUDED FAILED", "UPSTREAM_FAILED"),
    ("AT_LEAST_ONE_SUCCESS", "FAILED SUCCESS", "runs"),
    ("AT_LEAST_ONE_SUCCESS", "FAILED FAILED", "UPSTREAM_FAILED"),
    ("AT_LEAST_ONE_FAILED", "SUCCESS UPSTREAM_FAILED", "runs"),
    ("AT_LEAST_ONE_FAILED", "SUCCESS SUCCESS", "EXCLUDED"),
    ("ALL_FAILED", "FAILED UPSTREAM_FAILED", "runs"),
    ("ALL_FAILED", "FAILED SUCCESS", "EXCLUDED"),
    ("ALL_DONE", "FAILED SUCCESS", "runs"),
    *((run_if.value, "EXCLUDED EXCLUDED", "EXCLUDED") for run_if in RunIf),
    *((run_if.value, "", "runs") for run_if in RunIf),
]


@pytest.mark.parametrize(("run_if", "before", "found"), RUN_IFS)
def test_left_out_follows_the_run_if_rules_of_databricks(
    run_if: str, before: str, found: str
) -> None:
    runs = {str(at): TaskRun("a", str(at), state) for at, state in enumerate(before.split())}
    depends_on = [{"task_key": name} for name in runs]
    task = Keyed().like({"run_if": run_if, "depends_on": depends_on})
    assert (_left_out(task, runs) or "runs") == found


def test_run_failed_task_stops_later_tasks(root: Path) -> None:
    ended: list[TaskRun] = []
    text = (root / "databricks.yml").read_text().replace('count.py, parameters: ["3"]', "none.py")
    (root / "databricks.yml").write_text(text)
    (root / "none.py").write_text("raise SystemExit(1)")
    with pytest.raises(BundleError, match="Job outer: count failed"):
        Workflow(resolve(read_bundle(root), "dev"), root, on_task=ended.append).run("outer")
    assert [(run.task, run.state) for run in ended] == [
        ("count", "FAILED"),
        ("enough", "UPSTREAM_FAILED"),
        ("after", "UPSTREAM_FAILED"),
        ("at_last", "UPSTREAM_FAILED"),
    ]


def test_run_last_task_that_handles_a_failure_lets_the_job_succeed(root: Path) -> None:
    text = (root / "databricks.yml").read_text().replace("NONE_FAILED", "ALL_DONE")
    (root / "databricks.yml").write_text(text.replace(' times"', ' fail"'))
    say = (root / "say.py").read_text().replace('"fail" in sys.argv', '"3 fail" in sys.argv')
    (root / "say.py").write_text(say)
    found = Workflow(resolve(read_bundle(root), "dev"), root).run("outer")
    assert {task for task, (state, _) in states(found).items() if state == "FAILED"} == {
        "outer.after",
        "inner.say",
    }
    assert states(found)["outer.at_last"] == ("SUCCESS", "")


@pytest.mark.parametrize("alias", ["champion", "challenger"])
def test_serverless_job_renews_views_without_a_new_champion(tmp_path: Path, alias: str) -> None:
    shutil.copytree(ROOT / "jobs", tmp_path / "jobs")
    shutil.copy(ROOT / "databricks.yml", tmp_path)
    for script in (tmp_path / "jobs").glob("*.py"):
        script.write_text(f"""if True:
            from matchlake.io.task_values import set_task_value
            set_task_value("alias", "{alias}")""")
    found = states(Workflow(resolve(read_bundle(tmp_path), "dev"), tmp_path).run("serverless"))
    left_out = {task for task, (state, _) in found.items() if state != "SUCCESS"}
    assert left_out == ({"serverless.recommend"} if alias == "challenger" else set())


def test_run_failed_task_fails_the_job(root: Path) -> None:
    workflow = Workflow(resolve(read_bundle(root), "dev"), root)
    with pytest.raises(BundleError, match="Job inner: say failed"):
        workflow.run("inner", {"greeting": "fail"})
    with pytest.raises(BundleError, match="there is inner, outer"):
        workflow.run("other")


def test_condition_that_orders_texts_raises_bundle_error(root: Path) -> None:
    workflow = Workflow(resolve(read_bundle(root), "dev", {"wanted": "many"}), root)
    with pytest.raises(BundleError, match="compares numbers, not '3' with 'many'"):
        workflow.run("outer")


def test_bundle_run_shows_the_state_of_each_task(root: Path) -> None:
    (root / "conf").symlink_to(ROOT / "conf")
    job = ["run", "outer", "--root", str(root), "--var", "wanted=9", "--set", "recommend.k=3"]
    done = CliRunner().invoke(bundle_app, job)
    assert "no variable catalog is declared" in str(done.exception)
    declared = (
        (root / "databricks.yml")
        .read_text()
        .replace(
            "variables: {wanted: {default", "variables: {catalog: {default: c}, wanted: {default"
        )
    )
    (root / "databricks.yml").write_text(declared)
    done = CliRunner().invoke(bundle_app, job)
    assert done.exit_code == 0, done.output
    assert "outer.enough: SUCCESS, false" in done.output
    assert "outer.after: EXCLUDED" in done.output
    done = CliRunner().invoke(bundle_app, ["run", "inner", *job[2:]])
    assert done.exit_code == 0, done.output
    said = (root / "said").read_text()
    assert said.startswith("hi ")
    assert said.endswith("--set recommend.k=3\n")


def made_local(target: str, conf: Path, folder: Path) -> JobConfig:
    option, written = local_conf(target, conf, folder)
    assert (option, written) == ("--conf-dir", str(folder))
    assert (folder / "grants.sql").is_file()
    return load_config(target, [f"catalog={LOCAL_CATALOG}"], folder)


@pytest.mark.parametrize("target", ["dev", "staging", "prod"])
def test_local_conf_is_local_except_for_names(target: str, tmp_path: Path) -> None:
    found, local = made_local(target, ROOT / "conf", tmp_path / "conf"), load_config("demo")
    prefix = "staging_" if target == "staging" else ""
    assert found.tracking.model == f"spark_catalog.gold.{prefix}recommender"
    assert found.kafka == local.kafka.model_copy(update={"sasl": None}), "no secret comes along"
    assert (found.secrets, found.erase) == (local.secrets, local.erase)
    assert found.allowed_overrides == load_config(target).allowed_overrides
    same = {"checkpoints", "lakehouse", "lake", "features", "streams", "spark"}
    assert {name: getattr(found, name) for name in same} == {
        name: getattr(local, name) for name in same
    }
    columns = [list(each.lake.sources["users"].columns) for each in (found, local)]
    assert columns[0] == columns[1], "the order in which a CSV file has them"


def test_local_conf_drops_the_login_of_a_target(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "conf", tmp_path / "conf")
    login = "{mechanism: SCRAM-SHA-512, username: u, password: {scope: prod, key: broker}}"
    prod = tmp_path / "conf" / "prod.yml"
    broker = f"kafka:\n  bootstrap_servers: b:9093\n  ssl: {{}}\n  sasl: {login}\n"
    prod.write_text(prod.read_text().replace("kafka:\n", broker))
    kafka = made_local("prod", tmp_path / "conf", tmp_path / "made").kafka
    assert (kafka.bootstrap_servers, kafka.ssl, kafka.sasl) == (None, None, None)
