"""Finds the cause of offsets without a row: from the broker, or from an accepted loss."""

from collections.abc import Callable
from dataclasses import dataclass, field

from matchlake.errors import SourceError
from matchlake.ingest.streams.audit_table import Gap
from matchlake.ingest.streams.offsets import Range, range_shown
from matchlake.io.kafka import Client, Offsets, held_from, is_compacted, topic_state

Gaps = list[tuple[Gap, int, int]]
"""Causes, each with its first offset and its end offset (exclusive)."""
FindCauses = Callable[[str | None, int, list[Range]], Gaps]
"""Takes the id of a topic, a partition and missing ranges. Returns the known causes."""


def no_cause(_topic: str | None, _partition: int, _missing: list[Range]) -> Gaps:
    """Returns no cause."""
    return []


def accept_all(_topic: str | None, _partition: int, missing: list[Range]) -> Gaps:
    """Accepts all missing ranges."""
    return [(Gap.ACCEPTED, first, end) for first, end in missing]


@dataclass(frozen=True)
class BrokerCauses:
    """Finds the causes of missing offsets from the records that the broker retains now."""

    client: Client = field(repr=False)
    topic: str

    def __call__(self, topic_id: str | None, partition: int, missing: list[Range]) -> Gaps:
        """The ranges with a cause; none if the topic was created again.

        Retention: the first offset of the broker is after the range. Compaction or transaction: a
        fetch of the range returns later records.
        """
        state = topic_state(self.client, self.topic)
        if state.id != topic_id:
            return []
        earliest = state.earliest.get(partition, 0)
        gaps = [(Gap.RETENTION, at, min(end, earliest)) for at, end in missing if at < earliest]
        queries = [(max(first, earliest), end) for first, end in missing if end > earliest]
        if queries:
            next_held = held_from(self.client, self.topic, partition, queries)
            cause = Gap.COMPACTION if is_compacted(self.client, self.topic) else Gap.TRANSACTION
            gaps += [(cause, first, end) for first, end in queries if next_held[first] >= end]
        return gaps


def require_held(name: str, topic: str, begin: Offsets, earliest: Offsets) -> None:
    """Raises SourceError if the broker no longer retains the next offsets."""
    lost = [
        f"partition {part}: {range_shown(at, earliest[part])}"
        for part, at in sorted(begin.items())
        if at < earliest.get(part, at)
    ]
    if lost:
        raise SourceError(
            f"{name}: the broker no longer retains the next offsets of topic {topic} "
            f"({'; '.join(lost)}). Nothing was read. To continue after them, with a gap in the "
            f"batch log: set streams.{name}.on_data_loss: record in conf"
        )
