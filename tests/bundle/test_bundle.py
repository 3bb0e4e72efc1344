"""The bundle itself: nothing is wrong with it, and every job's script is in it."""

from pathlib import Path

import pytest
from databricks.sdk.service.catalog import Privilege
from databricks.sdk.service.jobs import JobSettings
from tests.support.sources import ROOT
from typer.testing import CliRunner

from matchlake.config import load_config
from matchlake.dev.bundle.check import check_bundle
from matchlake.dev.bundle.commands import bundle_app
from matchlake.dev.bundle.resolve import Resolved, read_bundle, resolve, walk_tasks
from matchlake.dev.bundle.tasks import script_of
from matchlake.dev.bundle.tree import leaves
from matchlake.runtime import _REDACTION

TARGETS = ("dev", "staging", "prod")


@pytest.fixture(scope="module")
def bundle() -> dict[str, Resolved]:
    tree = read_bundle(ROOT)
    return {target: resolve(tree, target) for target in TARGETS}


def test_the_bundle_is_right_in_every_target() -> None:
    done = CliRunner().invoke(bundle_app, ["check", "--root", str(ROOT)])
    assert done.exit_code == 0, done.output
    for target in TARGETS:
        assert f"{target}: " in done.output
    assert done.output.count("no problem(s)") == len(TARGETS)


def test_a_catalog_of_ones_own_is_right_in_dev_alone() -> None:
    dev, staging, prod = check_bundle(ROOT, {"catalog": "mine"})
    assert dev.problems == ()
    for checked in (staging, prod):
        assert any("--set catalog: --set may change" in str(each) for each in checked.problems)
    (only,) = check_bundle(ROOT, {"catalog": "mine"}, ["dev"])
    assert (only.target, only.problems) == ("dev", ())


def test_the_check_looks_at_every_value() -> None:
    for checked in check_bundle(ROOT):
        assert checked.tasks >= 15
        assert checked.values > 500


def test_the_sdk_understands_all_of_a_job(bundle: dict[str, Resolved]) -> None:
    # `from_dict` drops what it does not know, so nothing may be missing when it comes back.
    for resolved in bundle.values():
        for declared in resolved.jobs.values():
            # Permissions are the bundle's own; the CLI sets them by another call.
            job = {key: value for key, value in declared.items() if key != "permissions"}
            assert dict(leaves(JobSettings.from_dict(job).as_dict())) == dict(leaves(job))


def test_every_script_runs_on_clusters_and_every_workflow_step_on_serverless(
    bundle: dict[str, Resolved],
) -> None:
    scripts = {path.name for path in (ROOT / "jobs").glob("*.py")}
    # The first three are started by hand alone; serverless compute refuses streams without end.
    by_hand = {"replay_quarantine.py", "erase_user.py", "smoke.py"}
    steps = scripts - by_hand - {"score_events.py"}
    for key, expected in (("job_cluster_key", scripts), ("environment_key", steps)):
        tasks = [script_of(task, ROOT) for _, task, _ in walk_tasks(bundle["dev"]) if key in task]
        assert {path.name for path in tasks if path} == expected


def test_a_target_is_an_environment_of_conf(bundle: dict[str, Resolved]) -> None:
    for target, resolved in bundle.items():
        config = load_config(target, conf_dir=ROOT / "conf")
        model = resolved.tree["resources"]["registered_models"]["recommender"]
        named = (model["catalog_name"], model["schema_name"], model["name"])
        # In dev the name has the developer's prefix; the arguments of jobs hold it whole.
        prefix = "dev_someone_" if target == "dev" else ""
        assert ".".join(named).replace(f".{prefix}", ".") == config.tracking.model
        job = resolved.jobs["train_recommender"]["tasks"][0]["spark_python_task"]
        assert f"tracking.model={'.'.join(named)}" in job["parameters"]
        experiment = resolved.tree["resources"]["experiments"]["training"]["name"]
        assert experiment.replace("[dev someone] ", "") == config.tracking.experiment


def test_a_target_deploys_its_own_conf_alone(bundle: dict[str, Resolved]) -> None:
    files = {path.name for path in (ROOT / "conf").glob("*.yml")} - {"base.yml"}
    for target, resolved in bundle.items():
        excluded = {Path(each).name for each in resolved.tree["sync"]["exclude"] if "conf/" in each}
        assert files - excluded == {f"{target}.yml"}
        assert "tests/**" in resolved.tree["sync"]["exclude"]


def test_dev_is_paused_and_prefixed_and_its_tables_keep_their_names(
    bundle: dict[str, Resolved],
) -> None:
    dev, prod = bundle["dev"], bundle["prod"]
    for job in dev.jobs.values():
        assert job["name"].startswith("[dev someone] ")
        starts = [job[key] for key in ("schedule", "continuous", "trigger") if key in job]
        assert all(start["pause_status"] == "PAUSED" for start in starts)
    assert "pause_status" not in prod.jobs["train_recommender"]["schedule"]
    for resolved in bundle.values():
        schemas = resolved.tree["resources"]["schemas"]
        assert [schema["name"] for schema in schemas.values()] == ["bronze", "silver", "gold"]


def test_alerts_are_raised_in_prod_alone(bundle: dict[str, Resolved]) -> None:
    found = {
        target: {alert["schedule"]["pause_status"] for alert in alerts.values()}
        for target, alerts in ((t, each.tree["resources"]["alerts"]) for t, each in bundle.items())
    }
    assert found == {"dev": {"PAUSED"}, "staging": {"PAUSED"}, "prod": {"UNPAUSED"}}


def test_every_cluster_keeps_logins_out_of_plans_as_the_local_session_does(
    bundle: dict[str, Resolved],
) -> None:
    for job in bundle["prod"].jobs.values():
        for cluster in job.get("job_clusters", []):
            conf = dict(cluster["new_cluster"]["spark_conf"])
            real_time = conf.pop("spark.databricks.streaming.realTimeMode.enabled", None)
            assert conf == _REDACTION, job["name"]
            assert (real_time == "true") == (job["name"] in ("score_events", "smoke"))


def test_production_is_seen_by_engineers_and_changed_by_its_principal_alone(
    bundle: dict[str, Resolved],
) -> None:
    def given(kind: str) -> list[tuple[str, ...]]:
        resources = bundle["prod"].tree["resources"][kind].values()
        found = {tuple(each.values()) for one in resources for each in one["permissions"]}
        return sorted(found)

    principal = "<id of service_principal matchlake-jobs>"
    assert [dict(each) for each in bundle["prod"].tree["permissions"]] == [
        {"service_principal_name": principal, "level": "CAN_MANAGE"}
    ]
    assert given("jobs") == [("data-engineers", "CAN_VIEW")]
    assert given("experiments") == [("data-engineers", "CAN_READ")]
    assert given("secret_scopes") == [(principal, "READ")]


def test_analysts_are_granted_nothing_on_whole_schemas(bundle: dict[str, Resolved]) -> None:
    # What is granted on a schema cannot be taken back for one of its tables.
    for resolved in bundle.values():
        schemas = resolved.tree["resources"]["schemas"]
        grants = [grant for schema in schemas.values() for grant in schema["grants"]]
        given = [set(each["privileges"]) for each in grants if each["principal"] == "analysts"]
        assert given == [{Privilege.USE_SCHEMA.value}]
