"""Runs `ingest_events` and kills or stops it, Spark and all, at a named point of its way.

    python -m tests.support.killed_ingest SIGNAL POINT COUNT TABLE [the job's own arguments]

SIGNAL is that of the kill, SIGKILL or SIGSTOP, COUNT says how often the point is passed before,
TABLE is the folder of the table.
"""

import os
import runpy
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pyspark.sql import DataFrame

from matchlake.ingest.streams.batch_writer import BatchWriter
from matchlake.io.delta import Lakehouse
from matchlake.runtime import run_job

POINTS = (
    "offsets logged",
    "files written",
    "before the table commit",
    "after the table commit",
    "before the commit log",
    "before the batch log",
    "after the batch log",
)


class Killer:
    """Counts how often its point is passed, and signals the process group at the last."""

    def __init__(self, kill: signal.Signals, point: str, count: int) -> None:
        self._kill, self._point, self._left = kill, point, count

    def at(self, point: str) -> None:
        """The program is at `point` now."""
        if point == self._point:
            self._left -= 1
            if self._left == -1:
                os.killpg(os.getpgrp(), self._kill)

    def soon(self, point: str) -> None:
        """The program will be at `point` once the caller has returned."""
        if point == self._point:
            threading.Timer(0.002, self.at, [point]).start()

    def watch(self, point: str, table: Path) -> None:
        """Looks for new files of the table that are whole, but not committed yet."""
        if point != self._point:
            return
        before = set(table.glob("*.parquet"))

        def look() -> None:
            while not any(map(_is_whole, set(table.glob("*.parquet")) - before)):
                time.sleep(0.0005)
            self.at(point)

        threading.Thread(target=look, daemon=True).start()


def _is_whole(file: Path) -> bool:
    with file.open("rb") as opened:
        opened.seek(0, os.SEEK_END)
        if opened.tell() < len(b"PAR1") * 3:
            return False
        opened.seek(-4, os.SEEK_END)
        return opened.read() == b"PAR1"


def install(killer: Killer, table: Path) -> None:
    """Puts the points into the program."""
    call, write, merge = BatchWriter.__call__, BatchWriter.write, Lakehouse.merge

    def called(self: BatchWriter, rows: DataFrame, batch: int) -> None:
        killer.at("offsets logged")
        call(self, rows, batch)
        killer.soon("before the commit log")

    def written(self: BatchWriter, rows: DataFrame, metadata: Any) -> None:
        killer.watch("files written", table)
        killer.at("before the table commit")
        write(self, rows, metadata)
        killer.at("after the table commit")

    def merged(self: Lakehouse, *given: Any, **named: Any) -> None:
        killer.at("before the batch log")
        merge(self, *given, **named)
        killer.at("after the batch log")

    for owner, name, function in (
        (BatchWriter, "__call__", called),
        (BatchWriter, "write", written),
        (Lakehouse, "merge", merged),
    ):
        _replace(owner, name, function)


def _replace(owner: type, name: str, function: Callable[..., None]) -> None:
    setattr(owner, name, function)


if __name__ == "__main__":
    named, chosen, passed, folder, *arguments = sys.argv[1:]
    install(Killer(signal.Signals[named], chosen, int(passed)), Path(folder))
    sys.exit(run_job("ingest_events", runpy.run_path("jobs/ingest_events.py")["run"], arguments))
