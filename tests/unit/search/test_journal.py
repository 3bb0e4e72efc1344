"""The journal: cut lines, other inputs, folders without append, and kill -9."""

import errno
import random
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, NoReturn

import pytest
from tests.support.searches import run
from tests.support.sources import ROOT

from matchlake.errors import InputError
from matchlake.search.journal import Journal
from matchlake.search.study import Result


def told(found: Result) -> list[tuple[Any, ...]]:
    """What is equal in two runs of one search: all but the times."""
    return [(t.number, t.values, t.state, t.value) for t in found.trials]


def test_a_line_that_was_cut_off_is_no_trial(tmp_path: Path) -> None:
    whole = run(tmp_path / "whole", trials=12, seed=4)
    run(tmp_path, trials=6, seed=4)
    file = tmp_path / "j.jsonl"
    lines = file.read_bytes().splitlines(keepends=True)
    for end in (1, 40, len(lines[-1]) - 1):
        file.write_bytes(b"".join(lines[:-1]) + lines[-1][:end])
        assert len(Journal(file, "a").trials) == 5
        assert file.read_bytes() == b"".join(lines[:-1])
    assert told(run(tmp_path, trials=12, seed=4)) == told(whole)


@pytest.mark.parametrize("size", [0, 10])
def test_a_journal_cut_off_in_its_first_line_starts_again(tmp_path: Path, size: int) -> None:
    file = tmp_path / "j.jsonl"
    Journal(file, "a")
    file.write_bytes(file.read_bytes()[:size])
    assert Journal(file, "a").trials == []
    assert len(run(tmp_path, trials=2).trials) == 2


def test_another_search_is_not_continued(tmp_path: Path) -> None:
    run(tmp_path, trials=2)
    with pytest.raises(InputError, match="journal of another search"):
        Journal(tmp_path / "j.jsonl", "b")
    file = tmp_path / "j.jsonl"
    file.write_text(file.read_text() + '{"number": 1}\n')
    with pytest.raises(InputError, match="line 4, is not a valid trial: KeyError"):
        Journal(file, "a")


def test_a_folder_without_append_gets_whole_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> NoReturn:
        raise OSError(errno.ENOTSUP, "not supported")

    whole = run(tmp_path / "a", trials=5, seed=1)
    monkeypatch.setattr(Journal, "_append", refuse)
    run(tmp_path / "b", trials=3, seed=1)
    assert told(run(tmp_path / "b", trials=5, seed=1)) == told(whole)


def test_a_failed_write_ends_the_search(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> NoReturn:
        raise OSError(errno.ENOSPC, "no space")

    monkeypatch.setattr(Journal, "_append", full)
    with pytest.raises(OSError, match="no space"):
        run(tmp_path, trials=3)


def killed(folder: Path, parallel: int, trials: int, after: int) -> list[int]:
    """Runs the search in a process, kills it after some trials; the numbers that it told."""
    program = [sys.executable, "-m", "tests.support.searches"]
    numbers = []
    with subprocess.Popen(
        [*program, str(folder), str(parallel), str(trials)],
        stdout=subprocess.PIPE, cwd=ROOT, text=True,
    ) as process:  # fmt: skip
        for line in process.stdout or ():
            numbers.append(int(line))
            if len(numbers) == after:
                process.send_signal(signal.SIGKILL)
    return numbers


@pytest.mark.parametrize(
    ("parallel", "kills"),
    [
        pytest.param(1, 1, id="once"),
        pytest.param(1, 5, marks=pytest.mark.soak, id="five times"),
        pytest.param(3, 5, marks=pytest.mark.soak, id="five times, three at a time"),
    ],
)
def test_after_kill_9_nothing_is_lost_repeated_or_half_logged(
    tmp_path: Path, parallel: int, kills: int
) -> None:
    chosen, said = random.Random(kills), []  # noqa: S311 - the moments of a test
    for _ in range(kills):
        said += killed(tmp_path, parallel, 40, chosen.randint(2, 6))
    found = run(tmp_path, seed=5, parallel=parallel, trials=40)
    numbers = [trial.number for trial in found.trials]
    assert len(numbers) == len(set(numbers)) == 40
    assert set(said) <= set(numbers), "a trial that was told is in the journal"
    assert len({tuple(sorted(trial.values.items())) for trial in found.trials}) == 40
    if parallel == 1:
        assert numbers == list(range(40))
        assert told(found) == told(run(tmp_path / "whole", seed=5, trials=40))
