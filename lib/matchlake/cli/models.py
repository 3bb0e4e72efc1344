"""`matchlake models`: registered models, their history and the way back, and their exports."""

from collections.abc import Sequence
from typing import Annotated

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from matchlake.cli.exports import export, verify
from matchlake.cli.launch import start_quietly
from matchlake.cli.options import ConfDir, Environment, Overrides, time_of
from matchlake.config import load_config
from matchlake.io.model_versions import CHALLENGER, CHAMPION
from matchlake.lakehouse.registered_models import (
    RegisteredModel,
    registered_model,
    registered_models,
)
from matchlake.lakehouse.rollback import TO_WRITE, RollbackReport
from matchlake.lakehouse.rollback import rollback as roll_back
from matchlake.lakehouse.user_erasure import HOLDS_ERASED_USER
from matchlake.runtime import Runtime
from matchlake.training.history import (
    Change,
    ModelHistory,
    recorded_models,
    serving_at,
    version_to_return_to,
)

models_app = typer.Typer(
    no_args_is_help=True,
    help="Lists models and their history, goes back to a version, exports and verifies models.",
)
models_app.command()(export)
models_app.command()(verify)

_NAME = "recommender, or a name below `models` in conf"
Name = Annotated[str, typer.Argument(help=_NAME)]


@models_app.command("list")
def list_models(
    env: Environment = "local", overrides: Overrides = None, conf_dir: ConfDir = None
) -> None:
    """Lists the models with their versions and aliases.

    The history can have models of another conf, as after `--set tracking.model=NAME`. They are
    listed as `not in conf`.

    For example: matchlake models list --env dev
    """
    runtime = start_quietly(load_config(env, overrides or [], conf_dir), "models")
    page = Table(
        "model", Column("registered as", overflow="fold"), "versions", CHAMPION, CHALLENGER
    )
    page.add_column("hold erased users")
    models = registered_models(runtime.config, runtime.tracker)
    listed = {model.registered_name: name for name, model in models.items()}
    for registered in dict.fromkeys([*listed, *recorded_models(runtime.lakehouse)]):
        versions = runtime.tracker.for_model(registered, "models").versions()
        holders = {alias: each.version for each in versions for alias in each.aliases}
        numbers = ", ".join(each.version for each in versions) or "none"
        aliases = (holders.get(alias, "none") for alias in (CHAMPION, CHALLENGER))
        erased = ", ".join(each.version for each in versions if HOLDS_ERASED_USER in each.tags)
        name = listed.get(registered, "not in conf")
        page.add_row(name, registered, numbers, *aliases, erased or "none")
    Console().print(page)


@models_app.command()
def history(
    name: Annotated[str | None, typer.Argument(help=f"{_NAME}; default: all")] = None,
    *,
    at: Annotated[
        str | None,
        typer.Option(
            metavar="TIME", help="only the champion of this time, in UTC: 2026-05-01T12:00"
        ),
    ] = None,
    env: Environment = "local",
    overrides: Overrides = None,
    conf_dir: ConfDir = None,
) -> None:
    """Shows each change of an alias: when, by whom, from which version to which, and why.

    For example: matchlake models history recommender --at 2026-05-01
    """
    time = None if at is None else time_of(at, "--at")
    runtime = start_quietly(load_config(env, overrides or [], conf_dir), "models")
    console = Console()
    for model in _chosen(runtime, name):
        changes = ModelHistory(runtime.lakehouse, model.registered_name).changes()
        if time is None:
            console.print(
                _page(model.name, changes) if changes else f"{model.name}: no version yet"
            )
            continue
        served = serving_at(changes, time)
        text = f"{model.name}: no champion known" if served is None else _served(model.name, served)
        console.print(f"{text} at {time.isoformat(sep=' ')}", highlight=False)


@models_app.command()
def rollback(  # noqa: PLR0913 - the options of a command
    name: Name,
    *,
    to: Annotated[
        str | None, typer.Option(metavar="VERSION", help="default: the champion before")
    ] = None,
    reason: Annotated[str, typer.Option(help="why, for the history")] = "",
    yes: Annotated[bool, typer.Option("--yes", "-y", help="do not ask for confirmation")] = False,
    env: Environment = "local",
    overrides: Overrides = None,
    conf_dir: ConfDir = None,
) -> None:
    """Makes an earlier version champion again, and brings back the tables that it wrote.

    The tables get the rows of that time by RESTORE. Rows of users who were erased since then stay
    erased. If old files are gone, the command names the job that writes the table anew.

    The same command completes an interrupted rollback. Of two rollbacks at once one is done, and
    the other one says so.

    For example: matchlake models rollback recommender --to 3 --reason "empty lists"
    """
    runtime = start_quietly(load_config(env, overrides or [], conf_dir), "models")
    model = registered_model(runtime.config, runtime.tracker, name)
    changes = ModelHistory(runtime.lakehouse, model.registered_name).changes()
    version = to or version_to_return_to(changes)
    if not yes:
        tables = ", ".join(table for table in model.tables if runtime.lakehouse.exists(table))
        chosen = f"version {version}" if version else "the champion before"
        question = f"Make {chosen} champion of {name}, and bring back {tables or 'no table'}?"
        typer.confirm(question, abort=True)
    # Chosen before the question, so that a rollback in the meantime does not change the version.
    _print(model, roll_back(runtime.lakehouse, model, version, reason), Console())


def _chosen(runtime: Runtime, name: str | None) -> list[RegisteredModel]:
    if name is not None:
        return [registered_model(runtime.config, runtime.tracker, name)]
    return list(registered_models(runtime.config, runtime.tracker).values())


def _page(name: str, changes: Sequence[Change]) -> Table:
    kept = (Column(title, no_wrap=True) for title in ("", "when (UTC)", "change"))
    page = Table(*kept, "action", "by", Column("why", overflow="fold"), title=name, box=SIMPLE_HEAD)
    for each in changes:
        state = "" if each.state == "done" else f" ({each.state})"
        page.add_row(
            f"{each.number}",
            f"{each.started_at:%Y-%m-%d %H:%M}",
            f"{each.alias} {each.version_before or 'none'} → {each.version or 'none'}",
            f"{each.action}{state}",
            *(escape(each.changed_by), escape(each.reason)),
        )
    return page


def _served(name: str, change: Change) -> str:
    since = change.started_at.isoformat(sep=" ", timespec="seconds")
    return f"{name}: version {change.version} (champion since {since}, {change.action})"


def _print(model: RegisteredModel, report: RollbackReport, console: Console) -> None:
    change = report.change
    if report.is_completion:
        console.print(f"An earlier rollback was not complete, and is complete now: {change}.")
    console.print(
        f"Version {change.version} is champion of {model.name}, in place of version "
        f"{change.version_before}.",
        highlight=False,
    )
    for table, outcome in report.tables.items():
        console.print(f"  {table}: {outcome}", highlight=False)
    if TO_WRITE in report.tables.values():
        console.print(f"Run `{model.job}` to write these tables anew.", highlight=False)
    if report.holds_erased_user:
        console.print(
            f"Version {change.version} holds erased users. The tables have no rows of them, but "
            "an endpoint that serves this version still predicts for them."
        )
