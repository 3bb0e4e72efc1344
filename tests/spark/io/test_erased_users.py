"""Users that were erased: no write stores a row of them, and nothing shows them or the salt."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from pyspark.sql import DataFrame, SparkSession
from tests.support.lakes import forget_tables

from matchlake.errors import ConfigError
from matchlake.io.delta import Lakehouse
from matchlake.io.erased_users import ERASED_USERS, known_erased_users
from matchlake.io.salt import Salt
from matchlake.lakehouse.user_erasure import remember_user
from matchlake.schemas import Column, TableSpec

SALT = Salt(b"a long random value")
PAIRS = TableSpec(
    "gold.pairs",
    "",
    (Column("user_id", "STRING", ""), Column("other", "BIGINT", ""), Column("n", "INT", "")),
    keys=("n",),
    user_columns=("user_id", "other"),
)
ROWS = [("42", 1, 0), ("7", 42, 1), ("8", 9, 2), (None, None, 3), ("042", 420, 4), ("Zoë", 5, 5)]
WRITES: dict[str, Callable[[Lakehouse, DataFrame], object]] = {
    "append": lambda lake, rows: lake.append(rows, PAIRS),
    "replace": lambda lake, rows: lake.replace(rows, PAIRS),
    "replace_where": lambda lake, rows: lake.replace_where(rows, PAIRS, {}),
    "merge": lambda lake, rows: lake.merge(rows, PAIRS),
}


@pytest.fixture
def lake(spark: SparkSession, tmp_path: Path) -> Iterator[Lakehouse]:
    """A lakehouse in which 42 and Zoë were erased."""
    forget_tables(spark)
    lake = Lakehouse(spark, folder=str(tmp_path), salt=lambda: SALT)
    for user in ("42", "Zoë", "42"):
        remember_user(lake, SALT, user)
    yield lake
    forget_tables(spark)


@pytest.mark.parametrize(
    "write",
    [
        "append",
        "merge",
        *(pytest.param(each, marks=pytest.mark.soak) for each in ("replace", "replace_where")),
    ],
)
def test_write_leaves_out_rows_with_an_erased_user_in_any_user_column(
    lake: Lakehouse, write: str
) -> None:
    rows = lake.spark.createDataFrame(ROWS, "user_id string, other bigint, n int")
    WRITES[write](lake, rows)
    assert sorted(row.n for row in lake.read(PAIRS.name).collect()) == [2, 3, 4]
    anonymous = replace(PAIRS, name="gold.counts", user_columns=())
    lake.append(rows, anonymous)
    assert lake.read(anonymous.name).count() == len(ROWS)


def test_remember_user_stores_one_hash_that_names_nobody(lake: Lakehouse) -> None:
    rows = lake.read(ERASED_USERS.name).collect()
    assert {row.user_hash for row in rows} == {SALT.hash("42"), SALT.hash("Zoë")}
    assert "Zoë" not in str(rows)
    assert Salt(b"another").hash("42") not in {row.user_hash for row in rows}


def test_salt_is_in_no_plan_and_no_repr(lake: Lakehouse) -> None:
    users = known_erased_users(lake.read(ERASED_USERS.name), lambda: SALT)
    assert users is not None
    rows = lake.spark.createDataFrame(ROWS, "user_id string, other bigint, n int")
    kept = users.removed_from(rows, ("user_id",))
    shown = [kept._show_string(20), repr(users), repr(SALT), repr(lake)]  # type: ignore[operator]
    shown += [kept._explain_string(extended=True)] if hasattr(kept, "_explain_string") else []
    shown += [kept._jdf.queryExecution().toString()] if hasattr(kept, "_jdf") else []  # type: ignore[operator]
    assert not [text for text in shown if "long random" in text or SALT.hash("42") in text]


def test_erased_users_need_the_salt_that_they_were_erased_with(lake: Lakehouse) -> None:
    rows = lake.spark.createDataFrame(ROWS, "user_id string, other bigint, n int")
    with pytest.raises(ConfigError, match=r"2 erased user.*conf has no erase\.salt"):
        replace(lake, salt=None).append(rows, PAIRS)
    other = replace(lake, salt=lambda: Salt(b"another"))
    with pytest.raises(ConfigError, match=r"The secret of erase\.salt has changed"):
        other.append(rows, PAIRS)
    with pytest.raises(ConfigError, match=r"The secret of erase\.salt has changed"):
        remember_user(other, Salt(b"another"), "9")
    assert lake.read(PAIRS.name).count() == 0
