"""`matchlake reconcile`, `replay-quarantine` and `streams status`."""

import json
import time
from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.console import Console
from rich.live import Live
from rich.table import Table

from matchlake.cli.launch import start_quietly
from matchlake.cli.options import ConfDir, Environment, Overrides
from matchlake.config import load_config
from matchlake.errors import ConfigError
from matchlake.ingest.params import ReconcileParams
from matchlake.ingest.streams.progress import Progress, read_progress
from matchlake.lakehouse.stream_operations import reconcile_streams
from matchlake.lakehouse.stream_operations import replay_quarantine as replay

streams_app = typer.Typer(
    no_args_is_help=True, help="Shows the state of the streams that `ingest_events` reads."
)

Streams = Annotated[list[str] | None, typer.Argument(help="streams of conf; default: all")]


def reconcile(
    streams: Streams = None,
    *,
    rebuild: Annotated[
        bool, typer.Option("--rebuild", help="first write the batch log again from the tables")
    ] = False,
    env: Environment = "local",
    overrides: Overrides = None,
    conf_dir: ConfDir = None,
) -> None:
    """Checks that the tables account for every offset that was read.

    An offset has one row, valid, quarantined or erased, or lies in a gap with a recorded cause.
    The broker is asked only for the cause of a new gap. Exits with 1 and names the offset ranges
    that are not accounted for.

    For example: matchlake reconcile rating_events --env dev
    """
    runtime = start_quietly(load_config(env, overrides or [], conf_dir), "reconcile")
    config, lakehouse, secrets = runtime.config, runtime.lakehouse, runtime.secrets
    declared = config.reconcile
    chosen = tuple(streams) if streams else declared.streams
    params = ReconcileParams(streams=chosen, rebuild=rebuild or declared.rebuild)
    failed = False
    for report in reconcile_streams(config, lakehouse, secrets, params):
        typer.echo(report.text, err=not report.is_reconciled)
        failed |= not report.is_reconciled
    if failed:
        raise typer.Exit(1)


def replay_quarantine(
    stream: Annotated[str, typer.Argument(help="the stream, as conf names it")],
    *,
    error_code: Annotated[
        list[str] | None, typer.Option(help="only records with this code; may be repeated")
    ] = None,
    since: Annotated[
        str | None,
        typer.Option(help="only records received from then on: 2024-05-01T10:00:00Z"),
    ] = None,
    fix: Annotated[
        str | None,
        typer.Option(help="SQL of the text to parse instead, of value, key, _error_message"),
    ] = None,
    env: Environment = "local",
    overrides: Overrides = None,
) -> None:
    """Parses quarantined records again with the columns that conf declares now.

    Records that are valid now become valid rows at the same offset, in one commit. The batch log
    is updated. The others get their new error; with --fix they keep the old one.

    For example: matchlake replay-quarantine rating_events --fix "lower(value)"
    """
    chosen = {"stream": stream, "error_codes": error_code or [], "since": since, "fix": fix}
    options = [f"replay.{key}={json.dumps(value)}" for key, value in chosen.items()]
    config = load_config(env, [*(overrides or []), *options])
    runtime = start_quietly(config, "replay-quarantine")
    for line in replay(config, runtime.lakehouse, runtime.secrets, config.replay):
        typer.echo(line)


@streams_app.callback()
def streams() -> None:
    """Shows the state of the streams that `ingest_events` reads."""


@streams_app.command()
def status(
    *,
    follow: Annotated[
        bool, typer.Option("--follow", help="shows it again each second, until Ctrl-C")
    ] = False,
    env: Environment = "local",
    overrides: Overrides = None,
    conf_dir: ConfDir = None,
) -> None:
    """Shows batch, rate and lag of each stream that `ingest_events` reads on this machine.

    For example: matchlake streams status --follow
    """
    config = load_config(env, overrides or [], conf_dir)
    if not config.lakehouse:
        raise ConfigError(
            f"--env {env} has no local lakehouse: its streams write progress to the log of the job."
        )
    console = Console()
    if not follow:
        console.print(progress_table(read_progress(config.lakehouse), datetime.now(UTC)))
        return
    try:
        with Live(console=console, auto_refresh=False) as live:
            while True:
                table = progress_table(read_progress(config.lakehouse), datetime.now(UTC))
                live.update(table, refresh=True)
                time.sleep(1)
    except KeyboardInterrupt:
        raise typer.Exit from None


def progress_table(streams: list[Progress], now: datetime) -> Table:
    """One row per stream, with the age of its last report."""
    table = Table(caption=None if streams else "No stream has run yet: matchlake run ingest_events")
    table.add_column("stream")
    table.add_column("state")
    for name in ("batch", "records", "records/s", "batch s", "lag records", "lag s", "s ago"):
        table.add_column(name, justify="right")
    for each in streams:
        ago = (now - datetime.fromisoformat(each.at)).total_seconds()
        table.add_row(
            each.stream,
            each.state,
            str(each.batch),
            f"{each.records:,}",
            f"{each.records_per_second:,.0f}",
            f"{each.batch_seconds:.1f}",
            f"{each.lag_records:,}",
            f"{each.lag_seconds:.1f}",
            f"{ago:.0f}",
        )
    return table
