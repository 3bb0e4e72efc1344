"""Commands that are imported when they are called, told of before in words of their own."""

import os
import runpy
import signal
import sys
import time
from importlib import import_module

import pytest
import typer
from tests.support.sources import ROOT
from typer.testing import CliRunner

from matchlake.cli.dev import LAPTOP
from matchlake.cli.lazy import LazyCommand
from matchlake.cli.main import SECRETS, app


@pytest.mark.parametrize("command", [SECRETS, *LAPTOP], ids=lambda command: command.name)
def test_the_line_that_tells_of_it_is_its_own(command: LazyCommand) -> None:
    module, _, attribute = command.target.partition(":")
    found = getattr(import_module(module), attribute)
    told = found.info.help if isinstance(found, typer.Typer) else found.__doc__
    assert told.partition("\n")[0] == command.help


def test_its_own_parser_gets_its_arguments() -> None:
    shown = CliRunner().invoke(app, ["sql", "--help"])
    assert shown.exit_code == 0
    assert "--format" in shown.output
    assert "--install-completion" not in CliRunner().invoke(app, ["secrets", "--help"]).output
    refused = CliRunner().invoke(app, ["secrets", "put", "--scope"])
    assert refused.exit_code == 2
    assert "--scope" in refused.output


def test_its_exit_code_is_that_of_the_command_line(tmp_path: str) -> None:
    done = CliRunner().invoke(app, ["sandbox", "status", "--root", f"{tmp_path}/none"])
    assert done.exit_code == 3
    assert "No broker was ever started" in done.output


def test_the_help_of_run_lists_the_jobs_and_a_job_tells_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told = CliRunner().invoke(app, ["run", "--help"]).output
    assert all(path.stem in told for path in (ROOT / "jobs").glob("*.py"))
    argv: list[str] = []
    monkeypatch.setattr(runpy, "run_path", lambda *_, **__: argv.extend(sys.argv[1:]))
    assert CliRunner().invoke(app, ["run", "ingest_events", "--help"]).exit_code == 0
    assert argv == ["--help"]


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGHUP])
def test_a_demo_that_is_ended_stops_what_it_started(
    monkeypatch: pytest.MonkeyPatch, ending: signal.Signals
) -> None:
    stopped = []

    def run_demo(*_: object) -> None:
        try:
            os.kill(os.getpid(), ending)
            time.sleep(10)
        finally:
            stopped.append(True)

    monkeypatch.setattr("matchlake.dev.demo.run_demo", run_demo)
    before = {each: signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGHUP)}
    try:
        assert CliRunner().invoke(app, ["demo"]).exit_code == 128 + ending
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
    assert stopped == [True]
