"""Runs, versions and aliases in a real sqlite store."""

import json
import logging
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
import pytest
from matplotlib.figure import Figure
from pydantic import ValidationError
from tests.support.saved_models import USERS, purge, register, saved, tracker_in

from matchlake.errors import ModelError, ModelGoneError, ParameterError
from matchlake.io.mlflow_tracking import Tracker
from matchlake.io.model_versions import Decision, Descriptions
from matchlake.io.params import TrackingParams
from matchlake.model_store.mlflow_flavor import FACTORS, pyfunc_flavor
from matchlake.model_store.spark import load_numpy


def test_tracker_local_store_is_sqlite_below_the_lakehouse(tmp_path: Path) -> None:
    tracker = Tracker(TrackingParams(), str(tmp_path))
    assert tracker.uri == tracker.registry == f"sqlite:///{tmp_path}/mlflow.db"


def test_tracker_platform_and_server_addresses(tmp_path: Path) -> None:
    assert Tracker(TrackingParams()).uri == "databricks"
    assert Tracker(TrackingParams()).registry == "databricks-uc"
    server = Tracker(TrackingParams(uri="https://mlflow:5000"), str(tmp_path))
    assert (server.uri, server.registry) == ("https://mlflow:5000", "https://mlflow:5000")
    assert server.store is None


def test_tracking_params_password_in_the_address_raises() -> None:
    with pytest.raises(ParameterError, match="MLFLOW_TRACKING_PASSWORD") as told:
        TrackingParams(uri="https://me:hunter2@mlflow")
    assert "hunter2" not in str(told.value)


LOCAL = ("http://127.0.0.1:5000", "http://localhost/x", "http://[::1]:5000", "sqlite:////a b/m.db")
SAFE = (*LOCAL, "https://mlflow.example", "file:/mlruns", "mlruns", "/mlruns")
PLATFORM = ("databricks", "databricks-uc", "databricks://team")


@pytest.mark.parametrize("key", ["uri", "registry"])
def test_tracking_params_accept_safe_stores(key: str) -> None:
    for uri in (*SAFE, *PLATFORM):
        assert getattr(TrackingParams.model_validate({key: uri}), key) == uri


@pytest.mark.parametrize(
    "uri",
    [
        *("http://mlflow.example", "HTTP://mlflow.example", "http://127.0.0.1.evil.example"),
        *("http://localhost@evil.example", "http://127.0.0.1 @evil.example", "http:evil.example"),
        *("http://evil.example\\@127.0.0.1", "http://127.0.0.1\t@evil.example", "//evil.example/x"),
        *("http://127.0.0.1:80@evil.example", "https://", "https:evil.example", "http://[evil"),
        *("file://evil.example/x", "postgresql://evil.example/x", "uc:http://evil.example", ""),
        *("http://0x7f000001", "http://127.1", "ftp://127.0.0.1", "s3://bucket", "dbfs:/mlruns"),
    ],
)
def test_tracking_params_refuse_other_stores(uri: str) -> None:
    for key in ("uri", "registry"):
        with pytest.raises(ValidationError, match=f"{key}\n.*must be a server with https"):
            TrackingParams.model_validate({key: uri})


