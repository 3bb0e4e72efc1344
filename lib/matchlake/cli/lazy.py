"""Commands whose modules are imported when they are called: `--help` needs no Spark."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module

import typer
from typer.main import get_command, get_group

# The command's own parser gets all of its arguments, `--help` too.
_UNREAD = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}


@dataclass(frozen=True)
class LazyCommand:
    """A command or group of commands, `module:attribute`, and the line that tells of it."""

    name: str
    target: str
    help: str

    def add_to(self, app: typer.Typer) -> None:
        """Adds it to a command line, as what is looked up when it is called."""

        def call(context: typer.Context) -> None:
            module, _, attribute = self.target.partition(":")
            found = getattr(import_module(module), attribute)
            group = isinstance(found, typer.Typer)
            command = get_group(found) if group else get_command(_alone(found))
            command.main(context.args, prog_name=context.command_path)

        app.command(self.name, help=self.help, context_settings=_UNREAD)(call)


def _alone(function: Callable[..., None]) -> typer.Typer:
    """A command line of one command."""
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(function)
    return app
