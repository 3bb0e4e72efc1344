"""Runs `matchlake erase-user` and kills it, Spark and all, at a named point of its way.

    python -m tests.support.killed_erasure POINT TABLE USER [the command's own options]

TABLE is the folder of the table that holds the user. Confirm on stdin.
"""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from matchlake.cli import main as cli
from matchlake.lakehouse import erasure as erase
from matchlake.lakehouse.erasure import Erasure

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


def _watch(table: Path) -> None:
    """Kills at the first file that goes."""
    before = set(table.rglob("*.parquet"))
    while before <= set(table.rglob("*.parquet")):
        time.sleep(0.0005)
    _kill()


def install(point: str, table: Path) -> None:
    """Puts the point into the program."""

    def around(owner: Any, name: str, before: str, after: Callable[..., str] = str) -> None:
        plain = getattr(owner, name)

        def called(*given: Any) -> Any:
            if before == point:
                _kill()
            done = plain(*given)
            if after(*given) == point:
                _kill()
            return done

        setattr(owner, name, called)

    def after_statement(_: Erasure, query: str) -> str:
        return {"MERGE": "after the delete", "REORG": "after the purge"}.get(
            query.split(maxsplit=1)[0], ""
        )

    def begin_watch(*_: Any) -> str:
        threading.Thread(target=_watch, args=[table], daemon=True).start()
        return ""

    around(Erasure, "_sql", "", after_statement)
    around(erase, "mark_erasure", "before the mark", lambda *_: "after the mark")
    around(erase, "clear_erasure", "before the mark is cleared", lambda *_: "")
    if point == "while files are removed":
        around(Erasure, "_sql", "", begin_watch)


if __name__ == "__main__":
    chosen, folder, *arguments = sys.argv[1:]
    install(chosen, Path(folder))
    sys.argv = ["matchlake", "erase-user", *arguments]
    cli.main()
