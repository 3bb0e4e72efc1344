"""The ways out where a stream's checkpoint and table do not belong together any more."""

import json
import logging
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pyspark.sql import functions as F

from matchlake.errors import ConfigError, IdentityError, ReconciliationError, SourceError
from matchlake.ingest.streams.audit import Ledger
from matchlake.ingest.streams.commits import INGEST
from matchlake.ingest.streams.consistency import Identity, Standing
from matchlake.ingest.streams.gaps import no_reason
from matchlake.ingest.tables import stream_table
from matchlake.io.kafka import Offsets, TopicState
from matchlake.io.storage import is_local

_log = logging.getLogger(__name__)

Way = Literal["adopt", "rewind-to", "new-identity"]


class Beginning(NamedTuple):
    """How a new checkpoint begins, and what it undoes."""

    way: Way
    offsets: Offsets | None
    """Where each partition begins; None: at its first record that is held."""
    undone: Mapping[int, int]
    """Checkpoints whose batches from that number on do not count any more."""


@dataclass(frozen=True)
class Recovery:
    """One stream about to begin anew."""

    identity: Identity
    ledger: Ledger
    standing: Standing = field(repr=False)

    def adopt(self, topic: TopicState) -> Beginning:
        """Goes on after what was read last; what is missing becomes an accepted gap."""
        self._require_same_topic("adopt", topic)
        offsets = self._read_last()
        if offsets is None:
            raise IdentityError(
                f"--adopt {self._name}: neither {self.identity.table} nor the checkpoint says "
                f"what was read last. --new-identity {self._name} begins anew."
            )
        return Beginning("adopt", topic.earliest | offsets, {})

    def rewind_to(self, batch: int, topic: TopicState) -> Beginning:
        """Takes the rows of the batches from `batch` on out, so that they are read again.

        Raises SourceError where the broker does not hold all of them any more.
        """
        owner = self.standing.owner or self.standing.checkpoint_id
        if owner is None:
            raise IdentityError(f"--rewind-to {self._name}: there is no batch to go back to yet.")
        self._require_same_topic("rewind-to", topic)
        offsets = self._begin_of(owner, batch)
        self._require_held(owner, batch, topic)
        return Beginning("rewind-to", topic.earliest | offsets, {owner: batch})

    def new_identity(self, topic: TopicState) -> Beginning:
        """Begins at the topic's first record that is held, as a stream that never was."""
        if self.standing.rows and not self._is_other(topic):
            raise IdentityError(
                f"--new-identity {self._name}: {self.identity.table} has rows of this topic, which "
                f"would be there twice. --adopt {self._name} goes on after them, --rewind-to "
                f"{self._name}=0 takes them out and reads them again; or empty the table first."
            )
        gone = {} if self.standing.rows else dict.fromkeys(self.ledger.checkpoints(), 0)
        return Beginning("new-identity", None, gone)

    def make_room(self, beginning: Beginning) -> None:
        """Takes out what the beginning undoes, and moves the old checkpoint's folder away.

        Raises ConfigError, and changes nothing, where the folder has to be moved by other tools.
        """
        path = self.identity.checkpoint.path
        aside = f"{path}.{time.strftime('%Y%m%d-%H%M%S')}"
        if self.standing.checkpoint_id and not is_local(path):
            raise ConfigError(
                f"The checkpoint {path} has to be moved away first, which only your storage's own "
                f"tools can do there: move it to {aside}, then run this again."
            )
        if beginning.way == "adopt":
            self._enter_all()
            self.ledger.accept_losses()
        for owner, batch in beginning.undone.items():
            self.identity.lakehouse.spark.sql(f"DELETE FROM {self._rows_from(owner, batch)}")
        if self.standing.checkpoint_id:
            Path(path).rename(aside)
            _log.info("%s: the old checkpoint is at %s", self._name, aside)

    def told(self, beginning: Beginning) -> dict[str, Any]:
        """What commits say of it: that of the first batch, and one of its own.

        The first batch may be committed before `record`, or be all that is before a crash; or
        there is no first batch yet.
        """
        undone = dict(beginning.undone)
        return {"begun": beginning.way, "undone": undone, "before": self.standing.owner}

    def record(self, beginning: Beginning, checkpoint: int, told: Mapping[str, Any]) -> None:
        """Commits, without rows, that the stream began anew in this checkpoint."""
        said = {
            **told,
            **self.told(beginning),
            "checkpoint": checkpoint,
            "offsets": {part: [at, at] for part, at in (beginning.offsets or {}).items()},
        }
        lakehouse, table = self.identity.lakehouse, self.identity.table
        empty = lakehouse.frame([], stream_table(self.ledger.stream))
        writer = empty.write.format("delta").mode("append")
        # Without rows Delta would leave out the commit, but not one that sets a mark.
        writer = writer.option("txnAppId", f"{INGEST}/{checkpoint}/begun").option("txnVersion", "0")
        writer.option("userMetadata", json.dumps({INGEST: said})).saveAsTable(lakehouse.name(table))
        for owner, batch in beginning.undone.items():
            self.ledger.forget(owner, batch)
        _log.warning("%s: %s, in checkpoint %s", self._name, beginning.way, checkpoint)

    @property
    def _name(self) -> str:
        return self.identity.name

    def _read_last(self) -> Offsets | None:
        """The end of the newest batch that either side knows of."""
        standing, checkpoint = self.standing, self.identity.checkpoint
        last = standing.last.told if standing.last else {}
        own = standing.checkpoint_id is not None
        is_owner = standing.owner in (None, standing.checkpoint_id)
        batch = last.get("batch")
        if own and is_owner and standing.done > (-1 if batch is None else batch):
            return checkpoint.committed()
        if last:
            return {int(part): ends[1] for part, ends in last["offsets"].items()}
        return checkpoint.committed() if own and is_owner else None

    def _begin_of(self, owner: int, batch: int) -> Offsets:
        self._enter_all()
        rows = self.ledger.rows().where(f"checkpoint_id = {owner:d}")
        first = rows.where(f"batch_id = {batch}").select("partition", "first_offset").collect()
        end = rows.where(f"batch_id = {batch - 1}").select("partition", "end_offset").collect()
        if not first and not end:
            least, most = rows.selectExpr("min(batch_id)", "max(batch_id)").collect()[0]
            raise IdentityError(
                f"--rewind-to {self._name}={batch}: there is no such batch of checkpoint {owner} "
                f"in {self.ledger.table}; it has {least} to {most}."
            )
        return {int(part): int(at) for part, at in first or end}

    def _enter_all(self) -> None:
        with suppress(ReconciliationError):  # what is missing is why there are ways out
            self.ledger.update(no_reason)

    def _require_same_topic(self, way: Way, topic: TopicState) -> None:
        if self._is_other(topic):
            raise IdentityError(
                f"--{way} {self._name}: topic {self.identity.checkpoint.topic} was deleted and "
                f"made anew since {self.identity.table} was written from it: its offsets mean "
                f"other records now. Nothing was changed. --new-identity {self._name} reads the "
                "new topic from its first record into the same table."
            )

    def _is_other(self, topic: TopicState) -> bool:
        """Whether the topic is not the one that was read, but has its name."""
        last, own = self.standing.last, self.standing.checkpoint_id
        rows = self.ledger.rows().where(F.col("checkpoint_id") == F.lit(own)).select("topic_id")
        known = [last.told.get("topic_id")] if last else [row[0] for row in rows.head(1)]
        return topic.id is not None and any(each not in (None, topic.id) for each in known)

    def _require_held(self, owner: int, batch: int, topic: TopicState) -> None:
        """Raises SourceError where rows would be taken out that cannot be read again."""
        found = self.identity.lakehouse.spark.sql(
            "SELECT partition, min(offset), max(offset) FROM "
            f"{self._rows_from(owner, batch)} GROUP BY partition ORDER BY partition"
        ).collect()
        lost = []
        for part, first, last in found:
            begin, end = (ends.get(part, 0) for ends in (topic.earliest, topic.latest))
            if first < begin or last >= end:
                lost.append(f"partition {part}: {first} to {last}, held: {begin} to {end - 1}")
        if lost:
            raise SourceError(
                f"--rewind-to {self._name}={batch}: the broker no longer holds all offsets whose "
                f"rows would be taken out ({'; '.join(lost)}). Nothing was changed. A later batch "
                "can be gone back to, or --adopt goes on after what was read last."
            )

    def _rows_from(self, owner: int, batch: int) -> str:
        table = self.identity.lakehouse.name(self.identity.table)
        return f"{table} WHERE checkpoint_id = {owner:d} AND batch_id >= {batch:d}"
