"""The smoke run: every check is answered, nothing is left behind, and no secret is shown."""

import logging
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from tests.support.sources import ROOT

from matchlake.config import load_config
from matchlake.errors import ConfigError, SecretError, SourceError, WorkspaceError
from matchlake.io.delta import Lakehouse
from matchlake.io.secrets import EnvironmentSecrets, Secret
from matchlake.lakehouse.smoke import Outcome, outcome_table, require_all, try_workspace
from matchlake.lakehouse.smoke_checks import (
    CHECKS,
    Check,
    NotApplicable,
    Workspace,
    try_folders,
    try_grants,
    try_real_time,
    try_secrets,
)

PLANTED = "correct-horse-battery-41"


def workspace(env: str = "dev", *settings: str, catalog: str | None = None) -> Workspace:
    config = load_config(env, settings, ROOT / "conf")
    lake = Mock(spec=Lakehouse, catalog=catalog, spark=Mock())
    return Workspace(config, lake, EnvironmentSecrets(), Mock(), "smoke_test")


def outcomes_of(*runs: Callable[[Workspace, ExitStack], str | NotApplicable]) -> list[Outcome]:
    checks = [Check(f"check {n}", "it holds", "Do this.", run) for n, run in enumerate(runs)]
    return try_workspace(workspace(), checks)


def fails(_at: Workspace, _undo: ExitStack) -> str:
    raise RuntimeError("[NO_SUCH] it is not there\nJVM stack of many lines")


