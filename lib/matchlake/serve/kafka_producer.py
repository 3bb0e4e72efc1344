"""The Kafka producer of the prediction log, by kafka-python."""

from collections.abc import Callable
from typing import Any

from matchlake.io.brokers import Broker
from matchlake.serve.prediction_log import RefusedEventError

_BLOCK_MS = 2_000


class KafkaEvents:
    """Sends events to one topic; raises OSError if the broker does not answer."""

    def __init__(self, broker: Broker, topic: str) -> None:
        from kafka import KafkaProducer, errors  # noqa: PLC0415 - only with a log

        self._topic, self._error = topic, errors.KafkaError
        try:
            self._producer = KafkaProducer(
                **broker.client_options(),
                acks="all",
                linger_ms=20,
                max_block_ms=_BLOCK_MS,
                bootstrap_timeout_ms=_BLOCK_MS,
                request_timeout_ms=10_000,
            )
        except (errors.KafkaError, OSError, AssertionError) as error:
            raise OSError(f"{broker.address}: {error}") from None

    def send(self, key: bytes, value: bytes, done: Callable[[Exception | None], Any]) -> None:
        """Sends one event; calls `done` with the error, or with None after delivery."""
        try:
            future = self._producer.send(self._topic, value, key)
        except (self._error, AssertionError) as error:
            explained = _explained(error)
            if isinstance(explained, RefusedEventError):
                done(explained)
                return
            raise OSError(str(error)) from None
        future.add_callback(lambda _: done(None))
        future.add_errback(lambda error: done(_explained(error)))

    def flush(self, seconds: float) -> None:
        """Waits until all sent events are delivered or have failed."""
        try:
            self._producer.flush(timeout=seconds)
        except self._error:
            return

    def close(self) -> None:
        """Closes the connection."""
        self._producer.close(timeout=1)


def _explained(error: Exception) -> Exception:
    """Returns RefusedEventError if the broker will never accept the event, else `error`."""
    from kafka import errors  # noqa: PLC0415 - only with a log

    refused = (
        errors.MessageSizeTooLargeError,
        errors.RecordListTooLargeError,
        errors.InvalidRecordError,
    )
    return RefusedEventError(str(error)) if isinstance(error, refused) else error
