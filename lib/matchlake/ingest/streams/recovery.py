"""The recovery options for a stream with a checkpoint and a table that do not match."""

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

from matchlake.errors import CheckpointMismatchError, ReconciliationError, SourceError
from matchlake.ingest.streams.audit import BatchLog
from matchlake.ingest.streams.checkpoint import Ranges
from matchlake.ingest.streams.commits import (
    FENCE,
    FENCED,
    INGEST,
    STEP,
    Commit,
    commits,
    ranges_of,
    transaction_id,
)
from matchlake.ingest.streams.consistency import ConsistencyCheck, StreamState
from matchlake.ingest.streams.gaps import no_cause
from matchlake.ingest.tables import stream_table
from matchlake.io.kafka import Offsets, TopicState

_log = logging.getLogger(__name__)

Option = Literal["accept-data-loss", "rewind-to", "reset-checkpoint"]


class Restart(NamedTuple):
    """The start of a new checkpoint generation, and the batches that it supersedes."""

    option: Option
    offsets: Offsets | None
    """The first offset per partition; None: the first offset that the broker has."""
    superseded_batches: Mapping[int, int]
    """The first superseded batch of each checkpoint; later batches are superseded, too."""
    unwritten: Ranges = {}  # noqa: RUF012 - the default of a tuple, never changed
    """The accepted ranges: the checkpoint marks them as done, but they are in no batch."""


def restart_of(commit: Commit, topic: TopicState) -> Restart:
    """The restart that a commit records. Partitions added later begin at their first record."""
    begin = {part: first for part, (first, _) in commit.offsets.items()}
    return Restart(
        cast("Option", commit.metadata["restart"]),
        topic.earliest | begin if begin else None,
        commit.superseded_batches,
        ranges_of(commit.metadata["unwritten"]),
    )


