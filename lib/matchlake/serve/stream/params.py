"""The parameters of `matchlake serve-stream`. This module does not import Spark."""

from typing import Literal, Self

from pydantic import Field, model_validator

from matchlake.params import Params
from matchlake.serve.online.params import OnlineName

_TOPIC = r"^[A-Za-z0-9._-]{1,249}$"


class ServeStreamParams(Params):
    """A stream of interactions, and the topics of the recommendation lists."""

    stream: str | None = None
    """The declared stream of the interactions; the command needs one."""
    user_id: str = "user_id"
    """Its column with the user; strings or integers."""
    item_id: str = "item_id"
    """Its column with the item; strings or integers."""
    value: str | None = None
    """Its column with the rating or weight; null: each event has the value 1."""
    aggregation: Literal["last", "sum", "max"] = "last"
    """How several events of an item are combined, as in silver.interactions."""
    topic: str = Field("matchlake.lists", pattern=_TOPIC)
    """The topic of the lists: one record per event, with the user as its key."""
    changelog_topic: str = Field("matchlake.histories", pattern=_TOPIC)
    """The compacted topic of the histories: the last record of a user is the history."""
    dead_letter_topic: str | None = Field(None, pattern=_TOPIC)
    """Dead letter topic of events that do not parse, lack a user or item, or are rejected by the
    model. Null: they are only counted."""
    history: OnlineName | None = None
    """A table of `online.tables`, published as an Arrow file, with the columns user_id, item_id and
    rating, such as silver.interactions. It has the history of a user before the first event. null:
    users start without a history."""
    k: int = Field(20, ge=1, le=1000)
    """The length of a list."""
    max_history: int = Field(500, ge=1, le=100_000)
    """Maximum number of items of a history; items with the oldest events are removed first."""
    cached_users: int = Field(10_000, ge=1)
    """Maximum number of histories in memory; a file on the local disk has those of all users."""
    max_batch: int = Field(200, ge=1, le=10_000)
    """Maximum number of events per transaction."""
    group: str = Field("matchlake-serve-stream", pattern=r"^[A-Za-z0-9._-]{1,200}$")
    """The consumer group and the transactional id. A second process with the same group fences the
    first."""
    check_seconds: float = Field(30, gt=0)
    """Seconds between two checks for a new champion and for erased users."""

    @model_validator(mode="after")
    def _refuse_same_topics(self) -> Self:
        topics = [self.topic, self.changelog_topic, *filter(None, [self.dead_letter_topic])]
        if len(set(topics)) != len(topics):
            raise ValueError("topic, changelog_topic and dead_letter_topic must be different")
        return self
