"""Writes one micro-batch into its bronze table, in one commit that says what it holds."""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from py4j.protocol import Py4JError
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from matchlake.errors import IdentityError, InputError
from matchlake.ingest.params import StreamParams
from matchlake.ingest.parse.messages import parse_messages
from matchlake.ingest.schema import QUARANTINED
from matchlake.ingest.streams.checkpoint import Checkpoint, Ranges
from matchlake.ingest.streams.commits import FENCE, INGEST, Commit, commits, mark_of


@dataclass(frozen=True)
class BatchWriter:
    """What `foreachBatch` calls; holds no session, so that it can travel to where it is called.

    Three laws keep a batch from being lost or doubled, each by itself: the fence in the table ends
    a stale run, a batch begins where the one before it ended, and what was written is looked for.
    """

    table: str
    """The full, quoted name."""
    stream: StreamParams
    folder: str
    """The folder of the stream's checkpoint generations."""
    generation: int
    """The one that is written from."""
    told: Mapping[str, Any]
    """What each commit says: stream, topic, topic_id, table_id, generation."""
    seen: int
    """Up to which version the table's history was judged before the start."""
    own: int | None = None
    """Id of the checkpoint at the start; None before its first start."""
    first: int = 0
    """The first batch that can come after the start, where the table has none of the generation."""
    _met: list[int] = field(default_factory=list, repr=False)
    """The id that was met first, where there was none at the start."""

    def __call__(self, messages: DataFrame, batch: int) -> None:
        """Appends a row for each message, good or bad, in one commit.

        They are parsed here and not in the stream's own plan, at whose end Spark copies what it
        hands over: a message has fewer columns than a row. Delta takes a batch of one checkpoint
        generation once: a second try adds nothing.

        Raises:
            IdentityError: the table was changed under the stream, or has another writer; this is a
                stale run; the batch does not go on where the one before it ended; the checkpoint
                is gone or another one; or Delta did not take the batch.
            InputError: more of the batch is bad than may be. Nothing of it was written.
        """
        began, spark = time.time(), messages.sparkSession
        checkpoint = Checkpoint(spark, self.folder, self.told["topic"], self.generation)
        own, plan = self.require_own(checkpoint), checkpoint.plan(batch)
        judged, last = self.require_undisturbed(spark, own)
        if not self.is_next(last, own, batch, plan):
            return
        told = {
            **self.told,
            "checkpoint": own,
            "batch": batch,
            "offsets": plan,
            "began": began,
            "judged": judged,
        }
        rows = parse_messages(messages, self.stream, batch=(own, batch))
        self.require_few_bad(rows, batch)
        try:
            self.write(rows, told)
        except (PySparkException, Py4JError):
            self.require_not_fenced(spark)
            raise
        self.require_written(spark, told)

    def require_own(self, checkpoint: Checkpoint) -> int:
        """The checkpoint's id, which has to be the one that it had before."""
        found, known = checkpoint.id(), self.own
        if found is None:
            raise IdentityError(
                f"{self._name}: the checkpoint at {checkpoint.path} was removed while it "
                "was written to. Nothing was written since."
            )
        if known is None:
            self._met.append(found)
            known = self._met[0]
        if found != known:
            raise IdentityError(
                f"{self._name}: the checkpoint at {checkpoint.path} is {found}, but this run began "
                f"with {known}: another one was put in its place. Nothing was written since. Let "
                "this run end, and run the job again for the ways out."
            )
        return found

    def require_undisturbed(self, spark: SparkSession, own: int) -> tuple[int, Commit | None]:
        """Looks at what happened to the table since it was looked at last, and returns up to when.

        That is before the stream's newest commit, not at it: something may have come in between.
        Returns besides the newest commit of the generation: of a batch, or that which began it.
        """
        newest, judged, last = self.seen, self.seen, None
        for commit in commits(spark, self.table, at_once=3):
            if commit.version <= judged and last:
                break
            newest = max(newest, commit.version)
            if self._is_of_generation(commit):
                last = last or commit
            if commit.version > judged:
                self._require_harmless(commit, own)
                if commit.told:
                    judged = max(judged, commit.judged)
        return newest, last

    def is_next(self, last: Commit | None, own: int, batch: int, plan: Ranges) -> bool:
        """Whether a batch goes on where the `last` commit ended; not, where it is that one.

        A run that was killed before Spark held its last batch for done is given it again. Raises
        IdentityError for any other batch.
        """
        wrong = None
        if not plan:
            wrong = "the checkpoint does not say what it is to read"
        elif last is None:
            if batch > self.first:
                wrong = f"{self.table} has no trace of batch {batch - 1}"
        elif last.batch == batch:
            if last.told["checkpoint"] == own and last.offsets == plan:
                return False
            wrong = f"version {last.version} is batch {batch} already, with other offsets"
        elif batch != (0 if last.batch is None else last.batch + 1):
            wrong = _out_of_turn(last, batch)
        else:
            wrong = _not_linked(last, plan)
        if wrong:
            raise IdentityError(
                f"{self._name}: batch {batch} of checkpoint generation {self.generation} cannot be "
                f"written: {wrong}. Written, records would be lost or doubled, so nothing was "
                "written. Let this run end, and run the job again for the ways out."
            )
        return True

    def require_not_fenced(self, spark: SparkSession) -> None:
        """Raises IdentityError where a way out was taken since this run began."""
        for commit in commits(spark, self.table):
            if commit.version <= self.seen:
                break
            self._require_not_stale(commit)

    def require_written(self, spark: SparkSession, told: Mapping[str, Any]) -> None:
        """Raises IdentityError unless the batch that was written is the newest of the generation.

        Delta skips a batch whose mark it has, without an error: that of one that is written
        already, but also that of a stale run, or of one that another run has written.
        """
        passed = []
        for commit in commits(spark, self.table, at_once=2):
            if self._is_of_generation(commit):
                names = ("checkpoint", "batch")
                same = all(commit.told.get(name) == told[name] for name in names)
                if same and commit.offsets == told["offsets"]:
                    return
                break
            passed.append(commit)
        for commit in passed:
            self._require_not_stale(commit)
        raise IdentityError(
            f"{self._name}: Delta did not take batch {told['batch']} of checkpoint generation "
            f"{self.generation}: {self.table} has a mark of that batch or of a later one. Nothing "
            "of it was written: another run of this stream is under way, or was. Let this run end, "
            "and run the job again for the ways out."
        )

    def require_few_bad(self, rows: DataFrame, batch: int) -> None:
        """Reads the batch once more before it is written, where a share is set."""
        if self.stream.max_bad_share is None:
            return
        reasons = rows.groupBy("status", "reason").count().orderBy(F.desc("count")).collect()
        bad = [row for row in reasons if row.status == QUARANTINED]
        count, total = (sum(row["count"] for row in some) for some in (bad, reasons))
        if count > self.stream.max_bad_share * total:
            listed = ", ".join(f"{row['count']} {row.reason}" for row in bad)
            raise InputError(
                f"{self._name}: {count} of {total} records of batch {batch} are bad "
                f"({listed}), which is more than max_bad_share {self.stream.max_bad_share:g}. "
                "Nothing of it was written. Correct the declared columns, or allow a greater share."
            )

    def write(self, rows: DataFrame, told: Mapping[str, Any]) -> None:
        """Appends rows in one commit whose user metadata is what is `told` of them."""
        (
            rows.write.format("delta")
            .mode("append")
            .option("txnAppId", mark_of(self._name, self.generation))
            .option("txnVersion", str(told["batch"]))
            .option("userMetadata", json.dumps({INGEST: told}))
            .saveAsTable(self.table)
        )

    @property
    def _name(self) -> str:
        return str(self.told["stream"])

    def _is_of_generation(self, commit: Commit) -> bool:
        """Whether it is a batch of this generation, or began it."""
        is_own = commit.told.get("stream") == self._name
        return is_own and commit.generation == self.generation and FENCE not in commit.told

    def _require_harmless(self, commit: Commit, own: int) -> None:
        """Raises IdentityError where a commit since the start says that the table is not ours."""
        self._require_not_stale(commit)
        is_own = self._is_of_generation(commit) and commit.told.get("checkpoint", own) == own
        if commit.told and not is_own:
            raise IdentityError(
                f"{self._name}: {self.table} has another writer: stream {commit.told['stream']} "
                f"with checkpoint {commit.told.get('checkpoint')} wrote version {commit.version}. "
                "Stop one of them. Nothing was written."
            )
        if commit.replaces:
            raise IdentityError(
                f"{self._name}: {self.table} was changed by {commit} while it was "
                "written to. Nothing was written since; run the job again for the ways out."
            )

    def _require_not_stale(self, commit: Commit) -> None:
        """Raises IdentityError where a commit fenced this generation, or is of a later one."""
        found = commit.generation
        if commit.told.get("stream") != self._name or found is None:
            return
        if found > self.generation or (found == self.generation and FENCE in commit.told):
            way = commit.told.get(FENCE) or commit.told.get("begun")
            by = f"--{way}" if way else f"checkpoint generation {found}"
            raise IdentityError(
                f"{self._name}: this is a stale run: a way out was taken while it stood still, and "
                f"ended its checkpoint generation {self.generation} (version {commit.version} of "
                f"{self.table}: {by}). Nothing was written since. Let this run end: the stream "
                "goes on in a later generation."
            )


def _out_of_turn(last: Commit, batch: int) -> str:
    """Which batch is the newest, in words."""
    if last.batch is None:
        return f"version {last.version} began the generation, and batch 0 comes next"
    known = f"version {last.version} is batch {last.batch}"
    return f"{known}: another run of this stream is under way" if last.batch > batch else known


def _not_linked(last: Commit, plan: Ranges) -> str | None:
    """Where a batch does not begin at the offsets at which the `last` commit ended, in words."""
    ended = {part: end for part, (_, end) in last.offsets.items()}
    if last.batch is None and not ended:
        return None  # it began at whatever the broker held
    for part, end in ended.items():
        if part not in plan:
            return f"it leaves out partition {part}, which was read up to offset {end}"
        if plan[part][0] != end:
            return (
                f"partition {part} begins at offset {plan[part][0]}, but version {last.version} "
                f"ended at {end}"
            )
    for part, (first, _) in plan.items():
        if part not in ended and first and last.batch is not None:
            return f"partition {part} is new, but begins at offset {first}"
    return None
