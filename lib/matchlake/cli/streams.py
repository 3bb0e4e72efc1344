"""The command line's `reconcile`, `replay-quarantine` and `watch`."""

import time
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.live import Live
from rich.table import Table

from matchlake.cli.sql.commands import ConfDir, Environment, Overrides
from matchlake.cli.sql.launch import start_quietly
from matchlake.config import load_config
from matchlake.errors import ConfigError, ReconciliationError, SecretError, SourceError
from matchlake.ingest.streams.audit import Counts, Ledger
from matchlake.ingest.streams.gaps import AskBroker, Explain, Gaps
from matchlake.ingest.streams.progress import Progress, read_progress
from matchlake.ingest.streams.replay import Replay
from matchlake.ingest.streams.runner import IngestParams, chosen_streams
from matchlake.io.brokers import configured_broker
from matchlake.io.erasure_marks import pending_erasure
from matchlake.runtime import Runtime

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
    """Proves from the tables alone that each offset that was read is in exactly one place.

    That is one row, good, quarantined or erased, or a gap whose reason is known. The broker is
    asked only for the reason of a gap that is new. Exits with 1, and names the ranges, where it
    is not so.
    """
    runtime = start_quietly(load_config(env, overrides or [], conf_dir), "reconcile")
    failed = 0
    for ledger in _ledgers(runtime, streams):
        ask = _asking(runtime, ledger.stream.topic)
        if not runtime.lakehouse.exists(ledger.stream.table):
            typer.echo(f"{ledger.name}: no table {ledger.stream.table} yet.")
            continue
        pending = pending_erasure(runtime.lakehouse, ledger.stream.table)
        if pending:
            typer.echo(pending, err=True)
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
    """Reads quarantined records again with the columns that conf declares now.

    Those that pass become good rows where they are, in one commit, and the ledger follows; the
    others get their new reason, or keep theirs where a fix was tried. For example:
    --reason not_allowed --fix "lower(value)"
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


def watch(
    *,
    once: Annotated[bool, typer.Option("--once", help="shows it once, and ends")] = False,
    env: Environment = "local",
    overrides: Overrides = None,
    conf_dir: ConfDir = None,
) -> None:
    """Shows what the streams of `ingest_events` do, live, until Ctrl-C."""
    config = load_config(env, overrides or [], conf_dir)
    if not config.lakehouse:
        raise ConfigError(f"--env {env} is no laptop: its streams tell their progress in the log.")
    console = Console()
    if once:
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
    """One row a stream, and how long ago it told."""
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
