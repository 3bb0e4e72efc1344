"""Runs the checks of a workspace; one that fails does not stop the others."""

import io
import logging
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Literal, NamedTuple

from rich.console import Console
from rich.table import Table
from rich.text import Text

from matchlake.deploy.secret_rules import secret_kind
from matchlake.errors import WorkspaceError
from matchlake.io.secrets import masked
from matchlake.lakehouse.smoke_checks import CHECKS, Check, NotApplicable, Workspace

_log = logging.getLogger(__name__)

_SHOWN = 400
"""Characters of a message that are shown; one of Spark may hold a whole plan."""
_WIDTH = 150

State = Literal["holds", "does not hold", "not applicable here"]


class Outcome(NamedTuple):
    """What one check found."""

    check: str
    state: State
    found: str
    todo: str = ""


def try_workspace(at: Workspace, checks: Sequence[Check] = CHECKS) -> list[Outcome]:
    """Runs the checks in order. Each one removes what it made before the next one begins."""
    outcomes = []
    for check in checks:
        _log.info("%s: whether %s", check.name, check.tries)
        outcomes.append(_tried(check, at))
    return outcomes


def outcome_table(outcomes: Sequence[Outcome]) -> str:
    """The outcomes as a table of text."""
    table = Table(box=None, pad_edge=False)
    for name in ("check", "answer", "found", "what to do"):
        table.add_column(name, no_wrap=name in ("check", "answer"))
    for each in outcomes:
        table.add_row(*map(Text, each))
    console = Console(file=io.StringIO(), width=_WIDTH, color_system=None)
    with console.capture() as captured:
        console.print(table)
    return "\n".join(line.rstrip() for line in captured.get().splitlines())


def require_all(outcomes: Sequence[Outcome]) -> None:
    """Raises WorkspaceError, with the names of the failed checks, if a check fails."""
    failed = [each.check for each in outcomes if each.state == "does not hold"]
    if failed:
        raise WorkspaceError(
            f"{len(failed)} of {len(outcomes)} checks failed: {', '.join(failed)}. See the "
            "table in the log for what to do."
        )


def _tried(check: Check, at: Workspace) -> Outcome:
    outcome = Outcome(check.name, "does not hold", "", check.todo)
    try:
        with ExitStack() as undo:
            outcome = _answer(check, at, undo)
    except Exception as error:  # noqa: BLE001 - a check may meet any error of a platform
        text = f"not all of {at.scratch} was removed: {_safe(error)}"
        found = f"{outcome.found}; {text}" if outcome.found else text
        outcome = Outcome(check.name, "does not hold", found, f"Remove what is left. {check.todo}")
    return outcome


def _answer(check: Check, at: Workspace, undo: ExitStack) -> Outcome:
    try:
        found = check.run(at, undo)
    except Exception as error:  # noqa: BLE001 - a check may meet any error of a platform
        _log.debug("%s", check.name, exc_info=True)
        return Outcome(check.name, "does not hold", _safe(error), check.todo)
    if isinstance(found, NotApplicable):
        return Outcome(check.name, "not applicable here", _safe(found.reason))
    return Outcome(check.name, "holds", _safe(found))


def _safe(message: Exception | str) -> str:
    """The first line of a message, without secrets and cut to a readable length."""
    text = masked(str(message)).strip() or repr(message)
    kind = secret_kind(text)
    if kind:
        name = type(message).__name__ if isinstance(message, Exception) else "A text"
        return f"{name}: it holds {kind} and is not shown"
    line = text.splitlines()[0]
    return line if len(line) <= _SHOWN else f"{line[:_SHOWN]}..."
