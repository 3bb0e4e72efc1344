"""The interactive prompt: statements end with a semicolon; it has a few own words and a history."""

import importlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from rich.console import Console

from matchlake.cli.sql.analyst import Analyst, interruptible
from matchlake.cli.sql.output import Answer, fetch_answer, print_answer
from matchlake.cli.sql.statements import NOTHING, first_word, split_statements
from matchlake.errors import MatchlakeError

_HISTORY_LINES = 1000
_HELP = """\
Statements end with ; and may span lines. They read: SELECT, WITH, SHOW, DESCRIBE, EXPLAIN ...
  tables, \\d        lists tables and views, with what they hold
  describe NAME     lists the columns of a table or view, with what they mean; so does \\d NAME
  use SCHEMA        names without a schema are then in bronze, silver or gold
  help              shows this
  exit, Ctrl-D      leaves; Ctrl-C drops what is typed, or stops the query"""


def run_prompt(analyst: Analyst, console: Console, limit: int | None) -> None:
    """Reads statements line by line and answers each, until `exit` or the end of the input."""
    console.print("[dim]help lists what there is; statements end with ;[/]")
    typed = ""
    while True:
        try:
            line = input("...> " if typed else "sql> ")
            if not typed and _normalized(line) in ("exit", "quit", "\\q"):
                return
            empty = not typed and ";" in line
            statements, typed = take_line(typed, line)
            if empty and not statements and not typed:
                console.print(NOTHING)
            for statement in statements:
                answer(analyst, console, statement, limit)
        except EOFError:
            console.print()
            return
        except KeyboardInterrupt:
            console.print()
            typed = ""


def take_line(typed: str, line: str) -> tuple[list[str], str]:
    """The statements that `line` completes after `typed`, and the open rest.

    The prompt's own words need no semicolon.
    """
    if not typed and _needs_no_semicolon(line):
        return [line.strip().rstrip(";")], ""
    return split_statements(f"{typed}{line}\n")


def _needs_no_semicolon(line: str) -> bool:
    return (
        _normalized(line) in ("help", "tables")
        or line.lstrip().startswith("\\")
        or first_word(line) in ("DESCRIBE", "DESC", "USE")
    )


def answer(analyst: Analyst, console: Console, statement: str, limit: int | None) -> None:
    """Prints the rows of one statement, or one error message."""
    if _normalized(statement) in ("help", "\\?", "\\h"):
        console.print(_HELP, markup=False, highlight=False)
        return

    def compute() -> Answer:
        with analyst.errors_explained():
            return fetch_answer(analyst.query(statement), limit)

    try:
        print_answer(interruptible(analyst.spark, compute), console)
    except MatchlakeError as error:
        console.print(f"error: {error}", style="red", markup=False, highlight=False, soft_wrap=True)


@contextmanager
def line_editing(history: Path, words: list[str]) -> Iterator[None]:
    """Lets `input` edit lines, complete `words` by Tab, and keep a history in a file.

    Some builds of Python lack the readline module; lines are plain then.
    """
    try:
        readline: Any = importlib.import_module("readline")
    except ImportError:
        yield
        return
    with suppress(OSError):
        readline.read_history_file(history)
    readline.set_history_length(_HISTORY_LINES)
    readline.set_completer_delims(" \t\n(),;")
    readline.set_completer(lambda text, at: _completions(text, words)[at])
    libedit = "libedit" in (readline.__doc__ or "")
    readline.parse_and_bind("bind ^I rl_complete" if libedit else "tab: complete")
    try:
        yield
    finally:
        with suppress(OSError):
            readline.write_history_file(history)


def _completions(text: str, words: list[str]) -> list[str | None]:
    return [*(word for word in words if word.lower().startswith(text.lower())), None]


def _normalized(line: str) -> str:
    return line.strip().rstrip(";").strip().lower()
