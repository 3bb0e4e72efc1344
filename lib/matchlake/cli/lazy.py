"""Commands that are imported when they are called: `--help` starts no Spark."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from itertools import pairwise

import typer
from typer.main import get_command, get_group

# The command's own parser reads all arguments of the command, also `--help`.
_PASS_ALL = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}
_COMMENT = re.compile(r"--[^=\s]*\s")
"""How a comment of SQL begins, and no option: `--`, perhaps a word, and then white space."""


@dataclass(frozen=True)
class LazyCommand:
    """A command or group of commands: its name, `module:attribute`, and one line of help."""

    name: str
    target: str
    help: str

    def load(self) -> Callable[..., None] | typer.Typer:
        """Imports the module and returns its function or its group of commands."""
        module, _, attribute = self.target.partition(":")
        loaded: Callable[..., None] | typer.Typer = getattr(import_module(module), attribute)
        return loaded

    def add_to(self, app: typer.Typer, panel: str) -> None:
        """Adds the command to `app`, on a panel of `--help`; calling it imports its module."""

        def call(context: typer.Context) -> None:
            loaded = self.load()
            if isinstance(loaded, typer.Typer):
                get_group(loaded).main(context.args, prog_name=context.command_path)
            else:
                arguments = _with_blanks(context.args)
                get_command(_app_of(loaded)).main(arguments, prog_name=context.command_path)

        app.command(self.name, help=self.help, context_settings=_PASS_ALL, rich_help_panel=panel)(
            call
        )


def _with_blanks(arguments: Sequence[str]) -> list[str]:
    """The arguments with a blank before an SQL comment, which would be read as an option.

    An argument after an option stays as it is: it may be its value.
    """
    return [
        f" {each}" if _COMMENT.match(each) and not before.startswith("-") else each
        for before, each in pairwise(["", *arguments])
    ]


def _app_of(function: Callable[..., None]) -> typer.Typer:
    """A command line with one command."""
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(function)
    return app
