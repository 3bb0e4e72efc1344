"""`matchlake deploy`: writes the files of a deployment from conf, and checks them."""

from pathlib import Path
from typing import Annotated

import typer

from matchlake.cli.options import ConfDir, Environment, Overrides
from matchlake.config import load_config
from matchlake.deploy.check import check_folder, has_schemas
from matchlake.deploy.render import Target, render, write_files
from matchlake.errors import ConfigError

deploy_app = typer.Typer(
    no_args_is_help=True,
    help="Writes deployment files from conf (Kubernetes, Azure, IoT Edge), and checks them.",
)


@deploy_app.command("render")
def render_command(
    *,
    target: Annotated[Target, typer.Option(help="where it runs")],
    out: Annotated[Path, typer.Option(help="the folder of the files")],
    env: Environment = "local",
    overrides: Overrides = None,
    conf_dir: ConfDir = None,
) -> None:
    """Writes the files of a target from the keys below `deploy` in conf.

    For example: matchlake deploy render --target aks --env prod --out dist/aks
    """
    config = load_config(env, overrides or [], conf_dir)
    files = render(target, config.deploy, env)
    write_files(files, out)
    for path in files:
        typer.echo(f"{out / path}")


@deploy_app.command("check")
def check_command(folder: Annotated[Path, typer.Argument(help="what render wrote")]) -> None:
    """Checks the files of a deployment offline: safety, references between files, and schemas.

    For example: matchlake deploy check dist/aks
    """
    mistakes = check_folder(folder)
    for each in mistakes:
        typer.echo(str(each))
    if not has_schemas():
        typer.echo("kubernetes-validate is not installed: the schemas were not checked.")
    if mistakes:
        raise ConfigError(f"{folder}: {len(mistakes)} mistake(s).")
    typer.echo(f"{folder}: no mistakes")
