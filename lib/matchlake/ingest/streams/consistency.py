"""The check at a start that checkpoint, table and topic of a stream belong together.

The commit of each batch holds its checkpoint, its number, its topic and its table. At a start the
newest of these commits is compared with the checkpoint. Delta alone does not detect a mismatch: it
skips a batch that it has seen, even if the rows were removed.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

from matchlake.errors import CheckpointMismatchError
from matchlake.ingest.streams.checkpoint import Checkpoint
from matchlake.ingest.streams.commits import FENCE, Commit, commits, table_id
from matchlake.io.delta import Lakehouse
from matchlake.io.delta_properties import read_properties
from matchlake.io.kafka import Offsets, TopicState

_MARKS = "delta.setTransactionRetentionDuration"
"""The property with the time after which Delta forgets transactions. Unset: Delta keeps them."""


class StreamState(NamedTuple):
    """The state of table and checkpoint at a start."""

    version: int
    """The newest version of the table."""
    table_id: str
    last: Commit | None
    """The newest commit of a batch or of a restart in the history of the table."""
    replaced: Commit | None
    """A commit that may have removed rows, and that the last batch or restart had not checked."""
    fenced: Commit | None
    """The fence of the generation in use, if no later generation has begun."""
    checkpoint: Checkpoint
    """The checkpoint of the generation in use."""
    checkpoint_id: int | None
    planned: int
    """The newest batch that the checkpoint has planned; -1 before the first."""
    done: int
    """The newest batch that the checkpoint marks as done; -1 before the first."""
    in_table: int
    """The newest batch with rows in the table; if the table was replaced, as of then. -1: none."""
    has_rows: bool
    """Whether the table has any rows."""

    @property
    def owner(self) -> int | None:
        """The checkpoint that last wrote the table."""
        return _owner(self.last)

    @property
    def is_restarted(self) -> bool:
        """Whether a restart began the generation in use, and no batch followed yet."""
        return self.last is not None and self.last.batch is None

    @property
    def overtaken(self) -> bool:
        """Whether the table was replaced while the last batch was being written."""
        return bool(self.replaced and self.last and self.replaced.version < self.last.version)


@dataclass(frozen=True)
class ConsistencyCheck:
    """The checkpoint and the table of one stream, to compare with each other and the topic."""

    name: str
    table: str
    checkpoint: Checkpoint
    """The checkpoint of any generation. The table names the generation in use."""
    lakehouse: Lakehouse = field(repr=False)

    def read_state(self) -> StreamState:
        """Reads checkpoint, history and rows; a few small jobs."""
        spark, table = self.lakehouse.spark, self.lakehouse.name(self.table)
        version, last, replaced, fenced = -1, None, None, None
        for commit in commits(spark, table):
            version = max(version, commit.version)
            if last and commit.version <= last.checked_version:
                break
            if FENCE in commit.metadata:
                fenced = fenced or (commit if last is None else None)
            elif commit.metadata and last is None:
                last = commit
            elif commit.removes_rows or (commit.metadata and not _is_of(last, commit)):
                replaced = replaced or commit
        checkpoint = self._in_use(fenced or last)
        own, planned, done = (
            checkpoint.id(),
            checkpoint.planned_batch(),
            checkpoint.committed_batch(),
        )
        in_table = self._newest_batch(own or _owner(last))
        if last and replaced and replaced.version < last.version:
            in_table = self._newest_batch(_owner(last), last.batch)
        return StreamState(
            version,
            table_id(spark, table),
            last,
            replaced,
            fenced,
            checkpoint,
            own,
            -1 if planned is None else planned,
            -1 if done is None else done,
            in_table,
            in_table >= 0 or bool(spark.table(table).head(1)),
        )

    def require_lasting_marks(self) -> None:
        """Raises CheckpointMismatchError if Delta forgets the batches of the table after a time."""
        kept = read_properties(self.lakehouse, self.table).get(_MARKS)
        if kept:
            raise CheckpointMismatchError(
                f"{self.name}: {self.table} has the property {_MARKS} = {kept!r}. After that time "
                "Delta forgets which batches it has, and takes a batch of a stale run. Nothing was "
                f"read. Remove it: ALTER TABLE {self.lakehouse.name(self.table)} UNSET "
                f"TBLPROPERTIES ('{_MARKS}')."
            )

    def require(self, state: StreamState, topic: TopicState) -> None:
        """Raises CheckpointMismatchError, with the recovery options, unless the three match."""
        problem = self._interrupted_recovery(state) or self._table_problem(state)
        problem = problem or self._checkpoint_problem(state)
        if problem:
            raise self.error(problem, state)
        known = state.last.metadata.get("topic_id") if state.last else None
        if known and topic.id and known != topic.id:
            raise CheckpointMismatchError(
                f"{self.name}: topic {self.checkpoint.topic} was deleted and created again: it has "
                f"id {topic.id}, the table was written from id {known}. Its offsets mean other "
                f"records now, so nothing was read. --reset-checkpoint {self.name} reads the new "
                "topic from its first record into the same table, beside the rows of the old one."
            )
        self._require_offsets_exist(state.checkpoint.committed() or {}, topic.latest)

    def error(self, problem: str, state: StreamState) -> CheckpointMismatchError:
        """The error, with the recovery options that apply."""
        name, options = self.name, []
        if state.done >= 0 or state.last:
            options.append(
                f"--accept-data-loss {name} continues after the last offset read, and enters what "
                "is missing in the batch log as an accepted gap"
            )
        if state.last and state.owner:
            again = max(0, min(state.in_table, state.done) + 1)
            options.append(
                f"--rewind-to {name}={again} reads again from batch {again} on (an earlier batch "
                "is possible too)"
            )
        options.append(
            f"--reset-checkpoint {name} reads the topic from its first record, as a new stream"
        )
        return CheckpointMismatchError(
            f"{name}: {problem} Nothing was written. Recovery options: {'; '.join(options)}."
        )

    def _interrupted_recovery(self, state: StreamState) -> str | None:
        """The problem of a recovery option that was started but not finished."""
        if state.fenced is None:
            return None
        return (
            f"--{state.fenced.metadata[FENCE]} was begun in version {state.fenced.version} of "
            f"{self.table}, and ended checkpoint generation {state.checkpoint.generation}, but no "
            "later one has begun: it was stopped, or is still running. Use the option again."
        )

    def _table_problem(self, state: StreamState) -> str | None:
        """The problem of the table, compared with the checkpoint."""
        if state.replaced and (state.last or state.done >= 0):
            lost = self._lost_batches(state)
            when = "before" if state.overtaken else "after"
            return f"{self.table} was changed by {state.replaced} {when} its last batch{lost}."
        if state.last is None and state.done > state.in_table:
            return (
                f"{self.table} has no trace of the {state.done + 1} batches that checkpoint "
                f"{state.checkpoint_id} marks as done: the table was replaced, or the checkpoint "
                "belongs to another one."
            )
        metadata = state.last.metadata if state.last else {}
        if metadata.get("table_id") not in (None, state.table_id):
            return (
                f"{self.table} is a copy, or was replaced: it has id {state.table_id}, but its "
                f"last batch was written to id {metadata['table_id']}."
            )
        return None

    def _checkpoint_problem(self, state: StreamState) -> str | None:
        """The problem of the checkpoint, compared with the table."""
        path = state.checkpoint.path
        if state.last is None:
            unknown = state.has_rows and state.in_table < 0
            problem = f"{self.table} has rows that no checkpoint at {path} accounts for."
            return problem if unknown else None
        batch = state.last.batch
        if state.last.metadata["stream"] == self.name and state.is_restarted:
            return self._batch_problem(state, state.last, -1)
        if state.checkpoint_id is None:
            return (
                f"there is no checkpoint at {path}, but {self.table} has {_batches(batch)} of "
                f"checkpoint {state.owner}: it was removed, or another one writes this table. "
                "A new checkpoint would write all records a second time."
            )
        if state.checkpoint_id != state.owner or state.last.metadata["stream"] != self.name:
            return (
                f"the checkpoint at {path} is {state.checkpoint_id}, but {self.table} was written "
                f"by stream {state.last.metadata['stream']} from checkpoint {state.owner}."
            )
        return self._batch_problem(state, state.last, -1 if batch is None else batch)

    def _batch_problem(self, state: StreamState, last: Commit, newest: int) -> str | None:
        """The problem of the batches of a checkpoint that is the table's own."""
        if newest < state.done:
            return (
                f"the last batch in {self.table} is {newest}, but the checkpoint marks batch "
                f"{state.done} as done: the table is an older copy."
            )
        if newest > state.planned:
            return (
                f"{self.table} has batch {newest}, but the checkpoint at {state.checkpoint.path} "
                f"has planned no more than {state.planned}: the checkpoint is an older copy."
            )
        if last.rows and state.in_table < newest:
            return (
                f"the history of {self.table} has batch {newest} with {last.rows} rows, but the "
                "table has none of them: Delta would skip the batch if it were written again."
            )
        return None

    def _in_use(self, newest: Commit | None) -> Checkpoint:
        """The checkpoint of the newest commit's generation; without one, of the newest folder."""
        is_own = newest is not None and newest.metadata["stream"] == self.name
        generation = newest.generation if newest and is_own else None
        return self.checkpoint.newest() if generation is None else self.checkpoint.of(generation)

    def _lost_batches(self, state: StreamState) -> str:
        newest = state.last.batch if state.last else state.done
        if newest is None or newest - state.overtaken <= state.in_table:
            return ""
        newest -= state.overtaken
        first = state.in_table + 1
        which = f"batch {newest} is" if first == newest else f"batches {first} to {newest} are"
        return f", and {which} no longer in it; Delta would skip them if they were written again"

    def _newest_batch(self, checkpoint: int | None, below: int | None = None) -> int:
        if checkpoint is None:
            return -1
        older = "" if below is None else f" AND batch_id < {below}"
        newest = self.lakehouse.spark.sql(
            f"SELECT max(batch_id) FROM {self.lakehouse.name(self.table)}"
            f" WHERE checkpoint_id = {checkpoint:d}{older}"
        ).collect()[0][0]
        return -1 if newest is None else int(newest)

    def _require_offsets_exist(self, read: Offsets, latest: Offsets) -> None:
        too_far = {part: at for part, at in read.items() if at > latest.get(part, 0)}
        if too_far:
            part, at = next(iter(too_far.items()))
            raise CheckpointMismatchError(
                f"{self.name}: partition {part} of topic {self.checkpoint.topic} was read up to "
                f"offset {at}, but the broker has only {latest.get(part, 0)}: it is another topic "
                "or another broker, or it lost its data. Nothing was read. --reset-checkpoint "
                f"{self.name} reads the topic from its first record."
            )


def _owner(commit: Commit | None) -> int | None:
    """The checkpoint of a commit. For a restart, the previous one: the new one has no id yet."""
    if commit is None:
        return None
    previous = commit.metadata.get("previous_checkpoint")
    owner: int | None = commit.metadata.get("checkpoint", previous)
    return owner


def _is_of(last: Commit | None, commit: Commit) -> bool:
    """Whether a commit has the stream and the generation of the `last` one."""
    names = ("stream", "generation")
    return last is not None and all(last.metadata.get(n) == commit.metadata.get(n) for n in names)


def _batches(batch: int | None) -> str:
    return "no batch" if batch is None else f"{batch + 1} batch(es)"
