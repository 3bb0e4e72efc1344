"""Commands that are imported when they are called: their help, arguments and exit codes."""

import os
import runpy
import signal
import sys
import time

import pytest
import typer
from tests.support.sources import ROOT
from typer.testing import CliRunner

from matchlake.cli.lazy import LazyCommand
from matchlake.cli.main import LOCAL, PRODUCTION, app
from matchlake.errors import InputError


@pytest.mark.parametrize("command", [*PRODUCTION, *LOCAL], ids=lambda command: command.name)
def test_lazy_command_help_equals_the_first_line_of_its_target(command: LazyCommand) -> None:
    loaded = command.load()
    text = loaded.info.help if isinstance(loaded, typer.Typer) else loaded.__doc__
    assert str(text).partition("\n")[0] == command.help


@pytest.mark.parametrize("command", [*PRODUCTION, *LOCAL], ids=lambda command: command.name)
def test_every_command_help_has_an_example(command: LazyCommand) -> None:
    loaded = command.load()
    functions = (
        [each.callback for each in loaded.registered_commands]
        if isinstance(loaded, typer.Typer)
        else [loaded]
    )
    assert [
        each.__name__ for each in functions if "For example: matchlake " not in each.__doc__
    ] == []


def test_lazy_command_passes_all_arguments_to_its_own_parser() -> None:
    shown = CliRunner().invoke(app, ["sql", "--help"])
    assert shown.exit_code == 0
    assert "--format" in shown.output
    assert "--install-completion" not in CliRunner().invoke(app, ["secrets", "--help"]).output
    refused = CliRunner().invoke(app, ["secrets", "put", "--scope"])
    assert refused.exit_code == 2
    assert "--scope" in refused.output


@pytest.mark.parametrize("query", ["-- x", "--x\n", "--\n\n-- x"])
def test_a_comment_alone_is_a_query_without_a_statement(query: str) -> None:
    done = CliRunner().invoke(app, ["sql", query])
    assert isinstance(done.exception, InputError), done.output
    assert str(done.exception).startswith("There is nothing to run: the text is empty, or only a c")


@pytest.mark.parametrize("option", ["--frmt=a b", "--frmt"])
def test_an_unknown_option_is_no_query(option: str) -> None:
    done = CliRunner().invoke(app, ["sql", option])
    assert done.exit_code == 2
    assert "No such option: --frmt" in done.output


def test_lazy_command_exit_code_becomes_that_of_matchlake(tmp_path: str) -> None:
    done = CliRunner().invoke(app, ["sandbox", "status", "--root", f"{tmp_path}/none"])
    assert done.exit_code == 3
    assert "No broker was ever started" in done.output


def test_run_help_lists_the_jobs_and_job_help_goes_to_the_job(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told = CliRunner().invoke(app, ["run", "--help"]).output
    assert all(path.stem in told for path in (ROOT / "jobs").glob("*.py"))
    argv: list[str] = []
    monkeypatch.setattr(runpy, "run_path", lambda *_, **__: argv.extend(sys.argv[1:]))
    assert CliRunner().invoke(app, ["run", "ingest_events", "--help"]).exit_code == 0
    assert argv == ["--help"]


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGHUP])
def test_demo_ended_by_a_signal_stops_its_processes(
    monkeypatch: pytest.MonkeyPatch, ending: signal.Signals
) -> None:
    stopped = []

    def run_demo(*_: object, **__: object) -> None:
        try:
            os.kill(os.getpid(), ending)
            time.sleep(10)
        finally:
            stopped.append(True)

    monkeypatch.setattr("matchlake.dev.demo.movielens.run_movielens", run_demo)
    before = {each: signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGHUP)}
    try:
        assert CliRunner().invoke(app, ["demo"]).exit_code == 128 + ending
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
    assert stopped == [True]
