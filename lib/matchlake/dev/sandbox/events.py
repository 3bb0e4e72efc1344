"""Ratings as Kafka events."""

import json
from collections.abc import Iterable, Iterator

import numpy as np
import numpy.typing as npt
import pandas as pd

from matchlake.dev.sandbox.topics import Event


def rating_events(ratings: Iterable[pd.DataFrame]) -> Iterator[Event]:
    """One event per rating, in order; the key is the user.

    Reads user_id, item_id, rating, event_time. The value is a JSON object of these four fields,
    with event_time as ISO 8601 in UTC, in milliseconds.
    """
    for frame in ratings:
        times = np.datetime_as_string(_utc(frame["event_time"]), unit="ms", timezone="UTC")
        rows = zip(frame["user_id"], frame["item_id"], frame["rating"].tolist(), times, strict=True)
        for user, item, rating, time in rows:
            fields = {"user_id": user, "item_id": item, "rating": rating, "event_time": str(time)}
            yield Event(str(user).encode(), to_json(fields))


def to_json(value: object) -> bytes:
    """`value` as compact JSON in UTF-8."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def _utc(times: pd.Series) -> npt.NDArray[np.datetime64]:
    return np.asarray(times.dt.tz_convert("UTC").dt.tz_localize(None))
