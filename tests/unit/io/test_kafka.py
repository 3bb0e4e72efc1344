"""What a broker says of a topic, from a client that is none."""

from typing import Any

import pytest
from kafka.errors import KafkaError

from matchlake.errors import SourceError
from matchlake.io import kafka
from matchlake.io.kafka import held_from, is_compacted, records_at, topic_state


def refuse(**_: Any) -> None:
    raise KafkaError("no such broker")


def test_topic_state_without_an_answer_raises_unreachable(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for client in ("KafkaAdminClient", "KafkaConsumer"):
        monkeypatch.setattr(kafka, client, refuse)
    for ask in (
        lambda: topic_state({}, "t"),
        lambda: is_compacted({}, "t"),
        lambda: held_from({}, "t", 0, [(0, 1)]),
        lambda: records_at({}, "t", {0: 1}),
    ):
        with pytest.raises(SourceError, match=r"Topic t cannot be described: .*no such broker"):
            ask()
