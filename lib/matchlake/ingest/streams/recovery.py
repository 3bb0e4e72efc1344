"""The ways out where a stream's checkpoint and table do not belong together any more."""

import json
import logging
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, cast

from py4j.protocol import Py4JError
from pyspark.errors import PySparkException
from pyspark.sql import functions as F

from matchlake.errors import IdentityError, ReconciliationError, SourceError
from matchlake.ingest.streams.audit import Ledger
from matchlake.ingest.streams.checkpoint import Ranges
from matchlake.ingest.streams.commits import FENCE, FENCED, INGEST, Commit, commits, mark_of
from matchlake.ingest.streams.consistency import Identity, Standing
from matchlake.ingest.streams.gaps import no_reason
from matchlake.ingest.tables import stream_table
from matchlake.io.kafka import Offsets, TopicState

_log = logging.getLogger(__name__)

Way = Literal["adopt", "rewind-to", "new-identity"]


class Beginning(NamedTuple):
    """How a new checkpoint begins, and what it undoes."""

    way: Way
    offsets: Offsets | None
    """Where each partition begins; None: at its first record that is held."""
    undone: Mapping[int, int]
    """Checkpoints whose batches from that number on do not count any more."""
    unwritten: Ranges = {}  # noqa: RUF012 - a default of a tuple, never changed
    """The accepted ranges that the checkpoint holds for done, but that are in no batch."""


def beginning_of(commit: Commit, topic: TopicState) -> Beginning:
    """What the commit of a way out says; partitions that came since begin at their first record."""
    begin = {part: first for part, (first, _) in commit.offsets.items()}
    offsets = topic.earliest | begin if begin else None
    unwritten = {int(part): (a, b) for part, (a, b) in commit.told["unwritten"].items()}
    return Beginning(cast("Way", commit.told["begun"]), offsets, commit.undone, unwritten)


