"""Why offsets have no record: as the broker tells, or because the loss is accepted."""

from collections.abc import Callable
from dataclasses import dataclass, field

from matchlake.errors import SourceError
from matchlake.ingest.streams.audit_table import Gap
from matchlake.ingest.streams.offsets import Range, range_shown
from matchlake.io.kafka import Client, Offsets, held_from, is_compacted, topic_state

Gaps = list[tuple[Gap, int, int]]
"""Reasons, each with its first offset and the one after its last."""
Explain = Callable[[str | None, int, list[Range]], Gaps]
"""Takes a topic's id, a partition and missing ranges; gives the reasons that it knows."""


def no_reason(_topic: str | None, _partition: int, _missing: list[Range]) -> Gaps:
    """Knows of nothing why it should be missing."""
    return []


def all_adopted(_topic: str | None, _partition: int, missing: list[Range]) -> Gaps:
    """Accepts everything that is missing."""
    return [(Gap.ADOPTED, first, end) for first, end in missing]


@dataclass(frozen=True)
class AskBroker:
    """Explains missing offsets of a topic by what its broker holds now."""

    client: Client = field(repr=False)
    topic: str

    def __call__(self, topic_id: str | None, partition: int, missing: list[Range]) -> Gaps:
        """The ranges for which the broker gives a reason; none where the topic was made anew.

        Retention: it begins after them. Compaction, transaction: it is asked for them, and goes
        on with what comes after.
        """
        state = topic_state(self.client, self.topic)
        if state.id != topic_id:
            return []
        earliest = state.earliest.get(partition, 0)
        gaps = [(Gap.RETENTION, at, min(end, earliest)) for at, end in missing if at < earliest]
        asked = [(max(first, earliest), end) for first, end in missing if end > earliest]
        if asked:
            next_held = held_from(self.client, self.topic, partition, asked)
            reason = Gap.COMPACTION if is_compacted(self.client, self.topic) else Gap.TRANSACTION
            gaps += [(reason, first, end) for first, end in asked if next_held[first] >= end]
        return gaps


def require_held(name: str, topic: str, begin: Offsets, earliest: Offsets) -> None:
    """Raises SourceError where the broker no longer holds what is to be read next."""
    lost = [
        f"partition {part}: {range_shown(at, earliest[part])}"
        for part, at in sorted(begin.items())
        if at < earliest.get(part, at)
    ]
    if lost:
        raise SourceError(
            f"{name}: the broker no longer holds what is to be read next of topic {topic} "
            f"({'; '.join(lost)}). Nothing was read. To go on after them, and to have them in the "
            f"ledger as a gap: --set streams.{name}.on_data_loss=record"
        )