def test_a_check_that_fails_stops_no_other_and_fails_the_run() -> None:
    found = outcomes_of(fails, lambda *_: "there", lambda *_: NotApplicable("local"))
    assert found == [
        ("check 0", "does not hold", "[NO_SUCH] it is not there", "Do this."),
        ("check 1", "holds", "there", ""),
        ("check 2", "not applicable here", "local", ""),
    ]
    with pytest.raises(WorkspaceError, match=r"1 of 3 checks failed: check 0\."):
        require_all(found)
    require_all(found[1:])
    lines = outcome_table(found).splitlines()
    assert lines[0].split() == ["check", "answer", "found", "what", "to", "do"]
    assert "does not hold" in lines[1]
    assert lines[1].endswith("Do this.")
    assert len(lines) == 4


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        (f"login as admin with {PLANTED} failed", "login as admin with [secret] failed"),
        (f"a long text {'x' * 380} {PLANTED}", "[sec"),
        (f"token dapi{'0' * 32} expired", "and is not shown"),
        ("https://me:hunter2@example.com does not answer", "an address with a password"),
        ("", "RuntimeError"),
    ],
)
def test_secrets_are_not_shown(message: str, shown: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    Secret(PLANTED)

    def leaks(_at: Workspace, _undo: ExitStack) -> str:
        raise RuntimeError(message)

    def finds(_at: Workspace, _undo: ExitStack) -> str:
        return message

    def is_not_here(_at: Workspace, _undo: ExitStack) -> NotApplicable:
        return NotApplicable(message)

    def leaves(_at: Workspace, undo: ExitStack) -> str:
        undo.callback(leaks, _at, undo)
        return "made"

    found = outcomes_of(leaks, finds, is_not_here, leaves)
    assert shown in found[0].found
    text = outcome_table(found) + str(found) + caplog.text
    for secret in (PLANTED, PLANTED[:5], "dapi0", "hunter2"):
        assert secret not in text


def test_what_a_check_made_is_removed_in_reverse_order_also_after_a_failure() -> None:
    removed: list[str] = []

    def makes(_at: Workspace, undo: ExitStack) -> str:
        undo.callback(removed.append, "table")
        undo.callback(removed.append, "stream")
        raise WorkspaceError("no rows")

    (found,) = outcomes_of(makes)
    assert removed == ["stream", "table"]
    assert (found.state, found.found) == ("does not hold", "no rows")


def test_a_removal_that_fails_is_told_and_the_others_are_still_done() -> None:
    removed: list[str] = []

    def refuse() -> None:
        raise PermissionError("no right to drop")

    def makes(_at: Workspace, undo: ExitStack) -> str:
        undo.callback(removed.append, "schema")
        undo.callback(refuse)
        return "all is well"

    found, second = outcomes_of(makes, lambda *_: "there")
    assert removed == ["schema"]
    assert found.state == "does not hold"
    assert found.found == "all is well; not all of smoke_test was removed: no right to drop"
    assert second.state == "holds"


def test_an_interrupt_removes_what_was_made_and_ends_the_run() -> None:
    removed: list[str] = []

    def interrupted(_at: Workspace, undo: ExitStack) -> str:
        undo.callback(removed.append, "table")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        outcomes_of(interrupted)
    assert removed == ["table"]


def test_the_checks_are_named_once_and_their_import_loads_no_spark() -> None:
    names = [check.name for check in CHECKS]
    assert len(set(names)) == len(names) == 8
    page = (ROOT / "jobs" / "README.md").read_text("utf-8")
    assert [name for name in names if f"| `{name}` |" not in page] == []
    code = "import sys, matchlake.lakehouse.smoke; print(*{'pyspark', 'py4j'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_folders_are_left_as_they_were(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "file").write_text("not a folder")
    before = sorted(tmp_path.rglob("*"))
    settings = (f"checkpoints={tmp_path}/new/deep", f"features.folder={tmp_path}/there")
    with ExitStack() as undo:
        assert str(tmp_path) in str(try_folders(workspace("local", *settings), undo))
    assert sorted(tmp_path.rglob("*")) == before
    settings = (f"checkpoints={tmp_path}/file", f"features.folder={tmp_path}/there")
    with ExitStack() as undo, pytest.raises(WorkspaceError, match=f"^{tmp_path}/file: Not a dir"):
        try_folders(workspace("local", *settings), undo)
    assert sorted(tmp_path.rglob("*")) == before


def test_secrets_resolve_and_their_values_are_not_told(monkeypatch: pytest.MonkeyPatch) -> None:
    at, undo = workspace(), ExitStack()
    with pytest.raises(SecretError, match="matchlake-dev/erasure-salt"):
        try_secrets(at, undo)
    monkeypatch.setenv("MATCHLAKE_SECRET_MATCHLAKE_DEV__ERASURE_SALT", PLANTED)
    assert try_secrets(at, undo) == "secret matchlake-dev/erasure-salt resolved"
    assert isinstance(try_secrets(workspace("local"), undo), NotApplicable)


def grants(*known: str) -> Callable[[str], Any]:
    """Answers of Unity Catalog that has groups of these names."""

    def sql(query: str) -> Mock:
        assert query.startswith(("SHOW GRANTS ON ", "SHOW GROUPS LIKE ", "SHOW USERS LIKE "))
        rows = [1] if "GRANTS" in query or any(f"GROUPS LIKE '{n}'" in query for n in known) else []
        return Mock(collect=lambda: rows)

    return sql


def test_grants_are_read_and_principals_looked_for() -> None:
    at, undo = workspace(catalog="matchlake_dev"), ExitStack()
    at.lakehouse.spark.sql.side_effect = grants("analysts")  # type: ignore[attr-defined]
    assert try_grants(at, undo) == ("4 grants; principals of grants.sql exist: analysts")
    at.lakehouse.spark.sql.side_effect = grants()  # type: ignore[attr-defined]
    with pytest.raises(WorkspaceError, match=r"grants.sql names analysts: no such group or user"):
        try_grants(at, undo)
    assert isinstance(try_grants(workspace(), undo), NotApplicable)


def test_real_time_counts_only_where_a_stream_may_use_it(tmp_path: Path) -> None:
    at, undo = workspace("demo", f"lakehouse={tmp_path}"), ExitStack()
    at.lakehouse.spark.conf.get.return_value = "local[2]"  # type: ignore[attr-defined]
    found = try_real_time(at, undo)
    assert isinstance(found, NotApplicable)
    assert "matchlake sandbox start" in found.reason
    stream = "{stream: rating_events, model: user_age, topic: scores}"
    needed = workspace("demo", f"lakehouse={tmp_path}", f"score_events.streams.a={stream}")
    with pytest.raises((ConfigError, SourceError), match="matchlake sandbox start"):
        try_real_time(needed, undo)
