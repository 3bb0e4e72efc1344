"""The job profile_tables and the command profile, on a small lakehouse."""

import re
import runpy
from pathlib import Path

import mlflow
import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F
from tests.support.lakes import small_lake
from tests.support.saved_models import tracker_in
from tests.support.sources import ROOT
from typer.testing import CliRunner

from matchlake.cli.main import app
from matchlake.cli.sql import profile as profile_cli
from matchlake.errors import MatchlakeError, SchemaError, TableError
from matchlake.io.delta import Lakehouse
from matchlake.io.secrets import EnvironmentSecrets
from matchlake.runtime import Runtime
from matchlake.schemas import INTERACTIONS

JOB = runpy.run_path(str(ROOT / "jobs" / "profile_tables.py"))
RUN = JOB["run"]
TABLE = INTERACTIONS.name


@pytest.fixture
def runtime(spark: SparkSession, tmp_path: Path) -> Runtime:
    lake, config = small_lake(spark, tmp_path)
    chosen = config.profile.model_copy(update={"tables": (TABLE,), "top": 5})
    config = config.model_copy(update={"profile": chosen})
    return Runtime(spark, config, lake, EnvironmentSecrets(), tracker_in(tmp_path))


def change(lake: Lakehouse) -> None:
    """Half the ratings go up by one, and a new user comes."""
    lake.append(
        lake.spark.sql("SELECT 'new' user_id, 'i1' item_id, 9D rating, now() event_time"),
        INTERACTIONS,
    )


@pytest.mark.soak
def test_profile_tables_writes_profiles_plots_and_drift(runtime: Runtime) -> None:
    lake = runtime.lakehouse
    RUN(runtime)
    assert not lake.exists("gold.drift")
    before = lake.version(TABLE)
    change(lake)
    RUN(runtime)
    RUN(runtime)
    found = lake.read("gold.column_profiles")
    totals = found.groupBy("version").agg(F.sum("rows")).collect()
    rows = lake.read(TABLE).count()
    assert dict(map(tuple, totals)) == {before: 4 * (rows - 1), before + 1: 4 * rows}
    moved = {row["column_name"]: row for row in lake.read("gold.drift").collect()}
    assert moved["user_id"]["new_categories"] == ["new"]
    assert moved["user_id"]["before_version"] == before
    assert moved["rating"]["ks"] == pytest.approx(1 / rows)
    runs = mlflow.search_runs(search_all_experiments=True)
    assert len(runs) == 3
    assert runs[f"params.{TABLE}.version"].tolist() == [str(before + 1)] * 2 + [str(before)]
    for run in runs["run_id"]:
        logged = mlflow.artifacts.list_artifacts(
            run_id=run, artifact_path=f"column_profiles/{TABLE}"
        )
        names = {Path(each.path).stem for each in logged}
        assert names == {"user_id", "item_id", "rating", "event_time"}


@pytest.mark.soak
def test_profile_tables_vacuumed_version_gives_no_drift(
    spark: SparkSession, runtime: Runtime
) -> None:
    lake, write_drift = runtime.lakehouse, JOB["write_drift"]
    before = lake.version(TABLE)
    lake.replace(lake.read(TABLE).limit(10), INTERACTIONS)
    after = lake.version(TABLE)
    assert write_drift(runtime, TABLE, before, after)
    checked = "spark.databricks.delta.retentionDurationCheck.enabled"
    spark.conf.set(checked, value=False)
    spark.sql(f"VACUUM {TABLE} RETAIN 0 HOURS")
    assert not write_drift(runtime, TABLE, before, after)
    spark.conf.unset(checked)
    assert lake.read("gold.drift").count() == 4
    assert not write_drift(runtime, TABLE, 99, after)
    with pytest.raises(TableError, match=r"No table silver\.none"):
        write_drift(runtime, "silver.none", before, after)


@pytest.mark.soak
def test_profile_command_shows_columns_drift_and_plots(
    runtime: Runtime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(profile_cli, "start_quietly", lambda *_: runtime)
    before = runtime.lakehouse.version(TABLE)
    change(runtime.lakehouse)
    folder = tmp_path / "plots"

    def said(*words: str) -> str:
        result = CliRunner().invoke(app, ["profile", TABLE, *words], terminal_width=200)
        if isinstance(result.exception, MatchlakeError):
            raise result.exception
        assert result.exit_code == 0, result.output
        return re.sub(r" +", " ", result.output)

    shown = said("--column", "rating", "--plots", str(folder))
    assert f"rating: {runtime.lakehouse.read(TABLE).count():,} values" in shown
    assert "9 to 9.5" in shown
    assert [each.name for each in folder.iterdir()] == ["rating.png"]
    assert "new" in said("--compare-to-version", f"{before}", "--column", "user_id")
    with pytest.raises(TableError, match=r"had no rows at version 0, .*; the newest is 2"):
        said("--compare-to-version", "0")
    with pytest.raises(
        SchemaError, match=r"nothing cannot be profiled\. Columns that can: user_id"
    ):
        said("--column", "nothing")
    with pytest.raises(TableError, match="has no version 99: its newest is 2"):
        said("--compare-to-version", "99")
    with pytest.raises(TableError, match=r"No table silver\.none in the lakehouse"):
        CliRunner().invoke(app, ["profile", "silver.none"], catch_exceptions=False)
