"""Broken and unusual events of every kind, each with its expected quarantine reason."""

import itertools
import json
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from matchlake.dev.sandbox.events import rating_events, to_json
from matchlake.dev.sandbox.topics import Event


@dataclass(frozen=True)
class OddEvent:
    """A broken or unusual event, and its expected quarantine reason."""

    kind: str
    """What is unusual, such as `truncated` or `rating above`."""
    event: Event
    reason: str | None
    """The expected quarantine reason; None for an event that must be accepted."""


Change = Callable[[dict[str, Any]], bytes | None]


def _without(field: str) -> Change:
    return lambda fields: to_json({name: fields[name] for name in fields if name != field})


def _with(**changes: object) -> Change:
    return lambda fields: to_json({**fields, **changes})


# By kind: the expected reason, and a function from the fields of a valid event to a broken value.
_KINDS: dict[str, tuple[str | None, Change]] = {
    "tombstone": ("tombstone", lambda _: None),
    "empty": ("empty", lambda _: b""),
    "blank": ("empty", lambda _: b" \n"),
    "invalid UTF-8": (
        "invalid_utf8",
        lambda fields: to_json(fields).replace(b'"item_id":"', b'"item_id":"\xff'),
    ),
    "truncated": ("malformed_json", lambda fields: to_json(fields)[:-9]),
    "not JSON": ("malformed_json", lambda fields: "|".join(map(str, fields.values())).encode()),
    "two objects": ("malformed_json", lambda fields: to_json(fields) * 2),
    "array": ("not_an_object", lambda fields: to_json(list(fields.values()))),
    "number": ("not_an_object", lambda _: b"42"),
    "null": ("not_an_object", lambda _: b"null"),
    "no user_id": ("missing_field", _without("user_id")),
    "no item_id": ("missing_field", _without("item_id")),
    "no rating": ("missing_field", _without("rating")),
    "no event_time": ("missing_field", _without("event_time")),
    "null user_id": ("null_field", _with(user_id=None)),
    "null rating": ("null_field", _with(rating=None)),
    "user_id is an array": (
        "wrong_type",
        lambda fields: _with(user_id=[fields["user_id"]])(fields),
    ),
    "rating is a word": ("wrong_type", _with(rating="five")),
    "rating is an object": ("wrong_type", _with(rating={"stars": 4})),
    "event_time is no time": ("wrong_type", _with(event_time="yesterday")),
    "rating above": ("out_of_range", _with(rating=5.5)),
    "rating below": ("out_of_range", _with(rating=-1)),
    "rating far out": ("out_of_range", _with(rating=1e300)),
    "unknown field": (None, _with(client={"app": "web", "build": 7})),
    "duplicate": (None, to_json),
    "late": (None, _with(event_time="1990-01-01T00:00:00.000Z", rating=1.0)),
}


QUARANTINE_REASONS = tuple(dict.fromkeys(reason for reason, _ in _KINDS.values() if reason))
"""All quarantine reasons that `broken_events` expects."""


def broken_events(ratings: pd.DataFrame, seed: int, count: int) -> list[OddEvent]:
    """`count` unusual events, made from ratings drawn with `seed`, of each kind in turn.

    The accepted kinds repeat a rating: unchanged, with an unknown field, or with an older time.
    So the last rating of each user and item stays the same. One quarantined event in three has
    no key.
    """
    draw = random.Random(seed)  # noqa: S311 - a repeatable draw, no secret
    rows = [draw.randrange(len(ratings)) for _ in range(count)]
    odd = []
    for number, event in enumerate(rating_events([ratings.iloc[rows]])):
        kind = [*_KINDS][number % len(_KINDS)]
        reason, change = _KINDS[kind]
        key = None if reason and number % 3 == 0 and kind != "tombstone" else event.key
        odd.append(OddEvent(kind, Event(key, change(json.loads(event.value or b""))), reason))
    return odd


def mix_in(events: Iterable[Event], odd: Sequence[OddEvent], every: int) -> Iterator[Event]:
    """`events` in order, with one of `odd` after every `every` events; the rest at the end."""
    waiting = iter(odd)
    for number, event in enumerate(events, 1):
        yield event
        if number % every == 0:
            yield from (one.event for one in itertools.islice(waiting, 1))
    yield from (one.event for one in waiting)
