"""Runs `matchlake models rollback` and kills it, Spark and all, at a named point of its way.

python -m tests.support.killed_rollback POINT [the command's own arguments]
"""

import os
import signal
import sys
from typing import Any

from matchlake.cli import main as cli
from matchlake.io.mlflow_tracking import Tracker
from matchlake.lakehouse import rollback
from matchlake.training.history import ModelHistory

POINTS = (
    "before the row",
    "after the row",
    "after the alias",
    "after the first table",
    "before the row is closed",
)


def _kill() -> None:
    os.killpg(os.getpgrp(), signal.SIGKILL)


def install(point: str) -> None:
    """Puts the point into the program."""

    def around(owner: Any, name: str, before: str = "", after: str = "") -> None:
        plain = getattr(owner, name)

        def called(*given: Any, **options: Any) -> Any:
            if before == point:
                _kill()
            done = plain(*given, **options)
            if after == point:
                _kill()
            return done

        setattr(owner, name, called)

    around(ModelHistory, "begin", "before the row", "after the row")
    around(Tracker, "move_alias", "", "after the alias")
    around(rollback, "_bring_back", "", "after the first table")
    around(ModelHistory, "close", "before the row is closed")


if __name__ == "__main__":
    chosen, *arguments = sys.argv[1:]
    install(chosen)
    sys.argv = ["matchlake", "models", "rollback", *arguments]
    cli.main()
