"""The command line's `erase-user`."""

import dataclasses
import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from matchlake.cli.launch import start_quietly
from matchlake.cli.options import ConfDir, Environment, Overrides
from matchlake.config import JobConfig, load_config
from matchlake.errors import ReconciliationError
from matchlake.ingest.files.loader import lake_folder, lake_load
from matchlake.ingest.streams.audit import Ledger
from matchlake.ingest.user_match import row_names_user
from matchlake.io.delta import Lakehouse
from matchlake.lakehouse.erasure import COLUMNS, Erased, Erasure
from matchlake.lakehouse.table_registry import table_names
from matchlake.profiling.profile import COLUMN_PROFILES, DRIFT
from matchlake.schemas import USER_ID, quote_text

_ELSEWHERE = (
    "Not touched: Kafka's topics until their retention, the lake's own files, runs and registered "
    "models until the next training, files that writers which failed left in a table's folder, "
    "until maintain_tables removes them by their age, and the least and greatest values of columns "
    "that a table's log notes of its files, until Delta cleans the log "
    "(delta.logRetentionDuration, 30 days)."
)


def erase_user(
    user: Annotated[str, typer.Argument(help="the user, as user_id has it")],
    *,
    mentions: Annotated[
        bool,
        typer.Option("--mentions", help="also quarantined records that hold the id anywhere"),
    ] = False,
    report: Annotated[Path | None, typer.Option(help="writes what was done as JSON")] = None,
    env: Environment = "local",
    overrides: Overrides = None,
    conf_dir: ConfDir = None,
) -> None:
    """Erases one user from bronze, quarantine, silver and gold, and from the tables' old files.

    The offset of an erased record stays, so the streams still reconcile. Older versions of the
    tables cannot be read afterwards. Stop the jobs that write these tables first: their appends
    fail meanwhile. The same command completes an interrupted erasure. The command asks for
    confirmation.

    For example: matchlake erase-user 42 --env dev --report erased.json (scripts: `yes | ...`)
    """
    config = load_config(env, overrides or [], conf_dir)
    typer.confirm(f"Erase {user!r} from all tables, and their older versions?", abort=True)
    lakehouse = start_quietly(config, "erase-user").lakehouse
    erased = erasure(config, lakehouse, user, mentions=mentions).run(table_names(lakehouse, config))
    files = files_of_user(config, lakehouse, user)
    _print(erased, files, Console())
    if report:
        tables = [dataclasses.asdict(each) for each in erased]
        told = {"user": user, "tables": tables, "files": files, "elsewhere": _ELSEWHERE}
        report.write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")
    if any(each.left for each in erased):
        raise ReconciliationError("Some rows are still there: was a job writing? Run it again.")


def erasure(config: JobConfig, lakehouse: Lakehouse, user: str, *, mentions: bool) -> Erasure:
    """The erasure of one user from the tables that conf speaks of."""
    ledgers = [
        Ledger(name, stream, config.ingest.ledger, lakehouse)
        for name, stream in config.streams.items()
    ]
    return Erasure(user, ledgers, _conditions(config, user), lakehouse, mentions)


def files_of_user(config: JobConfig, lakehouse: Lakehouse, user: str) -> list[str]:
    """The lake's files that hold the user; loaded anew, they bring him back."""
    sources = {n: s for n, s in config.lake.sources.items() if USER_ID in s.columns}
    folder = lake_folder(config.lake, config.lakehouse) if sources else ""
    found: set[str] = set()
    for name in sources:
        load = lake_load(name, config.lake, folder, config.checkpoints, lakehouse)
        found.update(load.files_with(USER_ID, user))
    return sorted(found)


def _conditions(config: JobConfig, user: str) -> dict[str, str]:
    """Where a user stands in rows that have no column of users: refused rows, distributions."""
    said = quote_text(user)
    of_users = f"column_name IN ({', '.join(map(quote_text, COLUMNS))})"
    in_lists = " OR ".join(f"array_contains({c}_categories, {said})" for c in ("new", "gone"))
    rows = [
        f"source = {quote_text(name)}"
        f" AND {row_names_user({USER_ID, source.columns[USER_ID].path or USER_ID}, user)}"
        for name, source in config.lake.sources.items()
        if USER_ID in source.columns
    ]
    refused = {config.lake.quarantine: " OR ".join(rows)} if rows else {}
    return {
        **refused,
        COLUMN_PROFILES.name: f"{of_users} AND category = {said}",
        DRIFT.name: f"{of_users} AND ({in_lists})",
    }


def _print(erased: list[Erased], files: list[str], console: Console) -> None:
    page = Table("table", "rows", "quarantined", "other mentions", "left")
    for each in erased:
        numbers = (each.rows, each.quarantined, each.mentions, each.left)
        page.add_row(each.table, *map(str, numbers))
    console.print(page)
    for each in erased:
        if each.hours:
            console.print(
                f"{each.table}: old files still hold the user. They cannot be removed now, and can "
                f"be when they are {each.hours:g} hours old: run maintain_tables then."
            )
    if files:
        console.print(
            f"Files that hold the user; loaded anew, they bring him back: {', '.join(files)}."
        )
    console.print(_ELSEWHERE)
