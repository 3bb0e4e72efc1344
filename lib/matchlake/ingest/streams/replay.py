"""Parses quarantined records again, and updates the rows of records that are valid now."""

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import NamedTuple

from pyspark.errors import AnalysisException
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from matchlake.errors import ParameterError
from matchlake.ingest.params import StreamParams
from matchlake.ingest.rejections import ErrorCode
from matchlake.ingest.schema import ERASED, ERROR_CODE, ERROR_COLUMNS, QUARANTINED, STATUS, VALID
from matchlake.ingest.streams.audit import BatchLog
from matchlake.ingest.streams.commits import STEP
from matchlake.ingest.streams.erased_records import erased_records
from matchlake.ingest.streams.messages import parse_messages
from matchlake.ingest.streams.reconciliation import Batch, among
from matchlake.ingest.tables import valid_columns
from matchlake.io.commit_metadata import commit_with
from matchlake.io.delta import WRITTEN_BY_ANOTHER, Lakehouse, retry_conflicts
from matchlake.schemas import quote_identifier

_POSITION = ("checkpoint_id", "batch_id", "partition", "offset")
_SOURCE = "replayed_records"
_ERRORS = tuple(column.name for column in ERROR_COLUMNS)


class Replayed(NamedTuple):
    """The number of records that were parsed again."""

    tried: int
    passed: int
    """The number of records that are valid now."""


@dataclass(frozen=True)
class Replay:
    """The quarantined records of one stream, by error code and time."""

    stream: StreamParams
    lakehouse: Lakehouse = field(repr=False)
    error_codes: tuple[str, ...] = ()
    """Only records with one of these error codes; empty: all."""
    since: str | None = None
    """Only records with a `kafka_timestamp` at or after this ISO 8601 time, UTC."""
    fix: str | None = None
    """SQL expression of the text to parse instead of `value`. It can use the columns `value`,
    `key`, `_error_code` and `_error_message`."""

    def chosen(self) -> DataFrame:
        """The chosen records. Lazy. Raises ParameterError for an unknown code or invalid time."""
        unknown = sorted(set(self.error_codes).difference(ErrorCode))
        if unknown:
            raise ParameterError(
                f"Unknown error code {', '.join(unknown)}. The codes are: {', '.join(ErrorCode)}."
            )
        rows = self.lakehouse.read(self.stream.table).where(
            (F.col(STATUS.name) == QUARANTINED) & (F.col("topic") == self.stream.topic)
        )
        if self.error_codes:
            rows = rows.where(F.col(ERROR_CODE.name).isin(*self.error_codes))
        if self.since:
            rows = rows.where(F.col("kafka_timestamp") >= F.lit(_instant(self.since)))
        return rows

    def run(self, batch_log: BatchLog) -> Replayed:
        """Merges the records by position in one commit, and updates the batch log.

        The metadata of the commit has the codes, the time and the fix.

        Records that are still invalid keep their bytes and get the new error. With `fix` they keep
        the old error, because the new error is about the fixed text. A second call finds only
        the records that are still invalid.
        """
        rows = self.chosen()
        tried = rows.groupBy("checkpoint_id", "batch_id").count().collect()
        if not tried:
            return Replayed(0, 0)
        batches = {(row.checkpoint_id, row.batch_id) for row in tried}
        rows = rows.where(among(batches))  # the stream may append batches meanwhile
        before = self._quarantined(batches)
        self._parsed_again(rows).createOrReplaceTempView(_SOURCE)
        try:
            self._merge_with_retries()
        finally:
            self.lakehouse.spark.catalog.dropTempView(_SOURCE)
        batch_log.recount(batches)
        return Replayed(sum(row["count"] for row in tried), before - self._quarantined(batches))

    def _quarantined(self, batches: set[Batch]) -> int:
        rows = self.lakehouse.read(self.stream.table).where(among(batches))
        return rows.where(F.col(STATUS.name) == QUARANTINED).count()

    def _merge_with_retries(self) -> None:
        """Merges, and tries again if the stream commits at the same time."""
        spark, merge, table = self.lakehouse.spark, self._merge(), self.stream.table
        chosen = {"error_codes": self.error_codes, "since": self.since, "fix": self.fix}
        step = json.dumps({STEP: {"name": "replay_quarantine", **chosen}})
        commit_with(
            self.lakehouse,
            table,
            step,
            lambda: retry_conflicts(lambda: spark.sql(merge).collect(), WRITTEN_BY_ANOTHER, table),
        )

    def _parsed_again(self, rows: DataFrame) -> DataFrame:
        messages = rows.select(
            F.col("kafka_timestamp").alias("timestamp"), "raw.*", *_ERRORS, *_POSITION
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
        passing = ("checkpoint_id", "batch_id")
        emptied = erased_records(self.stream, self.lakehouse).emptied
        return parse_messages(messages, self.stream, passing, guarded=True, emptied=emptied)

    def _merge(self) -> str:
        """The MERGE by position. If a fix made a record valid, its raw bytes are kept."""
        columns = [quote_identifier(column.name) for column in valid_columns(self.stream)]
        valid = [f"{name} = s.{name}" for name in columns]
        valid += [f"{STATUS.name} = s.{STATUS.name}", *(f"{name} = NULL" for name in _ERRORS)]
        erased = [*valid, "raw = NULL"]
        if not self.fix:
            valid += ["raw = NULL"]
        again = ["attempt = t.attempt + 1"]
        both = ["schema_version = s.schema_version", *again]
        errors = [f"{name} = s.{name}" for name in _ERRORS]
        invalid = again if self.fix else [*errors, *both]
        where = " AND ".join(f"t.{name} = s.{name}" for name in _POSITION)
        return (
            f"MERGE INTO {self.lakehouse.name(self.stream.table)} t USING {_SOURCE} s ON {where}"
            f" AND t.{STATUS.name} = '{QUARANTINED}'"
            f" WHEN MATCHED AND s.{STATUS.name} = '{VALID}'"
            f" THEN UPDATE SET {', '.join([*valid, *both])}"
            f" WHEN MATCHED AND s.{STATUS.name} = '{ERASED}'"
            f" THEN UPDATE SET {', '.join([*erased, *both])}"
            f" WHEN MATCHED THEN UPDATE SET {', '.join(invalid)}"
        )


def _instant(text: str) -> datetime:
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise ParameterError(
            f"--since {text!r} is not a valid time, such as 2024-05-01T10:00:00Z or 2024-05-01."
        ) from None
    return at if at.tzinfo else at.replace(tzinfo=UTC)
