"""`matchlake erase-user`."""

import dataclasses
import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from matchlake.cli.launch import start_quietly
from matchlake.cli.options import ConfDir, Environment, Overrides
from matchlake.config import load_config
from matchlake.errors import ReconciliationError
from matchlake.ingest.params import EraseParams
from matchlake.lakehouse import user_erasure
from matchlake.lakehouse.user_erasure import NOT_ERASED, ErasureReport


class Included(StrEnum):
    """What an erasure leaves, unless it is included."""

    UNPARSED_MATCHES = "unparsed-matches"
    MODEL_VERSIONS = "model-versions"


def erase_user(
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
    vacuum them. The command asks for confirmation.

    For example: matchlake erase-user 42 --env dev --report erased.json (scripts: `yes | ...`)
    """
    config = load_config(env, overrides or [], conf_dir)
    typer.confirm(f"Erase {user!r} from all tables, and their older versions?", abort=True)
    runtime = start_quietly(config, "erase-user")
    params = EraseParams(
        user_id=user,
        include_unparsed_matches=Included.UNPARSED_MATCHES in (include or ()),
        delete_model_versions=Included.MODEL_VERSIONS in (include or ()),
    )
    erased = user_erasure.erase_user(config, runtime.lakehouse, runtime.tracker, params)
    _print(erased, Console())
    if report:
        tables = [dataclasses.asdict(each) for each in erased.tables]
        content = {
            "user": user,
            "tables": tables,
            "files": erased.files,
            "model_versions": [each.uri for each in erased.versions],
            "deleted_model_versions": [each.uri for each in erased.deleted_versions],
            "elsewhere": NOT_ERASED,
        }
        report.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    if not erased.is_complete:
        raise ReconciliationError("Some rows are still there: was a job writing? Run it again.")


def _print(report: ErasureReport, console: Console) -> None:
    page = Table("table", "rows", "quarantined", "unparsed matches", "left")
    for each in report.tables:
        numbers = (each.rows, each.quarantined, each.unparsed_matches, each.left)
        page.add_row(each.table, *map(str, numbers))
    console.print(page)
    for remark in report.remarks:
        console.print(remark)
