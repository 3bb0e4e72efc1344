"""The prediction log: one event per answered row, sent to a topic by a background thread.

A request only appends to a bounded queue. An event is lost, and counted, if the queue is full or
the process ends before delivery. With a buffer, events wait in a SQLite file instead.
"""

import json
import logging
import math
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any, NamedTuple, Protocol

from matchlake.errors import MatchlakeError
from matchlake.serve.event_buffer import EventBuffer
from matchlake.serve.metrics import Metrics

_log = logging.getLogger(__name__)
_IDLE_SECONDS, _RETRY_SECONDS = 0.05, 1.0
_BATCH = 500

SENT, LOST = "matchlake_events_sent_total", "matchlake_events_lost_total"


class Answered(NamedTuple):
    """A request and its response, in the queue."""

    id: str
    seconds: float
    """The time, in seconds since 1970."""
    model: str
    version: str
    inputs: Mapping[str, Sequence[Any]]
    """The values of each column, one per row."""
    outputs: Mapping[str, Sequence[Any]]
    features_hash: str | None = None
    users: Sequence[str | None] = ()
    """The user of each row, for a recommender; users that must not be logged are already
    removed."""


Done = Callable[[Exception | None], Any]
"""Called with the error of a send, or with None after delivery."""


class RefusedEventError(ValueError):
    """An event that the broker will never accept, such as an event that is too large."""


class Producer(Protocol):
    """Sends events: the part of kafka-python's producer that the log needs."""

    def send(self, key: bytes, value: bytes, done: Done) -> None:
        """Sends one event; raises OSError without a broker.

        `done` gets RefusedEventError if the broker will never accept the event.
        """

    def flush(self, seconds: float) -> None:
        """Waits until all sent events are delivered or have failed."""

    def close(self) -> None:
        """Closes the connection."""


