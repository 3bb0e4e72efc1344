"""Values that end the process that decodes them are found in child processes."""

import os
import signal

import pyarrow as pa
import pytest

from matchlake.ingest.parse import guard
from matchlake.ingest.parse.guard import killers


def decode(values: pa.Array) -> None:
    for value in values.to_pylist():
        if value == b"segfault":
            os.kill(os.getpid(), signal.SIGSEGV)
        if value == b"killed":
            os.kill(os.getpid(), signal.SIGKILL)
        if value == b"error":
            raise ValueError(value)


def test_killers_are_found_among_the_others() -> None:
    values = [b"%d" % n for n in range(1000)]
    values[3], values[4], values[998] = b"segfault", b"killed", b"segfault"
    assert killers(pa.array(values, pa.binary()), decode) == [3, 4, 998]
    assert killers(pa.array(values[5:900], pa.binary()), decode) == []
    assert killers(pa.array([], pa.binary()), decode) == []


def test_killers_leave_exceptions_to_the_process_itself() -> None:
    values = pa.array([b"killed", b"ok", b"error", b"killed"], pa.binary())
    assert killers(values, decode) == [0]


def test_killers_too_many_to_search_each_out_count_by_ranges(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(guard, "MAX_CHILDREN", 40)
    values = [b"ok"] * 512 + [b"killed", b"ok"] * 256
    found = killers(pa.array(values, pa.binary()), decode)
    assert set(range(512, 1024, 2)) <= set(found) <= set(range(512, 1024))
