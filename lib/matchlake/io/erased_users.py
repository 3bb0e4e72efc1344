"""The users that were erased, as salted hashes, so that no job writes a row of them again.

A hash is the HMAC-SHA256 of the user's id; its key is the salt, a secret. Without the salt nobody
can find out whether a known id was erased.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import reduce
from operator import or_
from typing import cast

from pyspark.sql import Column as SparkColumn
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql.functions import pandas_udf  # type: ignore[attr-defined, unused-ignore]

from matchlake.errors import ConfigError
from matchlake.io.salt import Salt
from matchlake.schemas import Column, TableSpec, quote_identifier

ERASED_USERS = TableSpec(
    "silver.erased_users",
    "Salted hashes of the users that were erased; no job writes a row of them again.",
    (
        Column("user_hash", "STRING", "HMAC-SHA256 of the user's id, as hex", nullable=False),
        Column("salt_id", "STRING", "Identifies the salt, without its value", nullable=False),
        Column("erased_at", "TIMESTAMP", "When the user was first erased, UTC", nullable=False),
    ),
    keys=("user_hash",),
    user_columns=(),
    written_by="erase_user",
)


@dataclass(frozen=True)
class ErasedUsers:
    """The hashes of the erased users, and the salt that they were made with."""

    salt: Salt
    hashes: frozenset[str] = field(repr=False)

    def any_of(self, columns: Iterable[str]) -> SparkColumn:
        """Whether any of the columns names an erased user; ids that are no texts count as text."""
        named = [self._is_erased(F.col(quote_identifier(name))) for name in columns]
        return reduce(or_, named)

    def any_named(
        self, make: Callable[[], Callable[..., Iterable[str]]], *columns: SparkColumn
    ) -> SparkColumn:
        """Whether a function of the columns gives the id of an erased user; executors make it."""
        import pandas as pd  # noqa: PLC0415 - most runs need none

        salt, hashes = self.salt, self.hashes

        @pandas_udf("boolean")  # type: ignore[call-overload, untyped-decorator, unused-ignore]
        def names_erased(values: pd.DataFrame) -> pd.Series:
            users, rows = make(), values.itertuples(index=False, name=None)
            return pd.Series(
                [any(salt.hash(each) in hashes for each in users(*row)) for row in rows]
            )

        return cast("SparkColumn", names_erased(F.struct(*columns)))

    def has(self, user: str) -> bool:
        """Whether the user with this id, given as a string, was erased."""
        return self.salt.hash(user) in self.hashes

    def removed_from(self, rows: DataFrame, columns: Iterable[str]) -> DataFrame:
        """The rows without those of erased users. Lazy."""
        return rows.where(~self.any_of(columns))

    def _is_erased(self, column: SparkColumn) -> SparkColumn:
        import pandas as pd  # noqa: PLC0415 - most runs need none

        salt, hashes = self.salt, self.hashes

        # Uses a Python function, because a plan would show the hashes and the salt.
        @pandas_udf("boolean")  # type: ignore[call-overload, untyped-decorator, unused-ignore]
        def is_erased(ids: pd.Series) -> pd.Series:
            found = {each: salt.hash(each) in hashes for each in ids.dropna().unique()}
            return ids.map(found).fillna(value=False).astype(bool)

        return cast("SparkColumn", is_erased(column.cast("string")))


def known_erased_users(rows: DataFrame, get_salt: Callable[[], Salt] | None) -> ErasedUsers | None:
    """The erased users of the rows of `ERASED_USERS`; None if there are none. One Spark job.

    Raises ConfigError without a salt, or with another salt than that of the rows: erased users
    could then not be recognised.
    """
    found = rows.select("user_hash", "salt_id").collect()
    if not found:
        return None
    if get_salt is None:
        raise ConfigError(
            f"{ERASED_USERS.name} has {len(found)} erased user(s), but conf has no erase.salt, so "
            "they cannot be recognised. Set erase.salt to the secret that the erasure used."
        )
    salt = get_salt()
    if any(row.salt_id != salt.id for row in found):
        raise ConfigError(
            f"The secret of erase.salt has changed since users were erased, so the hashes in "
            f"{ERASED_USERS.name} cannot be compared. Restore the earlier value of the secret."
        )
    return ErasedUsers(salt, frozenset(row.user_hash for row in found))
