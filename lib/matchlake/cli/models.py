"""`matchlake models`: registered models, and their exports."""

import typer

from matchlake.cli.exports import export, verify

models_app = typer.Typer(no_args_is_help=True, help="Exports models, and verifies exports.")
models_app.command()(export)
models_app.command()(verify)
