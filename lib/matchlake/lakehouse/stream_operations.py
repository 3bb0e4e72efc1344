"""Reconciles streams and replays their quarantine, for the command line and the jobs alike."""

import logging
from collections.abc import Iterator
from typing import Any, NamedTuple

from matchlake.config import JobConfig
from matchlake.errors import ConfigError, ReconciliationError, SecretError, SourceError
from matchlake.ingest.params import IngestParams, ReconcileParams, ReplayParams
from matchlake.ingest.streams.audit import BatchLog
from matchlake.ingest.streams.entries import Counts
from matchlake.ingest.streams.gaps import BrokerCauses, FindCauses, Gaps
from matchlake.ingest.streams.replay import Replay
from matchlake.ingest.streams.runner import chosen_streams
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
    for batch_log in stream_batch_logs(config, lakehouse, params.streams):
        if not lakehouse.exists(batch_log.stream.table):
            text = f"{batch_log.name}: no table {batch_log.stream.table} yet."
            yield StreamReport(batch_log.name, text, is_reconciled=True)
            continue
        warn_of_erasures(lakehouse, [batch_log.stream.table])
        causes = gap_causes(config, secrets, batch_log.stream.topic)
        try:
            counts = batch_log.reconcile(causes, rebuild=params.rebuild).total
        except ReconciliationError as error:
            text = f"{batch_log.name}: NOT reconciled. {error}"
            yield StreamReport(batch_log.name, text, is_reconciled=False)
        else:
            yield StreamReport(batch_log.name, counts_text(batch_log, counts), is_reconciled=True)


def replay_quarantine(
    config: JobConfig, lakehouse: Lakehouse, secrets: SecretStore, params: ReplayParams
) -> Iterator[str]:
    """Parses the quarantined records of one stream again. Yields a line of text per step.

    The records that pass become valid rows in one commit; then the stream is reconciled. Raises
    ConfigError without a declared stream, ReconciliationError as `reconcile` does.
    """
    if params.stream is None:
        raise ConfigError("No stream to replay: name one with --stream, or as replay.stream.")
    (batch_log,) = stream_batch_logs(config, lakehouse, (params.stream,))
    replay = Replay(batch_log.stream, lakehouse, params.error_codes, params.since, params.fix)
    done = replay.run(batch_log)
    yield (
        f"{batch_log.name}: {done.tried} quarantined records parsed again: {done.passed} are valid "
        f"now, {done.tried - done.passed} are still quarantined."
    )
    causes = gap_causes(config, secrets, batch_log.stream.topic)
    yield counts_text(batch_log, batch_log.reconcile(causes).total)


def stream_batch_logs(
    config: JobConfig, lakehouse: Lakehouse, streams: tuple[str, ...] | None
) -> list[BatchLog]:
    """The batch logs of the named streams, or of all. Raises ConfigError if one is undeclared."""
    if not config.streams:
        raise ConfigError("Conf declares no streams.")
    chosen = chosen_streams(config.streams, IngestParams(streams=streams))
    batch_logs = [
        BatchLog(name, stream, config.ingest.batch_log, lakehouse)
        for name, stream in chosen.items()
    ]
    batch_logs[0].prepare()
    return batch_logs


def gap_causes(config: JobConfig, secrets: SecretStore, topic: str) -> FindCauses:
    """Returns the causes of gaps from the broker; no cause if the broker cannot be reached."""

    def ask(*missing: Any) -> Gaps:
        try:
            broker = configured_broker(config.kafka, config.lakehouse, secrets)
            return BrokerCauses(broker.client_options(), topic)(*missing)
        except (ConfigError, SecretError, SourceError) as error:
            _log.warning("topic %s: the broker gives no causes of gaps: %s", topic, error)
            return []

    return ask


def counts_text(batch_log: BatchLog, counts: Counts) -> str:
    """The offsets of a reconciled stream, and what became of them."""
    gaps = ", ".join(f"{records} {cause}" for cause, records in batch_log.gaps().items())
    return (
        f"{batch_log.name}: reconciled. {counts.offsets} offsets = {counts.valid} valid + "
        f"{counts.quarantined} quarantined + {counts.erased} erased + {counts.gaps} in gaps"
        f"{f' ({gaps})' if gaps else ''}."
    )
