"""Parameters of `score_events`, which scores the events of streams. It does not import Spark."""

import re
from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from matchlake.params import Params, Settable
from matchlake.training.model_params import ModelName

_TOPIC = r"^[A-Za-z0-9._-]{1,249}$"
_INTERVAL = re.compile(r"(\d+) (second|minute|hour)s?")
_SECONDS = {"second": 1, "minute": 60, "hour": 3600}
_SHORTEST_BATCH = 5


class EventScoring(Params):
    """A stream whose events a model scores, and the topic of the scores."""

    stream: str
    """The declared stream of the events; its format must be json."""
    model: ModelName
    """A model of conf, or `recommender`, which scores pairs of a user and an item; its champion."""
    topic: str = Field(pattern=_TOPIC)
    """The topic of the scores: one record per event, with its topic, partition and offset."""
    dead_letter_topic: str | None = Field(None, pattern=_TOPIC)
    """Dead letter topic of events without a score, as received. Null: `topic` gets a record with
    the reason in `refusal`."""
    mode: Literal["auto", "real_time", "micro_batch"] = "auto"
    """auto: real-time mode if possible, else micro-batches, with the reason in the log. real_time:
    the job fails if real-time mode is not possible."""
    starting_offsets: Literal["latest", "earliest"] = "latest"
    """Where a new checkpoint starts to read."""

    @model_validator(mode="after")
    def _refuse_same_topics(self) -> Self:
        if self.topic == self.dead_letter_topic:
            raise ValueError("topic and dead_letter_topic must be different")
        return self


class ScoreEventsParams(Params):
    """The streams that `score_events` scores."""

    streams: dict[ModelName, EventScoring] = Field(default_factory=dict)
    """The streams by name; the checkpoint has the same name."""
    names: Settable[tuple[str, ...] | None] = None
    """Names of the streams that a run scores; null: all."""
    batch: Settable[str] = "30 seconds"
    """In real-time mode, the interval of checkpoints, at least 5 seconds. After a failure, the
    events since the last checkpoint are scored again."""
    trigger: Settable[str] = "0 seconds"
    """For micro-batches, the time between two batches; or available_now: the run scores all
    available events, and ends."""
    check_seconds: float = Field(30, gt=0)
    """Seconds between two checks for a new champion and for erased users. A change restarts the
    query."""

    @field_validator("batch")
    @classmethod
    def _validate_batch(cls, text: str) -> str:
        found = _INTERVAL.fullmatch(text)
        if not found or int(found[1]) * _SECONDS[found[2]] < _SHORTEST_BATCH:
            raise ValueError(
                f"{text!r} is not an interval of at least 5 seconds, such as 30 seconds"
            )
        return text

    @field_validator("trigger")
    @classmethod
    def _validate_trigger(cls, text: str) -> str:
        if text != "available_now" and not _INTERVAL.fullmatch(text):
            raise ValueError(f"{text!r} is neither available_now nor an interval: 10 seconds")
        return text

    @model_validator(mode="after")
    def _validate_names(self) -> Self:
        unknown = [name for name in self.names or () if name not in self.streams]
        if unknown:
            declared = ", ".join(self.streams) or "none"
            raise ValueError(f"names: {unknown[0]} is not a declared stream; declared: {declared}")
        taken = [each.topic for each in self.streams.values()]
        if len(set(taken)) != len(taken):
            raise ValueError("two streams write to one topic, so their offsets would be ambiguous")
        return self

    @property
    def chosen_streams(self) -> dict[str, EventScoring]:
        """Returns the streams of `names`; all streams if it is not set."""
        chosen = self.names
        return {n: each for n, each in self.streams.items() if chosen is None or n in chosen}
