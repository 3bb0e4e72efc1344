"""Reads quarantined records again, and puts those that pass now in their place."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import NamedTuple

from pyspark.errors import AnalysisException
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from matchlake.errors import ParameterError
from matchlake.ingest.params import StreamParams
from matchlake.ingest.parse.messages import parse_messages
from matchlake.ingest.reasons import Reason
from matchlake.ingest.schema import GOOD, QUARANTINED
from matchlake.ingest.streams.audit import Ledger
from matchlake.ingest.streams.reconciliation import Batch, among
from matchlake.ingest.tables import stream_columns
from matchlake.io.delta import WRITTEN_BY_ANOTHER, Lakehouse, retry_conflicts
from matchlake.schemas import quote_identifier

_PLACE = ("checkpoint_id", "batch_id", "partition", "offset")
_SOURCE = "replayed_records"


class Replayed(NamedTuple):
    """What became of the records that were read again."""

    tried: int
    passed: int


@dataclass(frozen=True)
class Replay:
    """The quarantined records of one stream, by reason and time."""

    stream: StreamParams
    lakehouse: Lakehouse = field(repr=False)
    reasons: tuple[str, ...] = ()
    """Only those with one of these reasons; empty: all."""
    since: str | None = None
    """Only those that Kafka took at or after this ISO 8601 time, UTC."""
    fix: str | None = None
    """SQL expression of the value to be read, as text: of `value`, `key`, `reason`, `detail`."""

    def chosen(self) -> DataFrame:
        """The records; lazy. Raises ParameterError for a reason or a time that is none."""
        unknown = sorted(set(self.reasons).difference(Reason))
        if unknown:
            raise ParameterError(f"No reason {', '.join(unknown)}: there is {', '.join(Reason)}.")
        rows = self.lakehouse.read(self.stream.table).where(
            (F.col("status") == QUARANTINED) & (F.col("topic") == self.stream.topic)
        )
        if self.reasons:
            rows = rows.where(F.col("reason").isin(*self.reasons))
        if self.since:
            rows = rows.where(F.col("kafka_timestamp") >= F.lit(_instant(self.since)))
        return rows

    def run(self, ledger: Ledger) -> Replayed:
        """Merges what passes now on its position, in one commit, and corrects the ledger.

        Those that still do not pass keep their bytes and get the new reason, or the old one where
        a fix was tried: what is wrong with its text is not wrong with theirs. Run again, it finds
        those alone.
        """
        rows = self.chosen()
        tried = rows.groupBy("checkpoint_id", "batch_id").count().collect()
        if not tried:
            return Replayed(0, 0)
        batches = {(row.checkpoint_id, row.batch_id) for row in tried}
        rows = rows.where(among(batches))  # the stream may go on and write others
        before = self._quarantined(batches)
        self._read_again(rows).createOrReplaceTempView(_SOURCE)
        try:
            self._merge_with_patience()
        finally:
            self.lakehouse.spark.catalog.dropTempView(_SOURCE)
        ledger.renew(batches)
        return Replayed(sum(row["count"] for row in tried), before - self._quarantined(batches))

    def _quarantined(self, batches: set[Batch]) -> int:
        rows = self.lakehouse.read(self.stream.table).where(among(batches))
        return rows.where(F.col("status") == QUARANTINED).count()

    def _merge_with_patience(self) -> None:
        """Tries again where the stream has just written: Delta lets one of the two win."""
        spark, merge = self.lakehouse.spark, self._merge()
        retry_conflicts(lambda: spark.sql(merge).collect(), WRITTEN_BY_ANOTHER, self.stream.table)

    def _read_again(self, rows: DataFrame) -> DataFrame:
        messages = rows.select(
            F.col("kafka_timestamp").alias("timestamp"), "raw.*", "reason", "detail", *_PLACE
        )
        if self.fix:
            texts = {name: F.col(name).cast("string") for name in ("key", "value")}
            try:
                fixed = F.expr(self.fix).cast("string").cast("binary")
                messages = messages.withColumns(texts).withColumn("value", fixed)
                messages = messages.withColumn("key", F.col("key").cast("binary"))
                _ = messages.columns
            except AnalysisException as error:
                raise ParameterError(f"--fix {self.fix!r}: {error.getErrorClass()}") from None
        return parse_messages(messages, self.stream, passing=("checkpoint_id", "batch_id"))

    def _merge(self) -> str:
        """Position for position; raw bytes stay where a fix made the value pass."""
        columns = [quote_identifier(column.name) for column in stream_columns(self.stream)]
        good = [f"{name} = s.{name}" for name in columns]
        good += ["status = s.status", "reason = NULL", "detail = NULL"]
        if not self.fix:
            good += ["raw = NULL"]
        again = ["attempt = t.attempt + 1"]
        both = ["schema_version = s.schema_version", *again]
        bad = again if self.fix else ["reason = s.reason", "detail = s.detail", *both]
        where = " AND ".join(f"t.{name} = s.{name}" for name in _PLACE)
        return (
            f"MERGE INTO {self.lakehouse.name(self.stream.table)} t USING {_SOURCE} s ON {where}"
            f" AND t.status = '{QUARANTINED}'"
            f" WHEN MATCHED AND s.status = '{GOOD}' THEN UPDATE SET {', '.join([*good, *both])}"
            f" WHEN MATCHED THEN UPDATE SET {', '.join(bad)}"
        )


def _instant(text: str) -> datetime:
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise ParameterError(
            f"--since {text!r} is no time: give it as 2024-05-01T10:00:00Z, or 2024-05-01."
        ) from None
    return at if at.tzinfo else at.replace(tzinfo=UTC)
