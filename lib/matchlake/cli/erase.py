"""`matchlake erase-user`."""

import dataclasses
import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Column, Table

from matchlake.cli.launch import start_quietly
from matchlake.cli.options import ConfDir, Environment, Overrides
from matchlake.config import load_config
from matchlake.errors import ReconciliationError
from matchlake.ingest.params import EraseParams
from matchlake.lakehouse import user_erasure
from matchlake.lakehouse.user_erasure import NOT_SEARCHED, STILL_FOUND, ErasureReport
from matchlake.lakehouse.user_search import Place, UserSearch


class Included(StrEnum):
    """What an erasure leaves, unless it is included."""

    UNPARSED_MATCHES = "unparsed-matches"
    MODEL_VERSIONS = "model-versions"


def erase_user(  # noqa: PLR0913 - the options of a command
    user: Annotated[str, typer.Argument(help="the user's user_id")],
    *,
    include: Annotated[
        list[Included] | None,
        typer.Option(
            help="also unparsed-matches: quarantined records that hold the id anywhere; or "
            "model-versions: registered versions that hold the user and have no alias; may be "
            "repeated"
        ),
    ] = None,
    report: Annotated[Path | None, typer.Option(help="file for a report as JSON")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="only show where the user is; change nothing")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="do not ask for confirmation")] = False,
    env: Environment = "local",
    overrides: Overrides = None,
    conf_dir: ConfDir = None,
) -> None:
    """Erases one user from bronze, quarantine, silver and gold, and from the tables' old files.

    A salted hash of the id stays in silver.erased_users, so that no later job writes the user
    again: the id is refused for good. The offset of an erased record stays, so the streams still
    reconcile. Older versions of the tables cannot be read afterwards.

    Stop the jobs that write these tables first: their appends fail while it runs. The same command
    completes an interrupted erasure; until then its tables are marked, and maintain_tables does not
    vacuum them.

    Afterwards it searches all tables, files, checkpoints and models for the user. It exits with 1
    if the user is found in a place that it does not erase, and names the place.

    For example: matchlake erase-user 42 --env dev --dry-run, then the same without --dry-run
    """
    config = load_config(env, overrides or [], conf_dir)
    if not (dry_run or yes):
        typer.confirm(f"Erase {user!r} from all tables, and their older versions?", abort=True)
    runtime = start_quietly(config, "erase-user")
    if dry_run:
        search = UserSearch(user, config, runtime.lakehouse, runtime.tracker)
        _print_places(*search.run(), Console())
        return
    params = EraseParams(
        user_id=user,
        include_unparsed_matches=Included.UNPARSED_MATCHES in (include or ()),
        delete_model_versions=Included.MODEL_VERSIONS in (include or ()),
    )
    erased = user_erasure.erase_user(config, runtime.lakehouse, runtime.tracker, params)
    _print(erased, Console())
    if report:
        report.write_text(json.dumps(_content(user, erased), indent=2) + "\n", encoding="utf-8")
    if not erased.is_complete:
        raise ReconciliationError(STILL_FOUND)


def _content(user: str, report: ErasureReport) -> dict[str, Any]:
    """The report as JSON."""
    return {
        "user": user,
        "tables": [dataclasses.asdict(each) for each in report.tables],
        "places": [each._asdict() for each in report.places],
        "unsearched": report.unsearched,
        "deleted_model_versions": [each.uri for each in report.deleted_versions],
        "online_store": {
            "rows": report.online_rows,
            "missed": [each._asdict() for each in report.online_missed],
        },
        "elsewhere": NOT_SEARCHED,
    }


def _print_places(places: list[Place], unsearched: list[str], console: Console) -> None:
    if places:
        page = Table("kind", Column("place", overflow="fold"), "rows", "how to remove the user")
        for each in places:
            page.add_row(each.kind, each.name, f"{each.rows or ''}", each.remedy)
        console.print(page)
    else:
        console.print("The user was found nowhere.")
    for sentence in unsearched:
        console.print(sentence)


def _print(report: ErasureReport, console: Console) -> None:
    page = Table("table", "rows", "quarantined", "unparsed matches", "left")
    for each in report.tables:
        numbers = (each.rows, each.quarantined, each.unparsed_matches, each.left)
        page.add_row(each.table, *map(str, numbers))
    console.print(page)
    console.print("After the erasure:")
    _print_places(report.places, report.remarks, console)
