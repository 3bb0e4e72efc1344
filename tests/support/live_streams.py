"""A ranker without a model, and a loop of `serve-stream` over a topic."""

import sys
import threading
from typing import Any

from tests.support.event_models import event_stream

from matchlake.errors import InputError
from matchlake.serve.stream.histories import History
from matchlake.serve.stream.live_lists import Listed, LiveLists
from matchlake.serve.stream.loop import StreamLoop
from matchlake.serve.stream.params import ServeStreamParams

COLUMNS: dict[str, Any] = {
    "user_id": {"type": "string", "comment": "user"},
    "item_id": {"type": "string", "comment": "item"},
    "weight": {"type": "double", "comment": "weight"},
}


class CountingRanker:
    """Ranks items by their number: its list says how long the history is, and what it sums to."""

    version = "3"

    def best(self, history: History, k: int) -> Listed:
        if any(value < 0 for value in history.values()):
            raise InputError("a weight cannot be negative")
        return [(f"n{len(history)}", sum(history.values()))][:k]


def live_params(**changes: Any) -> ServeStreamParams:
    return ServeStreamParams(stream="s", value="weight", aggregation="sum", **changes)


def live_loop(
    client: dict[str, Any], topic: str, events: int | None = None, **changes: Any
) -> StreamLoop:
    """A loop over `topic`; it ends after so many events, or when it is stopped."""
    params = live_params(
        topic=f"{topic}.lists",
        changelog_topic=f"{topic}.histories",
        dead_letter_topic=f"{topic}.dead",
        group=f"{topic}.group",
        **changes,
    )
    stop = threading.Event()
    loop = StreamLoop(
        params,
        event_stream(topic, columns=COLUMNS),
        LiveLists(params, CountingRanker()),
        client,
        stop.is_set,
    )
    if events is not None:
        loop.stopped = lambda: loop.counts.events >= events
    return loop


if __name__ == "__main__":  # a process that a test kills: ADDRESS TOPIC
    live_loop({"bootstrap_servers": [sys.argv[1]]}, sys.argv[2], max_batch=7).run()
