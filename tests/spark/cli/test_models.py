"""`matchlake models list`, `history` and `rollback` on a lakehouse with two champions."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pyspark.sql import SparkSession
from tests.support.lakes import forget_tables, lake_runtime
from tests.support.model_aliases import add_version, promote
from typer.testing import CliRunner

from matchlake.cli.models import models_app
from matchlake.errors import ConfigError
from matchlake.io.model_versions import CHAMPION, AliasChange
from matchlake.runtime import Runtime
from matchlake.training.history import ModelHistory


@pytest.fixture(scope="module")
def at(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runtime]:
    """Version 1, then version 2 is champion; neither wrote a table."""
    forget_tables(spark)
    folder = tmp_path_factory.mktemp("models")
    runtime = lake_runtime(spark, folder)
    for version in ("1", "2"):
        add_version(runtime, Path(folder))
        promote(runtime, version)
    yield runtime
    forget_tables(spark)


@pytest.fixture
def command(at: Runtime, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Runs a command in this process; returns its output without line breaks."""
    monkeypatch.setattr("matchlake.cli.models.start_quietly", lambda *_, **__: at)
    monkeypatch.setenv("COLUMNS", "200")

    def run(*words: str, answer: str = "", code: int = 0) -> str:
        done = CliRunner().invoke(models_app, words, input=answer)
        if isinstance(done.exception, ConfigError):
            raise done.exception
        assert done.exit_code == code, done.output
        return " ".join(done.output.split())

    return run


def test_list_shows_versions_and_aliases(command: Callable[..., str]) -> None:
    shown = command("list")
    assert "recommender │ recommender │ 1, 2 │ 2 │ none │ none │" in shown
    assert "user_age │ user_age │ none │ none │ none │ none │" in shown
    assert "rater" not in shown


def test_list_has_models_of_the_history_that_conf_does_not_name(
    command: Callable[..., str], at: Runtime
) -> None:
    ModelHistory(at.lakehouse, "rater").add(AliasChange(CHAMPION, "1", None, "better"), "train")
    assert "not in conf │ rater │ none │ none │ none │ none │" in command("list")


def test_history_shows_changes_and_who_served_at_a_time(command: Callable[..., str]) -> None:
    shown = command("history", "recommender")
    assert " champion none → 1 train " in shown
    assert " champion 1 → 2 train " in shown
    now = command("history", "recommender", "--at", "2999-01-01")
    assert now.startswith("recommender: version 2 (champion since ")
    assert "no champion known at 1999-01-01" in command("history", "--at", "1999-01-01")
    with pytest.raises(ConfigError, match="--at noon: this is not a time"):
        command("history", "--at", "noon")
    with pytest.raises(ConfigError, match="No model 'churn': conf declares recommender, user_age"):
        command("history", "churn")


def test_rollback_asks_first_and_says_what_it_did(command: Callable[..., str], at: Runtime) -> None:
    asked = command("rollback", "recommender", answer="n\n", code=1)
    expected = "Make version 1 champion of recommender, and bring back no table?"
    assert expected in asked
    assert at.tracker.require_champion().version == "2"
    told = command("rollback", "recommender", "--yes", "--reason", "empty lists")
    assert "Version 1 is champion of recommender, in place of version 2." in told
    assert " champion 2 → 1 rollback " in command("history", "recommender")
