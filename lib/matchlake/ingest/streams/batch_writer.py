"""Writes a micro-batch into its bronze table, in one commit with the offsets of the batch."""

import json
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from py4j.protocol import Py4JError
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from matchlake.errors import CheckpointMismatchError, InputError
from matchlake.ingest.params import StreamParams
from matchlake.ingest.schema import ERROR_CODE, QUARANTINED, STATUS
from matchlake.ingest.streams.checkpoint import Checkpoint, Ranges
from matchlake.ingest.streams.commits import FENCE, INGEST, Commit, commits, transaction_id
from matchlake.ingest.streams.erased_records import ErasedRecords
from matchlake.ingest.streams.messages import parse_messages
from matchlake.ingest.streams.odd_times import KafkaPythonReader, is_overflow
from matchlake.ingest.streams.query_errors import is_lost_worker
from matchlake.ingest.streams.stream_rules import require_obeyed

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class BatchWriter:
    """The function of `foreachBatch`. It holds no session, so Spark can send it to a server.

    Three independent checks prevent lost and repeated batches. A fence in the table stops stale
    runs. A batch must begin where the previous batch ended. The commit of each batch must be in the
    history of the table before the next batch, and at the end of a run.
    """

    table: str
    """The full, quoted name."""
    stream: StreamParams
    folder: str
    """The folder of the checkpoint generations of the stream."""
    generation: int
    """The generation in use."""
    metadata: Mapping[str, Any]
    """The metadata of every commit: stream, topic, topic_id, table_id, generation."""
    checked_version: int
    """The newest version of the table that was checked before the start."""
    checkpoint_id: int | None = None
    """The id of the checkpoint at the start; None before its first start."""
    first_batch: int = 0
    """The first batch after the start, if the table has no batch of the generation."""
    erased: ErasedRecords | None = None
    """Empties the records of erased users."""
    kafka_python: KafkaPythonReader | None = None
    """Reads a batch that Spark's Kafka source cannot read, with kafka-python."""
    _first_id: list[int] = field(default_factory=list, repr=False)
    """The first id of the checkpoint, if it had none at the start."""

    def __call__(self, messages: DataFrame, batch: int) -> None:
        """Appends one row per message, valid or quarantined, in one commit.

        Messages are parsed here, not in the plan of the stream. Spark copies the result of that
        plan, and a message has fewer columns than a parsed row. Delta takes each batch of a
        checkpoint generation once, so a second call adds nothing.

        Raises:
            CheckpointMismatchError: the table was changed or has another writer; this is a stale
                run; the batch does not begin where the previous one ended; Delta skipped the
                previous one; or the checkpoint was removed or replaced.
            InputError: too many records of the batch are quarantined, or one breaks a rule with the
                action `fail`. None of them was written.
        """
        began, spark = time.time(), messages.sparkSession
        checkpoint = self._checkpoint(spark)
        own, plan = self.require_own(checkpoint), checkpoint.plan(batch)
        checked, last = self.require_undisturbed(spark, own)
        if not self.is_next(last, own, batch, plan):
            return
        metadata = {
            **self.metadata,
            "checkpoint": own,
            "batch": batch,
            "offsets": plan,
            "began": began,
            "checked_version": checked,
        }
        try:
            self.write_messages(messages, metadata)
        except (PySparkException, Py4JError) as error:
            if not (self.kafka_python and is_overflow(error)):
                raise
            text = "%s: batch %d has a timestamp that no table can hold: read with kafka-python"
            _log.warning(text, self._name, batch)
            self.write_messages(self.kafka_python.read(messages, plan), metadata)

    def require_own(self, checkpoint: Checkpoint) -> int:
        """The id of the checkpoint. Raises CheckpointMismatchError if it has changed."""
        present, known = checkpoint.id(), self.checkpoint_id
        if present is None:
            raise CheckpointMismatchError(
                f"{self._name}: the checkpoint at {checkpoint.path} was removed while it "
                "was written to. Nothing was written since."
            )
        if known is None:
            self._first_id.append(present)
            known = self._first_id[0]
        if present != known:
            raise CheckpointMismatchError(
                f"{self._name}: the checkpoint at {checkpoint.path} is {present}, but this run "
                f"began with {known}: the checkpoint was replaced. Nothing was written since. "
                "Let this run end, and run the job again for the recovery options."
            )
        return present

    def require_undisturbed(self, spark: SparkSession, own: int) -> tuple[int, Commit | None]:
        """Checks the commits since the last check. Returns the newest version, and the last batch.

        The check begins before the newest commit of the stream, because another commit may have
        come between the check of that batch and its write. The last batch is the newest commit of
        the generation: a batch, or the restart that began it.
        """
        newest, checked, last = self.checked_version, self.checked_version, None
        for commit in commits(spark, self.table, at_once=3):
            if commit.version <= checked and last:
                break
            newest = max(newest, commit.version)
            if self._is_of_generation(commit):
                last = last or commit
            if commit.version > checked:
                self._require_harmless(commit, own)
                if commit.metadata:
                    checked = max(checked, commit.checked_version)
        return newest, last

    def is_next(self, last: Commit | None, own: int, batch: int, plan: Ranges) -> bool:
        """Whether the batch follows the `last` commit; false if that commit is the batch itself.

        Spark repeats a batch if a run was killed before it marked the batch as done. Raises
        CheckpointMismatchError for any other batch.
        """
        problem = None
        if not plan:
            problem = "the checkpoint has no offsets for it"
        elif last is None:
            if batch > self.first_batch:
                problem = f"{self.table} has no trace of batch {batch - 1}"
        elif last.batch == batch:
            if last.metadata["checkpoint"] == own and last.offsets == plan:
                return False
            problem = f"version {last.version} already is batch {batch}, with other offsets"
        elif batch != (0 if last.batch is None else last.batch + 1):
            problem = _out_of_order(last, batch)
        else:
            problem = _not_contiguous(last, plan)
        if problem:
            raise CheckpointMismatchError(
                f"{self._name}: batch {batch} of checkpoint generation {self.generation} cannot be "
                f"written: {problem}. A write would lose or double records, so nothing was "
                "written. Let this run end, and run the job again for the recovery options."
            )
        return True

    def require_not_fenced(self, spark: SparkSession) -> None:
        """Raises CheckpointMismatchError if the generation was fenced since this run began."""
        for commit in commits(spark, self.table):
            if commit.version <= self.checked_version:
                break
            self._require_not_stale(commit)

    def require_written(self, spark: SparkSession) -> None:
        """Raises CheckpointMismatchError unless the table has the last batch of this run.

        Delta skips a batch with a known transaction version, without an error. This is correct for
        a batch that is in the table. It is an error for a batch of a stale run, and for a number
        that another run has used. `is_next` finds such errors before the next batch; this function
        finds them after the last batch.
        """
        checkpoint = self._checkpoint(spark)
        done = checkpoint.committed_batch()
        if done is None or done < self.first_batch:
            return
        own, plan, newer = checkpoint.id(), checkpoint.plan(done), []
        for commit in commits(spark, self.table, at_once=3):
            if self._is_of_generation(commit):
                batch = commit.batch
                is_own = commit.metadata.get("checkpoint") == own
                if batch is not None and (
                    batch > done or (batch == done and is_own and commit.offsets == plan)
                ):
                    return
                break
            newer.append(commit)
        for commit in newer:
            self._require_not_stale(commit)
        raise CheckpointMismatchError(
            f"{self._name}: Delta skipped batch {done} of checkpoint generation "
            f"{self.generation}: {self.table} has another batch of that number or a later one. "
            "Another run of this stream is or was active. Wait until it ends, then run the job "
            "again. Its message lists the recovery options."
        )

    def require_few_quarantined(self, rows: DataFrame, batch: int) -> None:
        """Raises InputError above the limit of the stream. A limit costs one more read."""
        limit = self.stream.max_quarantined_fraction
        if limit is None:
            return
        by = (STATUS.name, ERROR_CODE.name)
        groups = rows.groupBy(*by).count().orderBy(F.desc("count")).collect()
        quarantined = [row for row in groups if row[STATUS.name] == QUARANTINED]
        count, total = (sum(row["count"] for row in some) for some in (quarantined, groups))
        if count > limit * total:
            listed = ", ".join(f"{row['count']} {row[ERROR_CODE.name]}" for row in quarantined)
            raise InputError(
                f"{self._name}: {count} of {total} records of batch {batch} are quarantined "
                f"({listed}), which is more than max_quarantined_fraction {limit:g}. No "
                "record was written. Correct the declared columns, or allow a larger fraction."
            )

    def write_messages(self, messages: DataFrame, metadata: Mapping[str, Any]) -> None:
        """Parses the messages of a batch and appends them in one commit with the metadata.

        If a Python process crashes meanwhile, it tries again. After a second crash it decodes the
        values in child processes: records that crash them are quarantined. A failed try writes
        nothing; if only the response was lost, Delta skips the second commit of the batch.
        """
        for guarded in (False, False, True):
            rows = parse_messages(
                messages,
                self.stream,
                batch=(metadata["checkpoint"], metadata["batch"]),
                guarded=guarded,
                emptied=self.erased.emptied if self.erased else None,
            )
            try:
                require_obeyed(rows, self.stream, self._name, metadata["batch"])
                self.require_few_quarantined(rows, metadata["batch"])
                self.write(rows, metadata)
            except (PySparkException, Py4JError) as error:
                self.require_not_fenced(messages.sparkSession)
                if guarded or not is_lost_worker(error):
                    raise
                _log.warning(
                    "%s: a Python process ended in batch %d; it is read again",
                    self._name,
                    metadata["batch"],
                )
            else:
                return

    def write(self, rows: DataFrame, metadata: Mapping[str, Any]) -> None:
        """Appends rows in one commit with the metadata."""
        (
            rows.write.format("delta")
            .mode("append")
            .option("txnAppId", transaction_id(self._name, self.generation))
            .option("txnVersion", str(metadata["batch"]))
            .option("userMetadata", json.dumps({INGEST: metadata}))
            .saveAsTable(self.table)
        )

    def _checkpoint(self, spark: SparkSession) -> Checkpoint:
        return Checkpoint(spark, self.folder, self.metadata["topic"], self.generation)

    @property
    def _name(self) -> str:
        return str(self.metadata["stream"])

    def _is_of_generation(self, commit: Commit) -> bool:
        """Whether the commit is a batch of this generation, or its restart."""
        is_own = commit.metadata.get("stream") == self._name
        return is_own and commit.generation == self.generation and FENCE not in commit.metadata

    def _require_harmless(self, commit: Commit, own: int) -> None:
        """Raises CheckpointMismatchError for a commit that changes or takes over the table."""
        self._require_not_stale(commit)
        is_own = self._is_of_generation(commit) and commit.metadata.get("checkpoint", own) == own
        if commit.metadata and not is_own:
            raise CheckpointMismatchError(
                f"{self._name}: {self.table} has another writer: stream "
                f"{commit.metadata['stream']} with checkpoint {commit.metadata.get('checkpoint')} "
                f"wrote version {commit.version}. Stop one of them. Nothing was written."
            )
        if commit.removes_rows:
            raise CheckpointMismatchError(
                f"{self._name}: {self.table} was changed by {commit} while it was written to. "
                "Nothing was written since; run the job again for the recovery options."
            )

    def _require_not_stale(self, commit: Commit) -> None:
        """Raises CheckpointMismatchError for a fence of this generation, or for a later one."""
        generation = commit.generation
        if commit.metadata.get("stream") != self._name or generation is None:
            return
        is_fence = generation == self.generation and FENCE in commit.metadata
        if generation > self.generation or is_fence:
            option = commit.metadata.get(FENCE) or commit.metadata.get("restart")
            by = f"--{option}" if option else f"checkpoint generation {generation}"
            raise CheckpointMismatchError(
                f"{self._name}: this is a stale run: a recovery option was used while it was "
                f"suspended, and ended its checkpoint generation {self.generation} (version "
                f"{commit.version} of {self.table}: {by}). Nothing was written since. Let this run "
                "end: the stream continues in a later generation."
            )


def _out_of_order(last: Commit, batch: int) -> str:
    """A part of the message: the newest batch, and why the next batch does not follow it."""
    if last.batch is None:
        return f"version {last.version} began the generation, and batch 0 comes next"
    known = f"version {last.version} is batch {last.batch}"
    if last.batch > batch:
        return f"{known}: another run of this stream is active"
    return f"{known}, so Delta skipped batch {batch - 1}"


def _not_contiguous(last: Commit, plan: Ranges) -> str | None:
    """A message for the first partition that does not begin where the `last` commit ended."""
    ends = {part: end for part, (_, end) in last.offsets.items()}
    if last.batch is None and not ends:
        return None  # A new generation: it begins at the earliest offsets of the broker.
    for part, end in ends.items():
        if part not in plan:
            return f"it leaves out partition {part}, which was read up to offset {end}"
        if plan[part][0] != end:
            return (
                f"partition {part} begins at offset {plan[part][0]}, but version {last.version} "
                f"ended at {end}"
            )
    for part, (first, _) in plan.items():
        if part not in ends and first and last.batch is not None:
            return f"partition {part} is new, but begins at offset {first}"
    return None
