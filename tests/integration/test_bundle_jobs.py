"""Every job of the bundle run from its YAML, and every notebook on the tables they have made.

On classic Spark the jobs that have clusters run, in the order in which each finds what it reads;
on Spark Connect the serverless job runs, with what serverless compute refuses refused.
"""

import ast
import io
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession
from tests.conftest import KIND
from tests.support.bundle_runs import ITEMS, RATED, USERS, Place, job_names, run_jobs, train_another
from tests.support.lakes import forget_tables
from tests.support.serverless import serverless_rules
from tests.support.sources import ROOT
from tests.support.table_reads import recorded_reads

from matchlake.config import load_config
from matchlake.dev.bundle.workflow import LOCAL_CATALOG, TaskRun
from matchlake.dev.notebooks import read_notebook
from matchlake.lakehouse.job_order import tables_read
from matchlake.lakehouse.table_registry import declared_tables

pytestmark = [pytest.mark.soak, pytest.mark.timeout(900)]

CONNECT = KIND == "connect"
# What the jobs can be told beside their defaults, and have to do without clusters too.
MATCHBOX: dict[str, Any] = {
    "train.algorithm": "matchbox",
    "train.matchbox": {"rank": 2, "samples": 3, "burn_in": 2, "thinning": 1},
    "train.metric": "rmse",
    "train.azure_ml_modes": {"k": 3},
}
IN_BLOCKS = {"execution": "distributed", "blocks": 2}
OTHERS: dict[str, dict[str, Any]] = {
    "matchbox": MATCHBOX,
    "matchbox_in_blocks": {
        **MATCHBOX,
        "train.matchbox": {"rank": 2, "samples": 2, "burn_in": 1, "thinning": 1} | IN_BLOCKS,
        "train.refit_on_all_data": False,
    },
    "rater_in_blocks": {
        "train.als": {"feedback": "explicit", "rank": 4, "iterations": 2} | IN_BLOCKS,
        "train.metric": "rmse",
    },
}
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.py"))


@pytest.fixture(scope="module")
def place(
    spark: SparkSession, broker: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Place]:
    """Where all of this module happens; on Connect under the rules of serverless compute."""
    forget_tables(spark)
    made = Place(tmp_path_factory.mktemp("bundle"), broker)
    made.prepare()
    made.write_conf()
    with pytest.MonkeyPatch.context() as patch, serverless_rules() if CONNECT else nullcontext():
        if CONNECT:
            # The platform gives its session, and the local settings are not set again.
            patch.setattr("matchlake.runtime.on_databricks", lambda: True)
            patch.setenv("PYSPARK_REMOTE_INIT_CONF_LEN", "0")
        yield made
    forget_tables(spark)


@dataclass(frozen=True)
class Runs:
    """The tasks of all jobs, and the tables that each job read."""

    tasks: list[TaskRun]
    reads: dict[str, set[str]]


@pytest.fixture(scope="module")
def all_runs(place: Place) -> Runs:
    with recorded_reads() as reads:
        return Runs(list(run_jobs(place, serverless=CONNECT)), reads)


@pytest.fixture(scope="module")
def runs(all_runs: Runs) -> list[TaskRun]:
    return all_runs.tasks


def test_every_job_runs_from_its_yaml(
    spark: SparkSession, runs: list[TaskRun], tell: Callable[[str], None]
) -> None:
    for run in runs:
        tell(f"{run.job}.{run.task}: {run.state} {run.value} {run.seconds:.1f} s")
    states = ", ".join(f"{n} {state}" for state, n in Counter(r.state for r in runs).items())
    tell(f"{len({run.job for run in runs})} jobs, {len(runs)} tasks: {states}")

    assert {run.job for run in runs} == job_names(serverless=CONNECT)
    assert {run.state for run in runs} == {"SUCCESS"}
    assert [run.value for run in runs if run.task == "is_champion"] == ["true"]

    def count(query: str) -> int:
        return int(spark.sql(f"SELECT count(*) FROM {LOCAL_CATALOG}.{query}").collect()[0][0])

    assert count("bronze.rating_events WHERE _status = 'valid'") == len(RATED)
    assert count("bronze.rating_events WHERE _status = 'quarantined'") == 1
    assert count("silver.interactions") == len(RATED)
    assert (count("bronze.users"), count("gold.user_features")) == (USERS, USERS)
    assert count("gold.rated") == len(RATED)
    assert count("gold.rated WHERE last_rating = rating AND last_event_time = event_time") > 0
    assert count("gold.recommendations WHERE model_version = '1'") == 3 * USERS
    assert count("gold.ages WHERE model_version = '1' AND refusal IS NULL") == USERS
    assert count("gold.data_freshness WHERE table_name = 'gold.recommendations'") == 1


def test_jobs_read_the_tables_that_they_declare(
    all_runs: Runs, place: Place, tell: Callable[[str], None]
) -> None:
    config = load_config("dev", conf_dir=place.conf)
    tables = declared_tables(config)
    for job, declared in tables_read(config).items():
        read = all_runs.reads[job]
        tell(f"{job} reads {', '.join(sorted(read)) or 'no table'}")
        own = {name for name in read if name in tables and tables[name].written_by == job}
        assert set(declared) <= read, job
        assert read - own <= set(declared), job


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_from_top_to_bottom(
    runs: list[TaskRun], place: Place, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert runs
    monkeypatch.chdir(place.folder)
    names: dict[str, Any] = {"__name__": "__main__"}
    shown = [
        value
        for cell in read_notebook(path)
        if cell.kind == "code" and (value := show(cell.text, path, names)) is not None
    ]
    pictures = [value for value in shown if hasattr(value, "savefig")]
    assert pictures
    for picture in pictures:
        picture.savefig(file := io.BytesIO())
        assert len(file.getvalue()) > 5000, "there is something on it"
    frames = [value for value in shown if hasattr(value, "columns")]
    assert all(len(frame) for frame in frames)


@pytest.mark.connect_only
@pytest.mark.parametrize("model", OTHERS)
def test_another_model_trains_and_recommends_on_serverless(
    spark: SparkSession, runs: list[TaskRun], place: Place, model: str
) -> None:
    assert runs
    done = train_another(place, model, OTHERS[model])
    assert {(run.task, run.state) for run in done} == {
        (task, "SUCCESS")
        for task in ("train_recommender", "is_champion", "recommend", "create_views")
    }

    def count(table: str) -> int:
        frame = spark.table(f"{LOCAL_CATALOG}.gold.{table}")
        return frame.where("model_version = '1'").count()

    assert count("recommendations") == 3 * USERS
    assert (count("related_users"), count("related_items")) == (2 * USERS, 2 * ITEMS)
    assert count("predicted_ratings") == 3 * USERS
    if "matchbox" in model:
        assert count("feature_effects") > 0


def show(cell: str, path: Path, names: dict[str, Any]) -> Any:
    """Runs a cell; what its last expression comes to is what a notebook shows."""
    tree = ast.parse(cell)
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, str(path), "exec"), names)  # noqa: S102 - our own notebook
    if last is None:
        return None
    return eval(compile(ast.Expression(last.value), str(path), "eval"), names)  # noqa: S307
