"""The ways out where a stream's checkpoint and table do not belong together any more."""

import json
import logging
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

from matchlake.errors import ConfigError, IdentityError, ReconciliationError
from matchlake.ingest.tables import stream_table
from matchlake.io.checkpoint import Offsets
from matchlake.io.history import INGEST
from matchlake.io.identity import Identity, Standing
from matchlake.io.ledger import Ledger, all_adopted, no_reason
from matchlake.io.places import is_local
from matchlake.io.topics import TopicState
from matchlake.schemas import quote_text

_log = logging.getLogger(__name__)

Way = Literal["adopt", "rewind-to", "new-identity"]


class Beginning(NamedTuple):
    """How a new checkpoint begins, and what it undoes."""

    way: Way
    offsets: Offsets | None
    """Where each partition begins; None: at its first record that is held."""
    undone: Mapping[str, int]
    """Checkpoints whose batches from that number on do not count any more."""


@dataclass(frozen=True)
class Recovery:
    """One stream about to begin anew."""

    identity: Identity
    ledger: Ledger
    standing: Standing = field(repr=False)

    def adopt(self, topic: TopicState) -> Beginning:
        """Goes on after what was read last; what is missing becomes an accepted gap."""
        self.ledger.update(all_adopted)
        self.ledger.accept_losses()
        offsets = self._read_last()
        if offsets is None:
            raise IdentityError(
                f"--adopt {self._name}: neither {self.identity.table} nor the checkpoint says "
                f"what was read last. --new-identity {self._name} begins anew."
            )
        self._set_aside()
        return Beginning("adopt", topic.earliest | offsets, {})

    def rewind_to(self, batch: int, topic: TopicState) -> Beginning:
        """Takes the rows of the batches from `batch` on out, so that they are read again."""
        owner = self.standing.owner or self.standing.checkpoint_id
        if owner is None:
            raise IdentityError(f"--rewind-to {self._name}: there is no batch to go back to yet.")
        offsets = self._begin_of(owner, batch)
        table = self.identity.lakehouse.name(self.identity.table)
        self.identity.lakehouse.spark.sql(
            f"DELETE FROM {table} WHERE checkpoint_id = {quote_text(owner)} AND batch_id >= {batch}"
        )
        self._set_aside()
        return Beginning("rewind-to", topic.earliest | offsets, {owner: batch})

    def new_identity(self, topic: TopicState) -> Beginning:
        """Begins at the topic's first record that is held, as a stream that never was."""
        last = self.standing.last
        known = last.told.get("topic_id") if last else None
        other_topic = known is not None and topic.id is not None and known != topic.id
        if self.standing.rows and not other_topic:
            raise IdentityError(
                f"--new-identity {self._name}: {self.identity.table} has rows of this topic, which "
                f"would be there twice. --adopt {self._name} goes on after them, --rewind-to "
                f"{self._name}=0 takes them out and reads them again; or empty the table first."
            )
        gone = {} if self.standing.rows else dict.fromkeys(self.ledger.checkpoints(), 0)
        self._set_aside()
        return Beginning("new-identity", None, gone)

    def record(self, beginning: Beginning, checkpoint: str, told: Mapping[str, Any]) -> None:
        """Commits, without rows, that the stream began anew in this checkpoint."""
        said = {
            **told,
            "checkpoint": checkpoint,
            "begun": beginning.way,
            "undone": dict(beginning.undone),
            "offsets": {part: [at, at] for part, at in (beginning.offsets or {}).items()},
            "before": self.standing.owner,
        }
        lakehouse, table = self.identity.lakehouse, self.identity.table
        empty = lakehouse.spark.createDataFrame([], stream_table(self.ledger.stream).struct())
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

    def _begin_of(self, owner: str, batch: int) -> Offsets:
        with suppress(ReconciliationError):  # what is missing is why one goes back
            self.ledger.update(no_reason)
        rows = self.ledger.rows().where(f"checkpoint_id = {quote_text(owner)}")
        first = rows.where(f"batch_id = {batch}").select("partition", "first_offset").collect()
        end = rows.where(f"batch_id = {batch - 1}").select("partition", "end_offset").collect()
        if not first and not end:
            least, most = rows.selectExpr("min(batch_id)", "max(batch_id)").collect()[0]
            raise IdentityError(
                f"--rewind-to {self._name}={batch}: there is no such batch of checkpoint {owner} "
                f"in {self.ledger.table}; it has {least} to {most}."
            )
        return {int(part): int(at) for part, at in first or end}

    def _set_aside(self) -> None:
        """Moves the checkpoint's folder away, so that a new one begins in its place."""
        path = self.identity.checkpoint.path
        if self.standing.checkpoint_id is None:
            return
        aside = f"{path}.{time.strftime('%Y%m%d-%H%M%S')}"
        if not is_local(path):
            raise ConfigError(
                f"The checkpoint {path} has to be moved away first, which only your storage's own "
                f"tools can do there: move it to {aside}, then run this again."
            )
        Path(path).rename(aside)
        _log.info("%s: the old checkpoint is at %s", self._name, aside)
