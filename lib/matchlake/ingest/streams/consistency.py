"""Who a stream is: whether its checkpoint, its table and its topic still belong together.

Every commit of a batch says which checkpoint it came from, which batch it is, and what topic and
table were meant. At a start the newest of these commits is compared with the checkpoint: Delta
itself would skip a batch whose mark it still has, also when the rows are long gone.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

from matchlake.errors import IdentityError
from matchlake.ingest.streams.checkpoint import Checkpoint
from matchlake.ingest.streams.commits import FENCE, Commit, commits, table_id
from matchlake.io.delta import Lakehouse
from matchlake.io.kafka import Offsets, TopicState


class Standing(NamedTuple):
    """What a start found."""

    version: int
    """The table's version that was looked at."""
    table_id: str
    last: Commit | None
    """The newest commit of a batch, or of a beginning, that the table's history has."""
    replaced: Commit | None
    """A commit after those it had judged that may have taken rows away."""
    fenced: Commit | None
    """The commit that fenced the generation in use, where no other was begun after it."""
    checkpoint: Checkpoint
    """That of the generation in use."""
    checkpoint_id: int | None
    planned: int
    """Newest batch that the checkpoint has planned; -1 before the first."""
    done: int
    """Newest batch that the checkpoint holds for done; -1 before the first."""
    held: int
    """Newest batch, when the table was replaced, of which it has rows; -1 where none."""
    rows: bool
    """Whether the table has any rows."""

    @property
    def owner(self) -> int | None:
        """The checkpoint from which the table was last written."""
        return _owner(self.last)

    @property
    def is_begun(self) -> bool:
        """Whether the generation in use was begun by a way out, and has no batch yet."""
        return self.last is not None and self.last.batch is None

    @property
    def overtaken(self) -> bool:
        """Whether the table was replaced while the last batch was being written."""
        return bool(self.replaced and self.last and self.replaced.version < self.last.version)


