"""Reads records of a topic with Kafka's Python client, also on executors."""

import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from kafka import KafkaConsumer, TopicPartition
from kafka.net.sasl.oauth import AbstractTokenProvider

from matchlake.errors import SourceError
from matchlake.io.kafka import Client, explained_errors

_SILENT_SECONDS = 30
_AUTHORITIES, _FILE = "authorities", "ssl_cafile"
_PROVIDER = "sasl_oauth_token_provider"


class _Token(AbstractTokenProvider):  # type: ignore[misc]  # kafka has no types
    """Gives one token. It does not print."""

    def __init__(self, token: str) -> None:
        super().__init__()
        self._given = token

    def token(self) -> str:
        return self._given


def portable_client(client: Client) -> dict[str, Any]:
    """The options of a client for another machine: with a token, and the text of local files.

    They hold secrets, so never log them.
    """
    options = dict(client)
    if _PROVIDER in options:
        options[_PROVIDER] = _Token(options[_PROVIDER].token())
    if file := options.pop(_FILE, None):
        options[_AUTHORITIES] = Path(file).read_text(encoding="ascii")
    return options


@contextmanager
def local_client(portable: Client) -> Iterator[Client]:
    """The options of `portable_client` on the machine that uses them."""
    options = dict(portable)
    text = options.pop(_AUTHORITIES, None)
    with tempfile.NamedTemporaryFile("w", suffix=".pem", encoding="ascii") as file:
        if text is not None:
            file.write(text)
            file.flush()
            options[_FILE] = file.name
        yield options


def records_between(
    client: Client, topic: str, ranges: Mapping[int, tuple[int, int]]
) -> Iterator[Any]:
    """The committed records of a range of offsets per partition, the end exclusive.

    Offsets without a record are left out. Raises SourceError if the broker falls silent.
    """
    for part, (first, end) in ranges.items():
        partition = TopicPartition(topic, part)
        with explained_errors(topic), closing(_consumer(client)) as consumer:
            consumer.assign([partition])
            consumer.seek(partition, first)
            heard = time.monotonic()
            while (at := consumer.position(partition)) < end:
                records = consumer.poll(timeout_ms=500).get(partition, ())
                yield from (record for record in records if record.offset < end)
                if records or consumer.position(partition) > at:
                    heard = time.monotonic()
                elif time.monotonic() > heard + _SILENT_SECONDS:
                    raise SourceError(
                        f"Topic {topic}, partition {part}: the broker gave nothing from offset "
                        f"{at} on within {_SILENT_SECONDS} seconds. Run the job again."
                    )


def _consumer(client: Client) -> KafkaConsumer:
    return KafkaConsumer(
        **client,
        enable_auto_commit=False,
        auto_offset_reset="none",
        isolation_level="read_committed",
    )
