"""The cause of a failed streaming query, as an error of matchlake with instructions."""

import re

import matchlake.errors
from matchlake.errors import (
    CheckpointMismatchError,
    MatchlakeError,
    SourceError,
    TableError,
)
from matchlake.ingest.params import StreamParams

_OTHER_RUN = (
    "ConcurrentTransaction",
    "CONCURRENT_TRANSACTION",
    "CONCURRENT_STREAM_LOG_UPDATE",
    "CONCURRENT_QUERY",
    "Multiple streaming queries are concurrently using",
    "another active query with same",
    "already active",
)

_LOST_WORKER = re.compile(
    r"Python worker exited unexpectedly|ExecutorLostFailure|Remote RPC client disassociated"
)


def is_lost_worker(error: Exception) -> bool:
    """Whether a task failed because its Python process or its executor ended."""
    return _LOST_WORKER.search(str(error)) is not None


def explained(name: str, stream: StreamParams, error: Exception) -> Exception:
    """The cause of a failed query as an error of matchlake; the error itself if it is unknown."""
    text = str(error)
    own = re.search(r"matchlake\.errors\.(\w+): (.*)", text)
    kind = getattr(matchlake.errors, own[1], None) if own else None
    if own and isinstance(kind, type) and issubclass(kind, MatchlakeError):
        return kind(own[2].replace("\\n", " "))
    if "KAFKA_DATA_LOSS" in text or "data may have been lost" in text:
        return SourceError(
            f"{name}: Kafka no longer retains all unread records of topic {stream.topic}. The "
            "records read before are in the table. To continue after the lost ones, with a gap in "
            f"the batch log: set streams.{name}.on_data_loss: record in conf"
        )
    full = re.search(r"No space left on device|File too large|Disk quota exceeded", text)
    if full:
        return TableError(
            f"{name}: {stream.table} cannot be written: {full[0]}. The batch is not in it; the "
            "next run reads it again. Free some space first."
        )
    if any(phrase in text for phrase in _OTHER_RUN):
        return CheckpointMismatchError(
            f"{name}: another run of this stream is under way with the same checkpoint. Let one of "
            "them end; nothing was written twice."
        )
    return error
