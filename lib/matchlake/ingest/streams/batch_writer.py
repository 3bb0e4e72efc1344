"""Writes one micro-batch into its bronze table, in one commit that says what it holds."""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from matchlake.errors import IdentityError, InputError
from matchlake.ingest.params import StreamParams
from matchlake.ingest.parse.messages import parse_messages
from matchlake.ingest.schema import QUARANTINED
from matchlake.ingest.streams.checkpoint import Checkpoint
from matchlake.ingest.streams.commits import INGEST, commits


@dataclass(frozen=True)
class BatchWriter:
    """What `foreachBatch` calls; holds no session, so that it can travel to where it is called."""

    table: str
    """The full, quoted name."""
    stream: StreamParams
    checkpoint: str
    """The checkpoint's folder."""
    told: Mapping[str, Any]
    """What each commit says: stream, topic, topic_id, table_id."""
    seen: int
    """Up to which version the table's history was judged before the start."""
    begun: Mapping[str, Any] = field(default_factory=dict)
    """What the first commit of a checkpoint says besides: how the stream began anew in it."""

    def __call__(self, messages: DataFrame, batch: int) -> None:
        """Appends a row for each message, good or bad, in one commit.

        They are parsed here and not in the stream's own plan, at whose end Spark copies what it
        hands over: a message has fewer columns than a row. Delta takes a batch of one checkpoint
        once: a second try adds nothing.

        Raises:
            IdentityError: the table was changed under the stream, or has another writer; or the
                checkpoint is gone.
            InputError: more of the batch is bad than may be. Nothing of it was written.
        """
        began = time.time()
        checkpoint = Checkpoint(messages.sparkSession, self.checkpoint, self.told["topic"])
        own = checkpoint.id()
        if own is None:
            raise IdentityError(
                f"{self.told['stream']}: the checkpoint at {self.checkpoint} was removed while it "
                "was written to. Nothing was written since."
            )
        told = {
            **self.told,
            **({} if batch else self.begun),
            "checkpoint": own,
            "batch": batch,
            "offsets": checkpoint.plan(batch),
            "began": began,
            "judged": self.require_undisturbed(messages, own),
        }
        rows = parse_messages(messages, self.stream, batch=(own, batch))
        self.require_few_bad(rows, batch)
        self.write(rows, told)

    def require_undisturbed(self, rows: DataFrame, checkpoint: int) -> int:
        """Looks at what happened to the table since it was looked at last, and returns up to when.

        That is before the stream's newest commit, not at it: something may have come in between.
        """
        newest, judged = self.seen, self.seen
        for commit in commits(rows.sparkSession, self.table):
            if commit.version <= judged:
                break
            newest = max(newest, commit.version)
            if commit.told.get("checkpoint") == checkpoint:
                judged = max(judged, commit.judged)
            elif commit.told:
                raise IdentityError(
                    f"{self.told['stream']}: {self.table} has another writer: stream "
                    f"{commit.told['stream']} with checkpoint {commit.told['checkpoint']} wrote "
                    f"version {commit.version}. Stop one of them. Nothing was written."
                )
            elif commit.replaces:
                raise IdentityError(
                    f"{self.told['stream']}: {self.table} was changed by {commit} while it was "
                    "written to. Nothing was written since; run the job again for the ways out."
                )
        return newest

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
                f"{self.told['stream']}: {count} of {total} records of batch {batch} are bad "
                f"({listed}), which is more than max_bad_share {self.stream.max_bad_share:g}. "
                "Nothing of it was written. Correct the declared columns, or allow a greater share."
            )

    def write(self, rows: DataFrame, told: Mapping[str, Any]) -> None:
        """Appends rows in one commit whose user metadata is what is `told` of them."""
        (
            rows.write.format("delta")
            .mode("append")
            .option("txnAppId", f"{INGEST}/{told['stream']}/{told['checkpoint']}")
            .option("txnVersion", str(told["batch"]))
            .option("userMetadata", json.dumps({INGEST: told}))
            .saveAsTable(self.table)
        )
