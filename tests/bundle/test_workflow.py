"""How a job of a bundle runs from its YAML: order, conditions, values, jobs in jobs, failures."""

from pathlib import Path
from textwrap import dedent

import pytest
from tests.support.sources import ROOT
from typer.testing import CliRunner

from matchlake.bundle.commands import bundle_app
from matchlake.bundle.resolve import read_bundle, resolve
from matchlake.bundle.workflow import TaskRun, Workflow, local_overrides
from matchlake.config import load_config
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


def test_a_job_runs_in_order_with_its_values_and_the_jobs_it_calls(root: Path) -> None:
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


def test_a_gate_that_is_shut_leaves_out_what_is_behind_it(root: Path) -> None:
    found = Workflow(resolve(read_bundle(root), "dev", {"wanted": "10"}), root).run("outer")
    assert states(found) == {
        "outer.count": ("SUCCESS", ""),
        "outer.enough": ("SUCCESS", "false"),
        "outer.after": ("EXCLUDED", ""),
        "outer.at_last": ("SUCCESS", ""),
    }
    assert (root / "said").read_text() == "bye\n"


def test_a_task_that_fails_fails_the_job(root: Path) -> None:
    workflow = Workflow(resolve(read_bundle(root), "dev"), root)
    with pytest.raises(BundleError, match="Job inner: say failed"):
        workflow.run("inner", {"greeting": "fail"})
    with pytest.raises(BundleError, match="there is inner, outer"):
        workflow.run("other")


def test_an_order_of_texts_is_refused(root: Path) -> None:
    workflow = Workflow(resolve(read_bundle(root), "dev", {"wanted": "many"}), root)
    with pytest.raises(BundleError, match="compares numbers, not '3' with 'many'"):
        workflow.run("outer")


def test_the_command_line_runs_a_job_and_tells_how_its_tasks_ended(root: Path) -> None:
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
    said = (root / "said").read_text()
    assert said.startswith("bye --set ")
    assert said.endswith("--set recommend.k=3\n")


def test_conf_of_a_target_becomes_a_laptops_but_for_its_names() -> None:
    texts = local_overrides("prod")
    overrides = ["catalog=spark_catalog", *texts[1::2]]
    found, local = load_config("prod", overrides), load_config("local")
    assert found.tracking.model == "spark_catalog.gold.recommender"
    assert found.kafka == local.kafka.model_copy(update={"login": None}), "no secret comes along"
    same = {"checkpoints", "lakehouse", "lake", "features", "streams", "spark"}
    assert {name: getattr(found, name) for name in same} == {
        name: getattr(local, name) for name in same
    }