@dataclass(frozen=True)
class Recovery:
    """A restart of one stream, in a checkpoint generation that no run has used.

    Its steps are a fence commit, a restart commit, and the deletion of the superseded rows. Each
    step is one commit, or can be repeated. If a run is killed before the restart commit, the user
    has to use the option again. If it is killed later, the next run finishes the recovery.
    """

    check: ConsistencyCheck
    batch_log: BatchLog
    state: StreamState = field(repr=False)

    def accept_data_loss(self, topic: TopicState) -> Restart:
        """Continues after the last offset read. Missing offsets become an accepted gap."""
        self._require_same_topic("accept-data-loss", topic)
        offsets = self._read_last()
        if offsets is None:
            raise CheckpointMismatchError(
                f"--accept-data-loss {self._name}: neither {self.check.table} nor the checkpoint "
                f"has the last offset read. --reset-checkpoint {self._name} reads the topic "
                "from its first record."
            )
        unwritten = self._unwritten(offsets)
        return Restart("accept-data-loss", topic.earliest | offsets, {}, unwritten)

    def rewind_to(self, batch: int, topic: TopicState) -> Restart:
        """Deletes the rows of the batches from `batch` on, so that they are read again.

        Raises SourceError if the broker no longer has all of their offsets.
        """
        owner = self.state.owner or self.state.checkpoint_id
        if owner is None:
            raise CheckpointMismatchError(
                f"--rewind-to {self._name}: there is no earlier batch yet."
            )
        self._require_same_topic("rewind-to", topic)
        offsets = self._first_offsets_of(owner, batch)
        self._require_offsets_held(owner, batch, topic)
        return Restart("rewind-to", topic.earliest | offsets, {owner: batch})

    def reset_checkpoint(self, topic: TopicState) -> Restart:
        """Begins at the first record of the topic, as a new stream."""
        if self.state.has_rows and not self._is_other(topic):
            raise CheckpointMismatchError(
                f"--reset-checkpoint {self._name}: {self.check.table} has rows of this topic, "
                f"and would get them twice. --accept-data-loss {self._name} continues after these "
                f"rows. --rewind-to {self._name}=0 deletes these rows and reads them again. Or "
                "empty the table first."
            )
        gone = [] if self.state.has_rows else [*self.batch_log.checkpoints(), *self._written_from()]
        return Restart("reset-checkpoint", None, dict.fromkeys(gone, 0))

    def fence(self, option: Option, metadata: Mapping[str, Any]) -> StreamState:
        """Ends the generation in use. Returns the state after it.

        After the fence no run of this generation writes a batch: Delta rejects a batch in progress,
        and skips later batches. A state that was read before the fence may be outdated.
        """
        state = self.state
        if state.fenced is None:
            newest = state.last.metadata if state.last else metadata
            generation = newest.get("generation", state.checkpoint.generation)
            fence = {**metadata, "generation": state.checkpoint.generation, FENCE: option}
            self._commit(fence, transaction_id(newest["stream"], generation), FENCED)
        after = self.check.read_state()
        if after.fenced is None or after.checkpoint.generation != state.checkpoint.generation:
            raise self._concurrent_run()
        return after

    def carried_over(self, restart: Restart) -> Restart:
        """Adds to the restart the superseded batches of an earlier restart that no batch followed.

        The run of the earlier restart may have been killed before it deleted these batches.
        """
        state, superseded = self.state, dict(restart.superseded_batches)
        if state.last and state.is_restarted:
            for owner, batch in state.last.superseded_batches.items():
                superseded[owner] = min(batch, superseded.get(owner, batch))
        return restart._replace(superseded_batches=superseded)

    def begin(self, restart: Restart, metadata: Mapping[str, Any]) -> StreamState:
        """Begins a generation that no commit and no folder has used. Returns the state after it."""
        state = self.state
        used = max(state.checkpoint.generation, state.checkpoint.newest().generation)
        begun = {
            **metadata,
            "generation": used + 1,
            "restart": restart.option,
            "superseded_batches": dict(restart.superseded_batches),
            "previous_checkpoint": state.owner or state.checkpoint_id,
            "unwritten": {part: list(ends) for part, ends in restart.unwritten.items()},
            "offsets": {part: [at, at] for part, at in (restart.offsets or {}).items()},
            "checked_version": state.version,
        }
        self._commit(begun, f"{transaction_id(self._name, used + 1)}/restart", 0)
        after = self.check.read_state()
        if not after.is_restarted or after.checkpoint.generation != used + 1:
            raise self._concurrent_run()
        _log.warning("%s: %s, in checkpoint generation %s", self._name, restart.option, used + 1)
        return after

    def finish(self, restart: Restart) -> None:
        """Deletes the superseded rows, and records accepted gaps in the log. It can be repeated."""
        for owner, batch in restart.superseded_batches.items():
            self._delete_rows(restart.option, owner, batch)
            self.batch_log.forget(owner, batch)
        if restart.option == "accept-data-loss":
            self._enter_all()
            self.batch_log.accept_losses()
        begun = self.state.last
        if begun and restart.unwritten:
            self.batch_log.accept_unwritten(begun, restart.unwritten)

    def _commit(self, metadata: Mapping[str, Any], transaction: str, number: int) -> None:
        """Makes a commit without rows.

        Raises CheckpointMismatchError if another run has used the transaction before.
        """
        metadata = json.loads(json.dumps({**metadata, "at": time.time()}))
        lakehouse, table = self.check.lakehouse, self.check.table
        empty = lakehouse.frame([], stream_table(self.batch_log.stream))
        writer = empty.write.format("delta").mode("append")
        # Delta leaves out a commit without rows, unless it has a transaction id.
        writer = writer.option("txnAppId", transaction).option("txnVersion", str(number))
        writer = writer.option("userMetadata", json.dumps({INGEST: metadata}))
        try:
            writer.saveAsTable(lakehouse.name(table))
        except (PySparkException, Py4JError) as error:
            if "concurrent" not in str(error).lower():
                raise
            raise self._concurrent_run() from error
        for commit in commits(lakehouse.spark, lakehouse.name(table)):
            if commit.metadata == metadata:
                return
            if commit.version <= self.state.version:
                break
        raise self._concurrent_run()

    def _concurrent_run(self) -> CheckpointMismatchError:
        return CheckpointMismatchError(
            f"{self._name}: another run wrote {self.check.table} while this recovery option was "
            "used. Nothing was read. Stop the other run; then use the option again, if needed."
        )

    @property
    def _name(self) -> str:
        return self.check.name

    def _read_last(self) -> Offsets | None:
        """The end of the newest batch that the table or the checkpoint has."""
        last, checkpoint = self.state.last, self.state.checkpoint
        if self._is_ahead or not last:
            return checkpoint.committed() if self._is_owner else None
        return {part: end for part, (_, end) in last.offsets.items()}

    def _unwritten(self, read: Offsets) -> Ranges:
        """The ranges up to `read` that the checkpoint has as batches, and the table has not.

        The batch log may have batches of these ranges.
        """
        if not self._is_ahead:
            return {}
        last, newest = self.state.last, self.state.in_table
        if last:
            begin = {part: end for part, (_, end) in last.offsets.items()}
        else:
            plan = self.state.checkpoint.plan(newest + 1)
            begin = {part: first for part, (first, _) in plan.items()}
        return {part: (begin.get(part, 0), end) for part, end in read.items()}

    @property
    def _is_owner(self) -> bool:
        """Whether the current checkpoint wrote the table, or no checkpoint did."""
        present = self.state.checkpoint_id is not None
        return present and self.state.owner in (None, self.state.checkpoint_id)

    @property
    def _is_ahead(self) -> bool:
        """Whether the checkpoint marks batches as done that are newer than all in the table."""
        last, newest = self.state.last, self.state.in_table
        if last is not None:
            newest = -1 if last.batch is None else last.batch
        return self._is_owner and self.state.done > newest

    def _written_from(self) -> set[int]:
        """The checkpoints of all batches of the stream in the history of the table."""
        spark, table = self.check.lakehouse.spark, self.check.table
        return {
            commit.metadata["checkpoint"]
            for commit in commits(spark, self.check.lakehouse.name(table))
            if commit.batch is not None and commit.metadata["stream"] == self._name
        }

    def _first_offsets_of(self, owner: int, batch: int) -> Offsets:
        self._enter_all()
        rows = self.batch_log.rows().where(f"checkpoint_id = {owner:d}")
        first = rows.where(f"batch_id = {batch}").select("partition", "first_offset").collect()
        end = rows.where(f"batch_id = {batch - 1}").select("partition", "end_offset").collect()
        if not first and not end:
            low, high = rows.selectExpr("min(batch_id)", "max(batch_id)").collect()[0]
            raise CheckpointMismatchError(
                f"--rewind-to {self._name}={batch}: there is no such batch of checkpoint {owner} "
                f"in {self.batch_log.table}; it has {low} to {high}."
            )
        return {int(part): int(at) for part, at in first or end}

    def _enter_all(self) -> None:
        with suppress(ReconciliationError):  # rows are often missing before a recovery
            self.batch_log.update(no_cause)

    def _require_same_topic(self, option: Option, topic: TopicState) -> None:
        if self._is_other(topic):
            raise CheckpointMismatchError(
                f"--{option} {self._name}: topic {self.check.checkpoint.topic} was deleted and "
                f"created again since {self.check.table} was written from it: its offsets mean "
                f"other records now. Nothing was changed. --reset-checkpoint {self._name} reads "
                "the new topic from its first record into the same table."
            )

    def _is_other(self, topic: TopicState) -> bool:
        """Whether the topic was created again since it was read."""
        last, own = self.state.last, self.state.checkpoint_id
        rows = self.batch_log.rows().where(F.col("checkpoint_id") == F.lit(own)).select("topic_id")
        known = [last.metadata.get("topic_id")] if last else [row[0] for row in rows.head(1)]
        return topic.id is not None and any(each not in (None, topic.id) for each in known)

    def _require_offsets_held(self, owner: int, batch: int, topic: TopicState) -> None:
        """Raises SourceError if the broker no longer retains the records of all rows to delete."""
        ranges = self.check.lakehouse.spark.sql(
            "SELECT partition, min(offset), max(offset) FROM "
            f"{self._rows_from(owner, batch)} GROUP BY partition ORDER BY partition"
        ).collect()
        lost = []
        for part, first, last in ranges:
            begin, end = (ends.get(part, 0) for ends in (topic.earliest, topic.latest))
            if first < begin or last >= end:
                lost.append(f"partition {part}: {first} to {last}, held: {begin} to {end - 1}")
        if lost:
            raise SourceError(
                f"--rewind-to {self._name}={batch}: the broker no longer retains all offsets of "
                f"the rows that would be deleted ({'; '.join(lost)}). Nothing was changed. Go "
                "back to a later batch, or use --accept-data-loss to continue after the last "
                "offset read."
            )

    def _rows_from(self, owner: int, batch: int) -> str:
        table = self.check.lakehouse.name(self.check.table)
        return f"{table} WHERE checkpoint_id = {owner:d} AND batch_id >= {batch:d}"

    def _delete_rows(self, option: Option, owner: int, batch: int) -> None:
        """Deletes the rows in a commit that names the option, so that a start accepts the deletion.

        Overwrites them with no rows, because DELETE has no option for the metadata of its commit.
        """
        table = self.check.lakehouse.read(self.check.table)
        step = {"name": option, "checkpoint": owner, "batch": batch}
        writer = table.limit(0).writeTo(self.check.lakehouse.name(self.check.table))
        writer = writer.option("userMetadata", json.dumps({STEP: step}))
        writer.overwrite((F.col("checkpoint_id") == F.lit(owner)) & (F.col("batch_id") >= batch))
