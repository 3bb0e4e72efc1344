"""The job `smoke` on a local lake: what is local holds, and all that it made is gone."""

import logging
import runpy
from pathlib import Path

import pytest
from pyspark.sql import SparkSession
from tests.support.lakes import forget_tables, lake_runtime

from matchlake.io.delta import Lakehouse
from matchlake.lakehouse.smoke import try_workspace
from matchlake.lakehouse.smoke_checks import CHECKS, Workspace

smoke = runpy.run_path("jobs/smoke.py")["run"]
MLFLOW = ("mlflow.db", "mlartifacts")
"""Deleted runs stay in MLflow's trash, and their files with them."""


def files(folder: Path) -> set[Path]:
    return {each for each in folder.rglob("*") if each.relative_to(folder).parts[0] not in MLFLOW}


def places(folder: Path) -> tuple[str, ...]:
    return f"checkpoints={folder}/checkpoints", f"features.folder={folder}/models/features"


def answers(log: str) -> dict[str, str]:
    """The answer of each check in the table of the log."""
    found = {}
    for line in log.splitlines():
        for answer in ("not applicable here", "does not hold", "holds"):
            name, is_row, _ = line.partition(f"  {answer}  ")
            if is_row and not line.startswith(" "):
                found[name.strip()] = answer
    return found


@pytest.mark.soak
def test_a_local_lake_has_what_is_not_the_platforms(
    spark: SparkSession, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    forget_tables(spark)
    runtime = lake_runtime(spark, tmp_path, *places(tmp_path))
    before = files(tmp_path)
    smoke(runtime)
    assert answers(caplog.text) == {
        **dict.fromkeys(("schemas", "folders", "stream", "merge", "models"), "holds"),
        **dict.fromkeys(("secrets", "real time", "grants"), "not applicable here"),
    }, caplog.text
    assert files(tmp_path) == before
    for schema in ("bronze", "silver", "gold"):
        assert [t.name for t in spark.catalog.listTables(schema) if "smoke_" in t.name] == []
    client = runtime.tracker._connect().MlflowClient()
    assert client.search_registered_models() == []
    assert {each.name for each in client.search_experiments()} <= {"Default"}


def test_a_lake_that_loses_rows_is_told_and_cleaned(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forget_tables(spark)
    runtime = lake_runtime(spark, tmp_path, *places(tmp_path))
    parts = runtime.config, runtime.lakehouse, runtime.secrets, runtime.tracker
    before = files(tmp_path)
    chosen = [each for each in CHECKS if each.name in ("schemas", "folders")]
    found = try_workspace(Workspace(*parts, "smoke_test"), chosen)
    assert [each.state for each in found] == ["holds", "holds"]
    assert files(tmp_path) == before
    monkeypatch.setattr(Lakehouse, "append", lambda self, _, spec: self.create(spec))
    schemas, folders = try_workspace(Workspace(*parts, "smoke_test"), chosen)
    assert schemas.state == "does not hold"
    assert schemas.found == "bronze.smoke_test has the rows [], not [(1, 'a'), (2, 'b')]."
    assert folders.state == "holds"
    assert files(tmp_path) == before
