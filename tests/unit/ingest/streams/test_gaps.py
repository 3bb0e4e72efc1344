"""Why offsets have no record, from what a broker says."""

import pytest

from matchlake.ingest.streams import gaps
from matchlake.ingest.streams.audit_table import Gap
from matchlake.ingest.streams.gaps import BrokerCauses
from matchlake.io.kafka import TopicState


@pytest.mark.parametrize("reason", [Gap.COMPACTION, Gap.TRANSACTION])
def test_each_range_has_the_reason_that_the_broker_gives(
    monkeypatch: pytest.MonkeyPatch, reason: Gap
) -> None:
    held = [*range(25, 30), 40]
    monkeypatch.setattr(gaps, "topic_state", lambda *_: TopicState("t", {0: 10}, {0: 41}))
    monkeypatch.setattr(gaps, "is_compacted", lambda *_: reason == Gap.COMPACTION)
    monkeypatch.setattr(
        gaps,
        "held_from",
        lambda *given: {first: min(at for at in held if at >= first) for first, _ in given[-1]},
    )
    ask = BrokerCauses({}, "topic")
    assert ask("t", 0, [(0, 3), (5, 20), (28, 29), (30, 40)]) == [
        (Gap.RETENTION, 0, 3),
        (Gap.RETENTION, 5, 10),
        (reason, 10, 20),
        (reason, 30, 40),
    ]
    assert ask("t", 0, [(5, 27)]) == [(Gap.RETENTION, 5, 10)], "the broker has some of the rest"
    assert ask("t", 0, [(5, 10)]) == [(Gap.RETENTION, 5, 10)]
    assert ask("of another life", 0, [(0, 3)]) == []
