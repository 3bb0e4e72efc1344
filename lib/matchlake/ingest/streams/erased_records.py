"""Records of erased users that a stream reads: only their positions are written."""

import time
from dataclasses import dataclass, field
from functools import partial

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from matchlake.errors import ConfigError
from matchlake.ingest.params import StreamParams
from matchlake.ingest.schema import BATCH, ERASED, ERROR_CODE, POSITION, QUARANTINED, STATUS
from matchlake.ingest.streams.user_records import record_users
from matchlake.io.delta import Lakehouse
from matchlake.io.erased_users import ERASED_USERS, ErasedUsers
from matchlake.io.salt import Salt
from matchlake.schemas import quote_identifier

KEPT_COLUMNS = {column.name for column in (STATUS, *POSITION, *BATCH)}
"""The columns of a stream table that hold no content of the record."""
_BYTES = ("raw.key", "raw.value", ERROR_CODE.name)
_SECONDS = 30
_IS_ERASED = "_is_erased"


@dataclass(frozen=True)
class ErasedRecords:
    """Empties the records of erased users. It holds no session, so Spark can send it to a server.

    A user who is erased while a stream runs is recognised after at most 30 seconds.
    """

    stream: StreamParams
    catalog: str | None
    folder: str | None
    salt: Salt | None = field(repr=False)
    _last: dict[str, tuple[float, ErasedUsers | None]] = field(default_factory=dict, repr=False)

    def emptied(self, rows: DataFrame) -> DataFrame:
        """The rows of a batch; those of erased users have status `erased` and no content. Lazy."""
        erased = self._users(rows.sparkSession) if self.stream.persons else None
        if erased is None:
            return rows
        # The declared columns of a quarantined record are null, so its bytes are searched for
        # users.
        columns = (f"IF({STATUS.name} = '{QUARANTINED}', {name}, NULL)" for name in _BYTES)
        raw = [F.expr(each).alias(f"_{at}") for at, each in enumerate(columns)]
        named = erased.any_named(partial(record_users, self.stream), *raw)
        marked = rows.withColumn(_IS_ERASED, erased.any_of(self.stream.persons) | named)
        status = f"IF({_IS_ERASED}, '{ERASED}', {STATUS.name})"
        values = {STATUS.name: status} | {
            name: f"IF({_IS_ERASED}, NULL, {quote_identifier(name)})"
            for name in rows.columns
            if name not in KEPT_COLUMNS
        }
        return marked.selectExpr(
            *(
                f"{values.get(name, quote_identifier(name))} AS {quote_identifier(name)}"
                for name in rows.columns
            )
        )

    def _users(self, spark: SparkSession) -> ErasedUsers | None:
        until, users = self._last.get("users", (0.0, None))
        if time.monotonic() >= until:
            users = Lakehouse(spark, self.catalog, self.folder, salt=self._salt).erased_users()
            self._last["users"] = (time.monotonic() + _SECONDS, users)
        return users

    def _salt(self) -> Salt:
        """The salt. It is only resolved if there are erased users."""
        if self.salt is None:
            raise ConfigError(
                f"{ERASED_USERS.name} has erased users, but this run has no salt to recognise "
                "their records. Set erase.salt in conf. If the first user was erased during this "
                "run, run the job again."
            )
        return self.salt


def erased_records(stream: StreamParams, lakehouse: Lakehouse) -> ErasedRecords:
    """The filter of a stream. It resolves the salt only if a user was erased before."""
    salt = lakehouse.salt() if lakehouse.salt and lakehouse.exists(ERASED_USERS.name) else None
    return ErasedRecords(stream, lakehouse.catalog, lakehouse.folder, salt)
