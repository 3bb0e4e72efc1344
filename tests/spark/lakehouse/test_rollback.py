"""The history of aliases and the rollback of a model, on a lakehouse with two champions."""

import logging
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from pyspark.sql import SparkSession
from tests.support.lakes import forget_tables, lake_runtime
from tests.support.model_aliases import (
    predicted,
    recommended,
    recommender_of,
    rows_of,
    two_champions,
    write_tables,
)

from matchlake.errors import ModelError, TableError
from matchlake.io.erasure_marks import clear_erasure, mark_erasure
from matchlake.io.model_versions import CHALLENGER, CHAMPION, AliasChange
from matchlake.io.salt import Salt
from matchlake.lakehouse.rollback import (
    EMPTIED,
    FILTERED,
    RESTORED,
    TO_WRITE,
    rollback,
    settle,
    settled_history,
)
from matchlake.lakehouse.user_erasure import HOLDS_ERASED_USER, remember_user
from matchlake.runtime import Runtime
from matchlake.schemas import PREDICTED_RATINGS, RECOMMENDATIONS
from matchlake.training.history import MODEL_HISTORY, Change, ModelHistory

USERS = ("ann", "bob", "cid")


@pytest.fixture(scope="module")
def built(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lakehouse with two champions, as tests find it in a copy; and the files of both."""
    forget_tables(spark)
    folder = tmp_path_factory.mktemp("champions")
    two_champions(lake_runtime(spark, folder / "lake"), folder, USERS)
    return folder


@pytest.fixture
def at(spark: SparkSession, built: Path, tmp_path: Path) -> Iterator[Runtime]:
    """A copy of the lakehouse with two champions."""
    forget_tables(spark)
    shutil.copytree(built / "lake", tmp_path / "lake")
    made = lake_runtime(spark, tmp_path / "lake")
    made.lakehouse.register_tables()
    yield replace(made, lakehouse=replace(made.lakehouse, salt=lambda: Salt(b"some salt")))
    forget_tables(spark)


def history(at: Runtime) -> list[Change]:
    return ModelHistory(at.lakehouse, "recommender").changes()


def champion(at: Runtime) -> str:
    return at.tracker.require_champion().version


def erase_rows(at: Runtime, user: str) -> None:
    """What an erasure does first; old files stay."""
    remember_user(at.lakehouse, Salt(b"some salt"), user)
    for spec in (RECOMMENDATIONS, PREDICTED_RATINGS):
        name = at.lakehouse.name(spec.name)
        at.spark.sql(f"DELETE FROM {name} WHERE user_id = '{user}'").collect()


def test_a_rollback_brings_back_every_table_and_is_recorded(at: Runtime) -> None:
    model = recommender_of(at)
    report = rollback(at.lakehouse, model, reason="empty lists")
    assert report.tables == {RECOMMENDATIONS.name: RESTORED, PREDICTED_RATINGS.name: EMPTIED}
    assert champion(at) == "1"
    assert rows_of(at.lakehouse, RECOMMENDATIONS) == recommended("1", USERS)
    assert rows_of(at.lakehouse, PREDICTED_RATINGS) == []
    model.require_still_champion("1")
    with pytest.raises(ModelError, match="Version 1 became champion of recommender while the"):
        model.require_still_champion("2")
    changes = history(at)
    assert [(c.number, c.version_before, c.version, c.action, c.state) for c in changes] == [
        (1, None, "1", "train", "done"),
        (2, "1", "2", "train", "done"),
        (3, "2", "1", "rollback", "done"),
    ]
    assert changes[2].reason == "empty lists"
    assert all(c.changed_by and c.closed_at and c.closed_at >= c.started_at for c in changes)
    versions = {n: at.lakehouse.version(n) for n in (RECOMMENDATIONS.name, PREDICTED_RATINGS.name)}
    assert changes[2].tables == versions
    with pytest.raises(ModelError, match=r"no earlier champion in its history.*--to: 1, 2"):
        rollback(at.lakehouse, model)


@pytest.mark.soak
def test_rows_of_another_model_come_back(at: Runtime) -> None:
    lake, other = at.lakehouse, ModelHistory(at.lakehouse, "rater")
    other.close(other.add(AliasChange(CHAMPION, "1", None, "better"), "train"), "done")
    lake.replace(lake.frame(predicted("rater's", USERS), PREDICTED_RATINGS), PREDICTED_RATINGS)
    other.note_tables("1", {PREDICTED_RATINGS.name: lake.version(PREDICTED_RATINGS.name)})
    write_tables(at, "2", USERS, ratings=True)
    report = rollback(lake, recommender_of(at))
    assert report.tables == {RECOMMENDATIONS.name: RESTORED, PREDICTED_RATINGS.name: RESTORED}
    assert rows_of(lake, PREDICTED_RATINGS) == predicted("rater's", USERS)


@pytest.mark.soak
def test_the_way_forward_needs_the_files_of_the_version(at: Runtime, built: Path) -> None:
    model = recommender_of(at)
    rollback(at.lakehouse, model)
    with pytest.raises(ModelError, match="Version 1 is champion of recommender already"):
        rollback(at.lakehouse, model, "1")
    shutil.rmtree(built / "files1")
    for version, cause in (("2", "has lost its files"), ("9", "does not exist")):
        told = rf"Version {version} of recommender {cause}. Nothing.*Versions with files: 1\."
        with pytest.raises(ModelError, match=told):
            rollback(at.lakehouse, model, version)
    (built / "files1").mkdir()
    (built / "files1" / "MLmodel").write_text("flavors: {}\n", encoding="utf-8")
    rollback(at.lakehouse, model, "2")
    assert rows_of(at.lakehouse, RECOMMENDATIONS) == recommended("2", USERS)
    assert rows_of(at.lakehouse, PREDICTED_RATINGS) == predicted("2", USERS)


def test_rows_of_erased_users_never_come_back(at: Runtime) -> None:
    version = at.tracker.version("1")
    assert version is not None
    at.tracker.tag(version, HOLDS_ERASED_USER, "true")
    mark_erasure(at.lakehouse, RECOMMENDATIONS.name, "bob")
    with pytest.raises(TableError, match=r"the erasure of a user was begun.*Nothing was changed"):
        rollback(at.lakehouse, recommender_of(at))
    clear_erasure(at.lakehouse, RECOMMENDATIONS.name, "bob")
    erase_rows(at, "bob")
    report = rollback(at.lakehouse, recommender_of(at))
    assert report.tables[RECOMMENDATIONS.name] == FILTERED
    assert report.holds_erased_user
    assert rows_of(at.lakehouse, RECOMMENDATIONS) == recommended("1", ("ann", "cid"))


@pytest.mark.soak
def test_a_table_without_its_old_files_stays_and_is_named(at: Runtime) -> None:
    lake = at.lakehouse
    for file in Path(lake.path(RECOMMENDATIONS.name) or "").glob("*.parquet"):
        file.unlink()  # as VACUUM does with old files
    lake.replace(lake.frame(recommended("2", ("ann",)), RECOMMENDATIONS), RECOMMENDATIONS)
    report = rollback(lake, recommender_of(at))
    assert report.tables == {RECOMMENDATIONS.name: TO_WRITE, PREDICTED_RATINGS.name: EMPTIED}
    assert rows_of(lake, RECOMMENDATIONS) == recommended("2", ("ann",)), "as it was"
    assert champion(at) == "1"


@pytest.mark.soak
def test_what_happened_outside_the_history_is_recorded_by_the_next_run(
    at: Runtime, caplog: pytest.LogCaptureFixture
) -> None:
    model = recommender_of(at)
    at.tracker.move_alias(CHAMPION, "1")
    at.tracker.move_alias(CHALLENGER, "2")
    with caplog.at_level(logging.WARNING):
        known = settled_history(at.lakehouse, model)
    assert "the alias champion names version 1; the history did not know it" in caplog.text
    found = [(c.alias, c.version_before, c.version, c.action) for c in history(at)[2:]]
    assert found == [(CHAMPION, "2", "1", "by hand"), (CHALLENGER, None, "2", "by hand")]

    known.add(AliasChange(CHAMPION, "7", "1", "crashed before the alias moved"), "train")
    known.add(AliasChange(CHALLENGER, "1", "2", "crashed after it moved"), "train")
    at.tracker.move_alias(CHALLENGER, "1")
    assert settle(at.lakehouse, model) is None
    assert [(c.version, c.state) for c in history(at)[4:]] == [("7", "failed"), ("1", "done")]
    settle(at.lakehouse, model)
    assert len(history(at)) == 6, "nothing more to record"


@pytest.mark.soak
def test_of_two_rollbacks_at_once_one_is_done_and_the_other_says_so(
    at: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, known = recommender_of(at), ModelHistory(at.lakehouse, "recommender")
    changes = known.changes()
    change = AliasChange(CHAMPION, "1", "2", "first")
    first = known.begin(change, "rollback", changes)
    assert first is not None
    assert known.begin(change, "rollback", changes) is None, "its number is taken"
    with pytest.raises(ModelError, match="Another rollback came first: rollback of the champion"):
        rollback(at.lakehouse, model, "2")
    assert champion(at) == "1"
    assert [c.state for c in history(at)[2:]] == ["done"]

    monkeypatch.setattr("matchlake.lakehouse.rollback.settle", lambda *_: None)
    monkeypatch.setattr(ModelHistory, "changes", lambda _: changes)
    at.tracker.move_alias(CHAMPION, "2")
    with pytest.raises(ModelError, match="changes an alias of recommender at the same time"):
        rollback(at.lakehouse, model)
    assert champion(at) == "2"


@pytest.mark.soak
def test_an_interrupted_rollback_that_someone_overtook_is_not_completed(at: Runtime) -> None:
    known = ModelHistory(at.lakehouse, "recommender")
    known.begin(AliasChange(CHAMPION, "1", "2", "crashed"), "rollback", known.changes())
    at.tracker.champion()
    import mlflow  # noqa: PLC0415 - takes seconds

    mlflow.MlflowClient().delete_registered_model_alias("recommender", CHAMPION)
    assert settle(at.lakehouse, recommender_of(at)) is None
    states = [(c.version, c.action, c.state) for c in history(at)[2:]]
    assert states == [("1", "rollback", "failed"), (None, "by hand", "done")]
    assert at.lakehouse.read(MODEL_HISTORY.name).count() == 4
