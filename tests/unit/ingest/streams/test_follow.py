"""Streams that run side by side, while the broker is away for a moment."""

import logging
from types import SimpleNamespace
from typing import Any, cast

import pytest

from matchlake.errors import UnreachableError
from matchlake.ingest.streams.entries import Counts
from matchlake.ingest.streams.runner import IngestParams, Prepared, follow


class Stream:
    """A stream that ends at its third turn, whose accounts meet a broker that is away at some."""

    def __init__(self, *away: int) -> None:
        self.name, self.turn, self.away = "s", 0, away
        self.proved: list[int] = []

    def start(self, _trigger: str) -> Any:
        return SimpleNamespace(stop=lambda: None)

    def ended(self, _query: Any, _seconds: float) -> bool:
        self.turn += 1
        return self.turn == 3

    def account(self, *, prove: bool) -> Counts:
        self.proved += [self.turn] if prove else []
        if self.turn in self.away:
            raise UnreachableError("nobody answers")
        return Counts(offsets=1, good=1)

    def require_same_topic(self) -> None:
        pass


def followed(stream: Stream, **keys: Any) -> list[int]:
    told = follow([cast("Prepared", stream)], IngestParams(**keys))
    return [stream.turn for _ in told]


def test_a_broker_that_is_away_for_a_while_ends_no_stream(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.WARNING, "matchlake")
    assert followed(Stream(1, 2)) == [3]
    assert caplog.text.count("s: the broker does not answer, and is asked again") == 2


def test_at_its_end_a_stream_has_to_be_accounted_for() -> None:
    with pytest.raises(UnreachableError):
        followed(Stream(3))


@pytest.mark.parametrize(("prove", "turns"), [(False, []), (True, [3])])
def test_a_run_is_proved_at_its_end_where_that_is_asked_for(
    *, prove: bool, turns: list[int]
) -> None:
    stream = Stream()
    assert followed(stream, prove=prove) == [1, 2, 3]
    assert stream.proved == turns