def test_import_of_tracking_leaves_mlflow_out() -> None:
    code = (
        "import sys, matchlake.runtime; "
        "print([m for m in ('mlflow', 'matplotlib') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_log_model_takes_a_name_of_three_levels(tmp_path: Path) -> None:
    tracker = tracker_in(tmp_path, model="lake.gold.recommender")
    made = register(tracker, tmp_path / "model")
    assert made.name == "lake.gold.recommender"
    assert tracker.require_champion().version == made.version == "1"


def test_run_has_everything_logged(tmp_path: Path) -> None:
    tracker = tracker_in(tmp_path)
    with tracker.run("train") as run:
        run.log_params({"als": {"rank": 8, "seed": 1}, "metric": "rmse"})
        run.log_input("silver.interactions", 12)
        run.log_metrics({"rmse": 0.91, "bias/rmse": 0.95})
        run.log_metrics({"loss": 4.0}, step=1)
        run.log_table(pd.DataFrame({"a": [1]}), "table.json")
        run.log_figure(Figure(), "plot.png")
    found = mlflow.MlflowClient().get_run(run.run_id)
    assert found.info.status == "FINISHED"
    assert found.data.params["als.rank"] == "8"
    assert found.data.params["silver.interactions.version"] == "12"
    assert found.data.metrics == {"rmse": 0.91, "bias/rmse": 0.95, "loss": 4.0}
    (used,) = found.inputs.dataset_inputs
    assert json.loads(used.dataset.source)["delta_table_version"] == 12
    artifacts = mlflow.artifacts.list_artifacts(run_id=run.run_id)
    assert {a.path for a in artifacts} == {"table.json", "plot.png"}
    assert list((tmp_path / "mlartifacts").iterdir())


def test_runs_models_and_versions_say_what_they_are(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tracker = tracker_in(tmp_path)
    saved(tmp_path / "model" / FACTORS)
    for number in (1, 2):
        about = Descriptions(f"model text {number}", f"version text {number}")
        with caplog.at_level("INFO"), tracker.run("train als", "fits **als**") as run:
            uri = run.log_model(pyfunc_flavor(tmp_path / "model"))
            run.register(uri, Decision("challenger", "first"), {}, about)
    client = mlflow.MlflowClient()
    found = client.get_run(run.run_id)
    assert found.data.tags["mlflow.note.content"] == "fits **als**"
    experiment = client.get_experiment(found.info.experiment_id)
    assert experiment.tags["mlflow.experimentKind"] == "custom_model_development"
    page = f"http://127.0.0.1:5000/#/experiments/{experiment.experiment_id}/runs/{run.run_id}"
    assert f"run train als in MLflow: {page} once `matchlake mlflow` runs" in caplog.text
    # A description of the model may be a person's: only the first run writes one.
    assert client.get_registered_model("recommender").description == "model text 1"
    versions = client.search_model_versions("name='recommender'")
    assert {v.description for v in versions} == {"version text 1", "version text 2"}


def test_run_exception_leaves_a_failed_run_and_no_version(tmp_path: Path) -> None:
    tracker = tracker_in(tmp_path)
    saved(tmp_path / "model" / FACTORS)
    runs = []

    def train() -> None:
        with tracker.run("train") as run:
            runs.append(run.run_id)
            run.log_model(pyfunc_flavor(tmp_path / "model"))
            raise RuntimeError("executor lost")

    with pytest.raises(RuntimeError, match="executor lost"):
        train()
    assert mlflow.MlflowClient().get_run(runs[0]).info.status == "FAILED"
    assert mlflow.MlflowClient().search_registered_models() == []
    assert tracker.champion() is None


def test_register_version_has_alias_tags_and_files(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    tracker = tracker_in(tmp_path)
    with caplog.at_level(logging.INFO):
        made = register(tracker, tmp_path / "model")
    assert tracker.champion() == tracker.require_champion() == made
    assert (made.version, made.tags) == ("1", {"decision": "first"})
    with tracker.files(made, f"artifacts/{FACTORS}") as folder:
        assert list(load_numpy(folder).user_ids) == USERS
    assert not folder.exists()
    assert {record.name.split(".")[0] for record in caplog.records} <= {"matchlake"}
    assert "".join(capfd.readouterr()) == ""


def test_files_missing_raise_model_error(tmp_path: Path) -> None:
    tracker = tracker_in(tmp_path)
    made = register(tracker, tmp_path / "model")
    with (
        pytest.raises(ModelError, match=r"models:/recommender/1/artifacts/other cannot be fetched"),
        tracker.files(made, "artifacts/other"),
    ):
        pytest.fail("there are no such files")


def test_register_alias_failure_deletes_the_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracker = tracker_in(tmp_path)
    first = register(tracker, tmp_path / "model")

    def refuse(*_: object) -> None:
        raise ConnectionError("server gone")

    monkeypatch.setattr(mlflow.MlflowClient, "set_registered_model_alias", refuse)
    with pytest.raises(ConnectionError):
        register(tracker, tmp_path / "second")
    assert tracker.champion() == first
    versions = mlflow.MlflowClient().search_model_versions("name='recommender'")
    assert [version.version for version in versions] == [1]


@pytest.mark.parametrize("before", [None, "1"])
def test_register_leaves_a_champion_that_was_moved_since_the_decision(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, before: str | None
) -> None:
    tracker = tracker_in(tmp_path)
    decision = Decision("champion", "better: rmse 0.9 against 1.0", before)
    if before:
        register(tracker, tmp_path / "first")
    with tracker.run("train") as run:
        saved(tmp_path / "late" / FACTORS)
        uri = run.log_model(pyfunc_flavor(tmp_path / "late"))
    other = register(tracker_in(tmp_path), tmp_path / "other")
    late = run.register(uri, decision)
    assert tracker.champion() == other
    assert late.aliases == ("challenger",)
    reason = f"the champion was {before or 'none'} at the comparison, and is {other.version} now"
    assert reason in caplog.text
    found = mlflow.MlflowClient().get_model_version_by_alias("recommender", "challenger")
    assert str(found.version) == late.version
    assert found.tags["decision"] == late.tags["decision"]
    assert late.tags["decision"].startswith(reason)
    assert late.tags["decision"].endswith("The decision was: better: rmse 0.9 against 1.0")


def test_require_champion_without_one_names_the_job(tmp_path: Path) -> None:
    tracker = tracker_in(tmp_path)
    with pytest.raises(ModelError, match=r"'recommender' has the alias 'champion'.*train_recomm"):
        tracker.require_champion()
    register(tracker, tmp_path / "model", alias="challenger")
    assert tracker.champion() is None


def test_a_purged_run_is_named(tmp_path: Path) -> None:
    tracker = tracker_in(tmp_path)
    made = register(tracker, tmp_path / "model")
    purge(tracker, made)
    told = rf"The run {made.run_id} of version 1 cannot be fetched.*no longer exists"
    with pytest.raises(ModelGoneError, match=told):
        tracker.input_version(made, "silver.interactions")
    with pytest.raises(ModelGoneError, match=told):
        tracker.metrics(made)
    tracker.delete(made)
    assert tracker.versions() == []


def test_files_gone_are_told_from_files_out_of_reach(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracker = tracker_in(tmp_path)
    made = register(tracker, tmp_path / "model")
    shutil.rmtree(tmp_path / "mlartifacts")
    with pytest.raises(ModelGoneError, match="no longer exists"), tracker.files(made, "artifacts"):
        pytest.fail("there are no files")
    mlflow.MlflowClient().delete_model_version(made.name, made.version)
    with pytest.raises(ModelGoneError, match="not found"), tracker.files(made, "artifacts"):
        pytest.fail("there is no version")

    def refuse(*_: object, **__: object) -> None:
        raise ConnectionError("server gone")

    monkeypatch.setattr(mlflow.artifacts, "download_artifacts", refuse)
    with pytest.raises(ModelError, match="server gone") as told, tracker.files(made, "artifacts"):
        pytest.fail("nothing answers")
    assert not isinstance(told.value, ModelGoneError)


def test_a_deleted_experiment_is_named_with_the_command_that_restores_it(tmp_path: Path) -> None:
    tracker = tracker_in(tmp_path, experiment="shop")
    with tracker.run("train"):
        pass
    found = mlflow.get_experiment_by_name("shop")
    assert found is not None
    mlflow.MlflowClient().delete_experiment(found.experiment_id)
    told = rf"'shop' \(id {found.experiment_id}\).* is deleted.*restore -x {found.experiment_id}`"
    with pytest.raises(ModelError, match=told), tracker.run("train"):
        pytest.fail("there is no run")
    mlflow.MlflowClient().restore_experiment(found.experiment_id)
    with tracker.run("train"):
        pass


def test_a_version_deleted_between_two_questions_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracker = tracker_in(tmp_path)
    first = register(tracker, tmp_path / "model")
    second = register(tracker, tmp_path / "second")
    search = mlflow.MlflowClient.search_model_versions

    def search_then_delete(client: Any, *given: Any) -> Any:
        found = search(client, *given)
        client.delete_model_version(first.name, first.version)
        return found

    monkeypatch.setattr(mlflow.MlflowClient, "search_model_versions", search_then_delete)
    assert [each.version for each in tracker.versions()] == [second.version]


def test_tracker_store_without_an_answer_raises_model_error(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_text("this is no database")
    tracker = Tracker(TrackingParams(), str(tmp_path))
    with pytest.raises(ModelError, match=r"does not answer.*Check tracking\.uri"):
        tracker.champion()
    with pytest.raises(ModelError, match="does not answer"), tracker.run("train"):
        pytest.fail("there is no run")
