"""Asks the broker why offsets have no record."""

from dataclasses import dataclass, field

from matchlake.errors import SourceError
from matchlake.ingest.ledger import Gap
from matchlake.ingest.offsets import Range, range_shown
from matchlake.io.checkpoint import Offsets
from matchlake.io.topics import Client, held_from, is_compacted, topic_state


@dataclass(frozen=True)
class AskBroker:
    """Explains missing offsets of a topic by what its broker holds now."""

    client: Client = field(repr=False)
    topic: str
    topic_id: str | None

    def __call__(self, partition: int, missing: list[Range]) -> dict[int, Gap]:
        """The reason by first offset, for those for which the broker gives one.

        Retention: it begins after them. Compaction, transaction: it is asked for them, and goes
        on with what comes after.
        """
        state = topic_state(self.client, self.topic)
        if state.id != self.topic_id:
            return {}
        earliest = state.earliest.get(partition, 0)
        reasons = {first: Gap.RETENTION for first, _ in missing if first < earliest}
        asked = [(first, end) for first, end in missing if first >= earliest]
        if asked:
            next_held = held_from(self.client, self.topic, partition, asked)
            reason = Gap.COMPACTION if is_compacted(self.client, self.topic) else Gap.TRANSACTION
            reasons |= {first: reason for first, end in asked if next_held.get(first, 0) >= end}
        return reasons


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