@dataclass(frozen=True)
class Identity:
    """One stream's checkpoint and table, to be held against each other and the topic."""

    name: str
    table: str
    checkpoint: Checkpoint
    """Of any generation: which one is in use, the table says."""
    lakehouse: Lakehouse = field(repr=False)

    def look(self) -> Standing:
        """Looks at checkpoint, history and rows; a few small jobs."""
        spark, table = self.lakehouse.spark, self.lakehouse.name(self.table)
        version, last, replaced, fenced = -1, None, None, None
        for commit in commits(spark, table):
            version = max(version, commit.version)
            if last and commit.version <= last.judged:
                break
            if FENCE in commit.told:
                fenced = fenced or (commit if last is None else None)
            elif commit.told and last is None:
                last = commit
            elif commit.replaces or (commit.told and not _is_of(last, commit)):
                replaced = replaced or commit
        at = self._in_use(fenced or last)
        own, planned, done = at.id(), at.planned_batch(), at.committed_batch()
        held = self._newest_row(own or _owner(last))
        if last and replaced and replaced.version < last.version:
            held = self._newest_row(_owner(last), last.batch)
        return Standing(
            version,
            table_id(spark, table),
            last,
            replaced,
            fenced,
            at,
            own,
            -1 if planned is None else planned,
            -1 if done is None else done,
            held,
            held >= 0 or bool(spark.table(table).head(1)),
        )

    def require(self, standing: Standing, topic: TopicState) -> None:
        """Raises IdentityError, with the ways out, unless all belong together."""
        wrong = self._of_way_out(standing) or self._of_table(standing)
        wrong = wrong or self._of_checkpoint(standing)
        if wrong:
            raise self.error(wrong, standing)
        told = standing.last.told if standing.last else {}
        known = told.get("topic_id")
        if known and topic.id and known != topic.id:
            raise IdentityError(
                f"{self.name}: topic {self.checkpoint.topic} was deleted and made anew: it has id "
                f"{topic.id}, the table was written from id {known}. Its offsets mean other "
                f"records now, so nothing was read. --new-identity {self.name} reads the new topic "
                "from its first record into the same table, beside the rows of the old one."
            )
        self._require_not_beyond(standing.checkpoint.committed() or {}, topic.latest)

    def error(self, wrong: str, standing: Standing) -> IdentityError:
        """The error with what can be done about it."""
        name, ways = self.name, []
        if standing.done >= 0 or standing.last:
            ways.append(
                f"--adopt {name} goes on after what was read last, and enters what is missing "
                "in the ledger as an accepted gap"
            )
        if standing.last and standing.owner:
            again = max(0, min(standing.held, standing.done) + 1)
            ways.append(
                f"--rewind-to {name}={again} reads again from batch {again} on (any earlier one "
                "can be named too)"
            )
        ways.append(
            f"--new-identity {name} reads the topic from its first record that is held, as a new "
            "stream"
        )
        return IdentityError(f"{name}: {wrong} Nothing was written. Ways out: {'; '.join(ways)}.")

    def _of_way_out(self, found: Standing) -> str | None:
        """What is wrong where a way out was begun, and not led to its end."""
        if found.fenced is None:
            return None
        return (
            f"--{found.fenced.told[FENCE]} was begun in version {found.fenced.version} of "
            f"{self.table}, and ended checkpoint generation {found.checkpoint.generation}, but no "
            "other one was begun: it was stopped, or is still under way. Take it again."
        )

    def _of_table(self, found: Standing) -> str | None:
        """What is wrong with the table, seen from the checkpoint."""
        if found.replaced and (found.last or found.done >= 0):
            lost = self._lost(found)
            when = "before" if found.overtaken else "after"
            return f"{self.table} was changed by {found.replaced} {when} its last batch{lost}."
        if found.last is None and found.done > found.held:
            return (
                f"{self.table} has no trace of the {found.done + 1} batches that checkpoint "
                f"{found.checkpoint_id} holds for done: the table was replaced, or the checkpoint "
                "belongs to another one."
            )
        told = found.last.told if found.last else {}
        if told.get("table_id") not in (None, found.table_id):
            return (
                f"{self.table} is a copy, or was replaced: it has id {found.table_id}, its last "
                f"batch was written to id {told['table_id']}."
            )
        return None

    def _of_checkpoint(self, found: Standing) -> str | None:
        """What is wrong with the checkpoint, seen from the table."""
        at = found.checkpoint.path
        if found.last is None:
            unknown = found.rows and found.held < 0
            told = f"{self.table} has rows that no checkpoint at {at} accounts for."
            return told if unknown else None
        batch = found.last.batch
        if found.last.told["stream"] == self.name and found.is_begun:
            return self._of_batches(found, found.last, -1)
        if found.checkpoint_id is None:
            return (
                f"there is no checkpoint at {at}, but {self.table} has {_batches(batch)} of "
                f"checkpoint {found.owner}: it was removed, or another one writes this table. "
                "Started anew, all records would be written twice."
            )
        if found.checkpoint_id != found.owner or found.last.told["stream"] != self.name:
            return (
                f"the checkpoint at {at} is {found.checkpoint_id}, but {self.table} was "
                f"written by stream {found.last.told['stream']} from checkpoint {found.owner}."
            )
        return self._of_batches(found, found.last, -1 if batch is None else batch)

    def _of_batches(self, found: Standing, last: Commit, newest: int) -> str | None:
        """What is wrong with the batches of a checkpoint that is the table's own."""
        if newest < found.done:
            return (
                f"the last batch in {self.table} is {newest}, but the checkpoint holds batch "
                f"{found.done} for done: the table is an older copy."
            )
        if newest > found.planned:
            return (
                f"{self.table} has batch {newest}, but the checkpoint at {found.checkpoint.path} "
                f"has planned no more than {found.planned}: the checkpoint is an older copy."
            )
        if last.rows and found.held < newest:
            return (
                f"the history of {self.table} has batch {newest} with {last.rows} rows, but "
                "none of them is there: Delta would skip the batch if it were written again."
            )
        return None

    def _in_use(self, newest: Commit | None) -> Checkpoint:
        """The checkpoint of the generation that the newest commit names; else the newest there."""
        is_own = newest is not None and newest.told["stream"] == self.name
        generation = newest.generation if newest and is_own else None
        return self.checkpoint.newest() if generation is None else self.checkpoint.of(generation)

    def _lost(self, found: Standing) -> str:
        newest = found.last.batch if found.last else found.done
        if newest is None or newest - found.overtaken <= found.held:
            return ""
        newest -= found.overtaken
        first = found.held + 1
        which = f"batch {newest} is" if first == newest else f"batches {first} to {newest} are"
        return f", and {which} no longer in it; Delta keeps their marks and would skip them"

    def _newest_row(self, checkpoint: int | None, below: int | None = None) -> int:
        if checkpoint is None:
            return -1
        older = "" if below is None else f" AND batch_id < {below}"
        newest = self.lakehouse.spark.sql(
            f"SELECT max(batch_id) FROM {self.lakehouse.name(self.table)}"
            f" WHERE checkpoint_id = {checkpoint:d}{older}"
        ).collect()[0][0]
        return -1 if newest is None else int(newest)

    def _require_not_beyond(self, read: Offsets, latest: Offsets) -> None:
        beyond = {part: at for part, at in read.items() if at > latest.get(part, 0)}
        if beyond:
            part, at = next(iter(beyond.items()))
            raise IdentityError(
                f"{self.name}: partition {part} of topic {self.checkpoint.topic} was read up to "
                f"offset {at}, but the broker has only {latest.get(part, 0)}: it is another topic "
                "or another broker, or it lost its data. Nothing was read. --new-identity "
                f"{self.name} reads the topic from its first record that is held."
            )


def _owner(commit: Commit | None) -> int | None:
    """The checkpoint that a commit was made from; of one that began a generation, the one before.

    Its own checkpoint is made after it.
    """
    return commit.told.get("checkpoint", commit.told.get("before")) if commit else None


def _is_of(last: Commit | None, commit: Commit) -> bool:
    """Whether a commit is one of the same stream and generation."""
    names = ("stream", "generation")
    return last is not None and all(last.told.get(each) == commit.told.get(each) for each in names)


def _batches(batch: int | None) -> str:
    return "no batch" if batch is None else f"{batch + 1} batch(es)"