class PredictionLog:
    """Sends events in the background. `connect` must raise OSError if no broker answers."""

    def __init__(
        self,
        connect: Callable[[], Producer],
        most: int,
        metrics: Metrics,
        buffer: EventBuffer | None = None,
    ) -> None:
        self._connect, self._most, self._metrics, self._buffer = connect, most, metrics, buffer
        self._queue: deque[Answered] = deque()
        self._rows = 0
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._producer: Producer | None = None
        self._thread = threading.Thread(target=self._work, name="prediction log", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """The number of events in the queue."""
        return self._rows

    def offer(self, answered: Answered) -> None:
        """Queues the events of a response, or counts them as lost. Never waits for the broker."""
        rows = _rows(answered)
        with self._lock:
            if self._rows + rows > self._most:
                self._metrics.count(LOST, rows)
                return
            self._rows += rows
            self._queue.append(answered)

    def close(self, seconds: float) -> None:
        """Sends waiting events for at most `seconds`; counts the rest as lost."""
        self._stop.set()
        self._thread.join(seconds)
        with self._lock:
            left, self._rows = self._rows, 0
            self._queue.clear()
        self._metrics.count(LOST, left)

    def _work(self) -> None:
        while not (self._stop.is_set() and not self._queue):
            try:
                wait = self._round()
            except Exception as error:  # noqa: BLE001 - the log goes on; values are not logged
                _log.warning("the prediction log failed: %s", type(error).__name__)
                wait = _RETRY_SECONDS
            if wait == _RETRY_SECONDS and self._stop.is_set() and self._buffer is None:
                break
            self._stop.wait(wait)
        if self._producer is not None:
            self._producer.flush(_RETRY_SECONDS)
            self._producer.close()
        if self._buffer is not None:
            self._buffer.close()

    def _round(self) -> float:
        """Sends waiting events. Returns the seconds until the next round."""
        if self._producer is None and not self._reconnect():
            if self._buffer is not None:
                self._keep()
            return _RETRY_SECONDS
        # Sends the queue first, so that a damaged buffer does not stop it.
        sent = self._send_queued() + self._send_kept()
        if self._producer is None:
            return _RETRY_SECONDS
        return 0.0 if sent else _IDLE_SECONDS

    def _reconnect(self) -> bool:
        try:
            self._producer = self._connect()
        except (OSError, MatchlakeError) as error:
            _log.warning("the prediction log has no broker: %s", error)
            return False
        return True

    def _send_queued(self) -> int:
        sent = 0
        for key, value in self._taken():
            self._send(key, value)
            sent += 1
        return sent

    def _send_kept(self) -> int:
        """Sends the events of the buffer; removes an event after delivery."""
        if self._buffer is None or self._producer is None:
            return 0
        kept = self._buffer.peek(_BATCH)
        arrived: list[int] = []
        for number, key, value in kept:
            self._send(key, value, partial(_note, arrived, number))
        if kept:
            if self._producer is not None:
                self._producer.flush(_RETRY_SECONDS * 10)
            self._buffer.remove(arrived)
        return len(arrived)

    def _send(self, key: bytes, value: bytes, done: Done | None = None) -> None:
        def finished(error: Exception | None) -> None:
            if error is None:
                self._metrics.count(SENT)
            elif isinstance(error, RefusedEventError):
                self._metrics.count(LOST)
                _log.warning("an event of the prediction log was lost: %s", error)
            elif done is None:
                self._lose(key, value)
            if done is not None:
                done(error)

        if self._producer is None:
            finished(OSError("no broker"))
            return
        try:
            self._producer.send(key, value, finished)
        except OSError as error:
            _log.warning("the prediction log lost its broker: %s", error)
            self._producer.close()
            self._producer = None
            finished(error)

    def _lose(self, key: bytes, value: bytes) -> None:
        if self._buffer is None:
            self._metrics.count(LOST)
        else:
            self._metrics.count(LOST, self._buffer.add([(key, value)]))

    def _keep(self) -> None:
        """Moves the queue into the buffer."""
        assert self._buffer is not None  # noqa: S101 - asked before
        self._metrics.count(LOST, self._buffer.add(list(self._taken())))

    def _taken(self) -> Iterator[tuple[bytes, bytes]]:
        """Removes and yields the events at the head of the queue."""
        for _ in range(_BATCH):
            with self._lock:
                if not self._queue:
                    return
                answered = self._queue.popleft()
                self._rows -= _rows(answered)
            yield from events_of(answered)


def _note(done: list[int], number: int, error: Exception | None) -> None:
    """Records an event that need not be sent again."""
    if error is None or isinstance(error, RefusedEventError):
        done.append(number)


def _rows(answered: Answered) -> int:
    return len(next(iter(answered.outputs.values()), ()))


def events_of(answered: Answered) -> Iterator[tuple[bytes, bytes]]:
    """Yields the key and the JSON of each row's event, with bronze.prediction_events' columns."""
    time_ = datetime.fromtimestamp(answered.seconds, UTC).isoformat(timespec="microseconds")
    for row in range(_rows(answered)):
        key = f"{answered.id}-{row}"
        outputs = {name: values[row] for name, values in answered.outputs.items()}
        event = {
            "id": key,
            "predicted_at": time_,
            "model": answered.model,
            "version": answered.version,
            "user_id": answered.users[row] if answered.users else None,
            "features_hash": answered.features_hash,
            "inputs": _json({name: _plain(v[row]) for name, v in answered.inputs.items()}),
            "outputs": _json(outputs),
            "score": _score(outputs),
            "propensity": 1.0,
        }
        yield key.encode(), _json(event).encode()


def _score(outputs: Mapping[str, Any]) -> float | None:
    """Returns the prediction, the label's probability, or the best item's score of a row."""
    for name in ("prediction", "probabilities", "score"):
        value = outputs.get(name)
        if isinstance(value, list):
            value = max((each for each in value if each is not None), default=None)
        if isinstance(value, int | float):
            return float(value)
    return None


def _plain(value: Any) -> Any:
    """Returns None for NaN, which JSON lacks; both mean a missing value to the model."""
    return None if isinstance(value, float) and math.isnan(value) else value


def _json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))
