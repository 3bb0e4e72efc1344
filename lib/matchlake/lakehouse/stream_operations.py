"""Reconciles streams and replays their quarantine, for the command line and the jobs alike."""

import logging
from collections.abc import Iterator
from typing import Any, NamedTuple

from matchlake.config import JobConfig
from matchlake.errors import ConfigError, ReconciliationError, SecretError, SourceError
from matchlake.ingest.params import ReconcileParams, ReplayParams
from matchlake.ingest.streams.audit import Ledger
from matchlake.ingest.streams.entries import Counts
from matchlake.ingest.streams.gaps import AskBroker, Explain, Gaps
from matchlake.ingest.streams.replay import Replay
from matchlake.ingest.streams.runner import IngestParams, chosen_streams
from matchlake.io.brokers import configured_broker
from matchlake.io.delta import Lakehouse
from matchlake.io.erasure_marks import warn_of_erasures
from matchlake.io.secrets import SecretStore

_log = logging.getLogger(__name__)


class StreamReport(NamedTuple):
    """What the reconciliation of one stream found, as one line of text."""

    stream: str
    text: str
    is_reconciled: bool


def reconcile_streams(
    config: JobConfig, lakehouse: Lakehouse, secrets: SecretStore, params: ReconcileParams
) -> Iterator[StreamReport]:
    """Reconciles the streams of `params`, one after the other.

    Reads the tables of a stream, and asks its broker only for the causes of new gaps. A stream
    without a table counts as reconciled. Raises ConfigError for a stream that is not declared.
    """
    for ledger in stream_ledgers(config, lakehouse, params.streams):
        if not lakehouse.exists(ledger.stream.table):
            text = f"{ledger.name}: no table {ledger.stream.table} yet."
            yield StreamReport(ledger.name, text, is_reconciled=True)
            continue
        warn_of_erasures(lakehouse, [ledger.stream.table])
        explain = gap_causes(config, secrets, ledger.stream.topic)
        try:
            counts = ledger.prove(explain, rebuild=params.rebuild).whole
        except ReconciliationError as error:
            text = f"{ledger.name}: NOT reconciled. {error}"
            yield StreamReport(ledger.name, text, is_reconciled=False)
        else:
            yield StreamReport(ledger.name, counts_text(ledger, counts), is_reconciled=True)


def replay_quarantine(
    config: JobConfig, lakehouse: Lakehouse, secrets: SecretStore, params: ReplayParams
) -> Iterator[str]:
    """Parses the quarantined records of one stream again; gives a line of text per step.

    The records that pass become good rows in one commit; then the stream is reconciled. Raises
    ConfigError without a declared stream, ReconciliationError as `reconcile` does.
    """
    if params.stream is None:
        raise ConfigError("No stream to replay: name one with --stream, or as replay.stream.")
    (ledger,) = stream_ledgers(config, lakehouse, (params.stream,))
    replay = Replay(ledger.stream, lakehouse, params.reasons, params.since, params.fix)
    done = replay.run(ledger)
    yield (
        f"{ledger.name}: {done.tried} quarantined records parsed again: {done.passed} are good "
        f"now, {done.tried - done.passed} are still quarantined."
    )
    explain = gap_causes(config, secrets, ledger.stream.topic)
    yield counts_text(ledger, ledger.prove(explain).whole)


def stream_ledgers(
    config: JobConfig, lakehouse: Lakehouse, streams: tuple[str, ...] | None
) -> list[Ledger]:
    """The ledgers of the named streams, or of all; raises ConfigError for an undeclared one."""
    if not config.streams:
        raise ConfigError("Conf declares no streams.")
    chosen = chosen_streams(config.streams, IngestParams(streams=streams))
    ledgers = [
        Ledger(name, stream, config.ingest.ledger, lakehouse) for name, stream in chosen.items()
    ]
    ledgers[0].prepare()
    return ledgers


def gap_causes(config: JobConfig, secrets: SecretStore, topic: str) -> Explain:
    """Asks the broker for the causes of gaps; finds none where the broker cannot be reached."""

    def ask(*missing: Any) -> Gaps:
        try:
            broker = configured_broker(config.kafka, config.lakehouse, secrets)
            return AskBroker(broker.client_options(), topic)(*missing)
        except (ConfigError, SecretError, SourceError) as error:
            _log.warning("topic %s: the broker gives no causes of gaps: %s", topic, error)
            return []

    return ask


def counts_text(ledger: Ledger, counts: Counts) -> str:
    """The offsets of a reconciled stream, and what became of them."""
    gaps = ", ".join(f"{records} {reason}" for reason, records in ledger.gaps().items())
    return (
        f"{ledger.name}: reconciled. {counts.offsets} offsets = {counts.good} good + "
        f"{counts.quarantined} quarantined + {counts.erased} erased + {counts.gaps} in gaps"
        f"{f' ({gaps})' if gaps else ''}."
    )
