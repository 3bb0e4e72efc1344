"""Writes one micro-batch into its bronze table, in one commit that says what it holds."""

import json
import time
from dataclasses import dataclass
from typing import Any

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from matchlake.io.checkpoint import Checkpoint, Ranges

INGEST = "matchlake_ingest"
"""The key of what the product says of a batch in the commit's user metadata."""


@dataclass(frozen=True)
class BatchWriter:
    """What `foreachBatch` calls; holds no session, so that it can travel to where it is called."""

    stream: str
    topic: str
    table: str
    """The full, quoted name."""
    checkpoint: str
    """The checkpoint's folder."""

    def __call__(self, rows: DataFrame, batch: int) -> None:
        """Appends the rows, good and bad, in one commit.

        Delta takes a batch of one checkpoint once: a second try adds nothing.
        """
        began = time.time()
        checkpoint = Checkpoint(rows.sparkSession, self.checkpoint, self.topic)
        told = {
            "stream": self.stream,
            "checkpoint": checkpoint.id(),
            "batch": batch,
            "topic": self.topic,
            "offsets": as_json(checkpoint.plan(batch)),
            "began": began,
        }
        placed = rows.withColumns(
            {"checkpoint_id": F.lit(told["checkpoint"]), "batch_id": F.lit(batch).cast("bigint")}
        )
        self.write(placed, told)

    def write(self, rows: DataFrame, told: dict[str, Any]) -> None:
        """Appends rows in one commit whose user metadata is what is `told` of them."""
        (
            rows.write.format("delta")
            .mode("append")
            .option("txnAppId", f"{INGEST}/{told['stream']}/{told['checkpoint']}")
            .option("txnVersion", str(told["batch"]))
            .option("userMetadata", json.dumps({INGEST: told}))
            .saveAsTable(self.table)
        )


def as_json(ranges: Ranges) -> dict[str, list[int]]:
    """Ranges as JSON has them."""
    return {str(part): list(both) for part, both in ranges.items()}
