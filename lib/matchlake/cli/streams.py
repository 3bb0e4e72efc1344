"""The command line's `reconcile`, `replay-quarantine` and `streams status`."""

import time
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.live import Live
from rich.table import Table

from matchlake.cli.launch import start_quietly
from matchlake.cli.options import ConfDir, Environment, Overrides
from matchlake.config import load_config
from matchlake.errors import ConfigError, ReconciliationError, SecretError, SourceError
from matchlake.ingest.streams.audit import Counts, Ledger
from matchlake.ingest.streams.gaps import AskBroker, Explain, Gaps
from matchlake.ingest.streams.progress import Progress, read_progress
from matchlake.ingest.streams.replay import Replay
from matchlake.ingest.streams.runner import IngestParams, chosen_streams
from matchlake.io.brokers import configured_broker
from matchlake.runtime import Runtime

streams_app = typer.Typer(
    no_args_is_help=True, help="Shows the state of the streams that `ingest_events` reads."
)

Streams = Annotated[list[str] | None, typer.Argument(help="streams of conf; else all")]


def reconcile(
    streams: Streams = None,
    *,
    rebuild: Annotated[
        bool, typer.Option("--rebuild", help="first writes the ledger anew from the tables")
    ] = False,
    env: Environment = "local",
    overrides: Overrides = None,
    conf_dir: ConfDir = None,
) -> None:
    """Checks that the tables account for every offset that was read.

    An offset has one row, good, quarantined or erased, or lies in a gap with a recorded cause.
    The broker is asked only for the cause of a new gap. Exits with 1 and names the offset ranges
    that are not accounted for.

    For example: matchlake reconcile ratings --env dev
    """
    runtime = start_quietly(load_config(env, overrides or [], conf_dir), "reconcile")
    failed = 0
    for ledger in _ledgers(runtime, streams):
        ask = _asking(runtime, ledger.stream.topic)
        if not runtime.lakehouse.exists(ledger.stream.table):
            typer.echo(f"{ledger.name}: no table {ledger.stream.table} yet.")
            continue
        try:
            typer.echo(_told(ledger, ledger.prove(ask, rebuild=rebuild).whole))
        except ReconciliationError as error:
            typer.echo(f"{ledger.name}: NOT reconciled. {error}", err=True)
            failed += 1
    if failed:
        raise typer.Exit(1)


def replay_quarantine(
    stream: Annotated[str, typer.Argument(help="the stream, as conf names it")],
    *,
    reason: Annotated[
        list[str] | None, typer.Option(help="only with this reason; may be repeated")
    ] = None,
    since: Annotated[
        str | None, typer.Option(help="only what Kafka took from then on: 2024-05-01T10:00:00Z")
    ] = None,
    fix: Annotated[
        str | None, typer.Option(help="SQL of the text to read instead, of value, key, detail")
    ] = None,
    env: Environment = "local",
    overrides: Overrides = None,
) -> None:
    """Parses quarantined records again with the columns that conf declares now.

    Records that pass become good rows at the same offset, in one commit, and the ledger follows.
    The others get their new reason; with --fix they keep the old one.

    For example: matchlake replay-quarantine ratings --reason not_allowed --fix "lower(value)"
    """
    runtime = start_quietly(load_config(env, overrides or []), "replay-quarantine")
    (ledger,) = _ledgers(runtime, [stream])
    replay = Replay(ledger.stream, runtime.lakehouse, tuple(reason or ()), since, fix)
    done = replay.run(ledger)
    typer.echo(
        f"{stream}: {done.tried} quarantined records read again: {done.passed} are good now, "
        f"{done.tried - done.passed} still quarantined."
    )
    typer.echo(_told(ledger, ledger.prove(_asking(runtime, ledger.stream.topic)).whole))


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


def _ledgers(runtime: Runtime, streams: list[str] | None) -> list[Ledger]:
    config = runtime.config
    if not config.streams:
        raise ConfigError("Conf declares no streams.")
    chosen = chosen_streams(
        config.streams, IngestParams(streams=tuple(streams) if streams else None)
    )
    ledgers = [
        Ledger(name, stream, config.ingest.ledger, runtime.lakehouse)
        for name, stream in chosen.items()
    ]
    ledgers[0].prepare()
    return ledgers


def _asking(runtime: Runtime, topic: str) -> Explain:
    """Asks the broker why offsets have no row; where it cannot be reached, nobody."""

    def ask(*missing: Any) -> Gaps:
        config = runtime.config
        try:
            broker = configured_broker(config.kafka, config.lakehouse, runtime.secrets)
            return AskBroker(broker.client_options(), topic)(*missing)
        except (ConfigError, SecretError, SourceError) as error:
            typer.echo(f"Topic {topic}: the broker cannot be asked for gaps. {error}", err=True)
            return []

    return ask


def _told(ledger: Ledger, counts: Counts) -> str:
    gaps = ", ".join(f"{records} {reason}" for reason, records in ledger.gaps().items())
    return (
        f"{ledger.name}: reconciled. {counts.offsets} offsets = {counts.good} good + "
        f"{counts.quarantined} quarantined + {counts.erased} erased + {counts.gaps} in gaps"
        f"{f' ({gaps})' if gaps else ''}."
    )