@dataclass(frozen=True)
class Recovery:
    """One stream about to begin anew, in a checkpoint generation that no run has used.

    The steps are a fence, the beginning, and what it undoes; each is one commit or can be done
    again. Killed before the beginning, the way out has to be taken again; killed after it, the
    next run goes on from there.
    """

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
        return Beginning("adopt", topic.earliest | offsets, {}, self._unwritten(offsets))

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
        gone = [] if self.standing.rows else [*self.ledger.checkpoints(), *self._written_from()]
        return Beginning("new-identity", None, dict.fromkeys(gone, 0))

    def fence(self, way: Way, told: Mapping[str, Any]) -> Standing:
        """Ends the generation in use, and returns what stands after it.

        A run of it, stalled or not, writes no batch from here on: Delta refuses one that is under
        way, and skips those after it. What was found before may be of an older table by now.
        """
        standing = self.standing
        if standing.fenced is None:
            newest = standing.last.told if standing.last else told
            generation = newest.get("generation", standing.checkpoint.generation)
            mark = mark_of(newest["stream"], generation)
            said = {**told, "generation": standing.checkpoint.generation, FENCE: way}
            self._commit(said, mark, FENCED)
        after = self.identity.look()
        if after.fenced is None or after.checkpoint.generation != standing.checkpoint.generation:
            raise self._taken_by_another()
        return after

    def carried(self, beginning: Beginning) -> Beginning:
        """The beginning with what the one before was to undo, where that has no batch yet.

        It may have been killed before it did.
        """
        standing, undone = self.standing, dict(beginning.undone)
        if standing.last and standing.is_begun:
            for owner, batch in standing.last.undone.items():
                undone[owner] = min(batch, undone.get(owner, batch))
        return beginning._replace(undone=undone)

    def begin(self, beginning: Beginning, told: Mapping[str, Any]) -> Standing:
        """Begins the next generation, and returns what stands after it.

        It is one that neither a commit nor a folder has used.
        """
        standing = self.standing
        used = max(standing.checkpoint.generation, standing.checkpoint.newest().generation)
        said = {
            **told,
            "generation": used + 1,
            "begun": beginning.way,
            "undone": dict(beginning.undone),
            "before": standing.owner or standing.checkpoint_id,
            "unwritten": {part: list(ends) for part, ends in beginning.unwritten.items()},
            "offsets": {part: [at, at] for part, at in (beginning.offsets or {}).items()},
            "judged": standing.version,
        }
        self._commit(said, f"{mark_of(self._name, used + 1)}/begun", 0)
        after = self.identity.look()
        if not after.is_begun or after.checkpoint.generation != used + 1:
            raise self._taken_by_another()
        _log.warning("%s: %s, in checkpoint generation %s", self._name, beginning.way, used + 1)
        return after

    def finish(self, beginning: Beginning) -> None:
        """Takes out what the beginning undoes, and accepts what it accepts; again, if need be."""
        for owner, batch in beginning.undone.items():
            self.identity.lakehouse.spark.sql(f"DELETE FROM {self._rows_from(owner, batch)}")
            self.ledger.forget(owner, batch)
        if beginning.way == "adopt":
            self._enter_all()
            self.ledger.accept_losses()
        begun = self.standing.last
        if begun and beginning.unwritten:
            self.ledger.accept_unwritten(begun, beginning.unwritten)

    def _commit(self, said: Mapping[str, Any], mark: str, number: int) -> None:
        """Commits, without rows, what is said of the stream.

        Raises IdentityError where a run has taken the mark before, or in the same moment.
        """
        said = json.loads(json.dumps({**said, "at": time.time()}))
        lakehouse, table = self.identity.lakehouse, self.identity.table
        empty = lakehouse.frame([], stream_table(self.ledger.stream))
        writer = empty.write.format("delta").mode("append")
        # Without rows Delta would leave out the commit, but not one that sets a mark.
        writer = writer.option("txnAppId", mark).option("txnVersion", str(number))
        writer = writer.option("userMetadata", json.dumps({INGEST: said}))
        try:
            writer.saveAsTable(lakehouse.name(table))
        except (PySparkException, Py4JError) as error:
            if "concurrent" not in str(error).lower():
                raise
            raise self._taken_by_another() from error
        for commit in commits(lakehouse.spark, lakehouse.name(table)):
            if commit.told == said:
                return
            if commit.version <= self.standing.version:
                break
        raise self._taken_by_another()

    def _taken_by_another(self) -> IdentityError:
        return IdentityError(
            f"{self._name}: another run wrote {self.identity.table} while this way out was taken. "
            "Nothing was read. Stop the other run; if it is needed still, take the way out again."
        )

    @property
    def _name(self) -> str:
        return self.identity.name

    def _read_last(self) -> Offsets | None:
        """The end of the newest batch that either side knows of."""
        last, checkpoint = self.standing.last, self.standing.checkpoint
        if self._is_ahead or not last:
            return checkpoint.committed() if self._is_owner else None
        return {part: end for part, (_, end) in last.offsets.items()}

    def _unwritten(self, read: Offsets) -> Ranges:
        """The ranges of `read` that only the checkpoint knows of: the table has no batch of them.

        The batch log may have one nonetheless.
        """
        if not self._is_ahead:
            return {}
        last, held = self.standing.last, self.standing.held
        if last:
            begin = {part: end for part, (_, end) in last.offsets.items()}
        else:
            plan = self.standing.checkpoint.plan(held + 1)
            begin = {part: first for part, (first, _) in plan.items()}
        return {part: (begin.get(part, 0), end) for part, end in read.items()}

    @property
    def _is_owner(self) -> bool:
        """Whether the table was written from the checkpoint that is there."""
        standing = self.standing
        is_there = standing.checkpoint_id is not None
        return is_there and standing.owner in (None, standing.checkpoint_id)

    @property
    def _is_ahead(self) -> bool:
        """Whether the checkpoint holds batches for done that came after all of the table."""
        last, held = self.standing.last, self.standing.held
        newest = held if last is None else -1 if last.batch is None else last.batch
        return self._is_owner and self.standing.done > newest

    def _written_from(self) -> set[int]:
        """The checkpoints of the stream of which the table's history has batches."""
        spark, table = self.identity.lakehouse.spark, self.identity.table
        found = commits(spark, self.identity.lakehouse.name(table))
        return {
            commit.told["checkpoint"]
            for commit in found
            if commit.batch is not None and commit.told["stream"] == self._name
        }

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
