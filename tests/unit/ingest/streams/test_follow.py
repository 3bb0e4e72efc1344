"""Streams that run side by side, while the broker does not answer for a moment."""

import logging
from types import SimpleNamespace
from typing import Any, cast

import pytest

from matchlake.errors import UnreachableError
from matchlake.ingest.params import IngestParams
from matchlake.ingest.streams.entries import Counts
from matchlake.ingest.streams.runner import PreparedStream, follow


class Stream:
    """A stream that ends at its third turn; at the turns `away` the broker does not answer."""

    def __init__(self, *away: int) -> None:
        self.name, self.turn, self.away = "s", 0, away
        self.reconciled: list[int] = []

    def start(self, _trigger: str) -> Any:
        return SimpleNamespace(stop=lambda: None)

    def ended(self, _query: Any, _seconds: float) -> bool:
        self.turn += 1
        return self.turn == 3

    def account(self, *, reconcile: bool) -> Counts:
        self.reconciled += [self.turn] if reconcile else []
        if self.turn in self.away:
            raise UnreachableError("nobody answers")
        return Counts(offsets=1, valid=1)

    def require_same_topic(self) -> None:
        pass


def followed(stream: Stream, **keys: Any) -> list[int]:
    results = follow([cast("PreparedStream", stream)], IngestParams(**keys))
    return [stream.turn for _ in results]


def test_follow_unreachable_broker_continues(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.WARNING, "matchlake")
    assert followed(Stream(1, 2)) == [3]
    assert caplog.text.count("s: the broker does not answer; the next check asks again") == 2


def test_follow_unreachable_broker_at_end_raises() -> None:
    with pytest.raises(UnreachableError):
        followed(Stream(3))


@pytest.mark.parametrize(("reconcile", "turns"), [(False, []), (True, [3])])
def test_follow_reconcile_at_end_reconciles_once(*, reconcile: bool, turns: list[int]) -> None:
    stream = Stream()
    assert followed(stream, reconcile_at_end=reconcile) == [1, 2, 3]
    assert stream.reconciled == turns
