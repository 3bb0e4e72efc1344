"""Runs `matchlake erase-user` and kills it, Spark and all, at a named point of its way.

    python -m tests.support.killed_erasure POINT TABLE USER [the command's own options]

TABLE is the folder of the table that holds the user. Confirm on stdin.
"""

import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

from matchlake import cli
from matchlake.io import erase
from matchlake.io.erase import Erasure

POINTS = (
    "before the mark",
    "after the mark",
    "after the delete",
    "after the purge",
    "while files are removed",
    "before the mark is cleared",
)


def _kill() -> None:
    os.killpg(os.getpgrp(), signal.SIGKILL)


def install(point: str, table: Path) -> None:
    """Puts the point into the program."""
    sql, remove = Erasure._sql, erase.remove_old_files
    mark, clear = erase.mark_erasure, erase.clear_erasure

    def at(here: str) -> None:
        if here == point:
            _kill()

    def watch() -> None:
        before = set(table.rglob("*.parquet"))
        while before <= set(table.rglob("*.parquet")):
            time.sleep(0.0005)
        _kill()

    def told(self: Erasure, query: str) -> Any:
        done = sql(self, query)
        if query.startswith("DELETE"):
            at("after the delete")
        if query.startswith("REORG"):
            at("after the purge")
        return done

    def marked(*given: Any) -> None:
        at("before the mark")
        mark(*given)
        at("after the mark")

    def removed(*given: Any) -> float:
        if point == "while files are removed":
            threading.Thread(target=watch, daemon=True).start()
        return remove(*given)

    def cleared(*given: Any) -> None:
        at("before the mark is cleared")
        clear(*given)

    for owner, name, function in (
        (Erasure, "_sql", told),
        (erase, "mark_erasure", marked),
        (erase, "remove_old_files", removed),
        (erase, "clear_erasure", cleared),
    ):
        setattr(owner, name, function)


if __name__ == "__main__":
    chosen, folder, *arguments = sys.argv[1:]
    install(chosen, Path(folder))
    sys.argv = ["matchlake", "erase-user", *arguments]
    cli.main()
