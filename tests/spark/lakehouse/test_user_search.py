"""A search finds a customer of a shop in every place, and says how the customer leaves it."""

import runpy
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from pyspark.sql import SparkSession
from tests.support.lakes import forget_tables
from tests.support.streams import runtime_in

from matchlake.errors import ReconciliationError
from matchlake.ingest.params import EraseParams
from matchlake.io.salt import Salt
from matchlake.lakehouse.table_search import rows_with_user
from matchlake.lakehouse.user_erasure import erase_user
from matchlake.lakehouse.user_search import ERASE, Place, UserSearch
from matchlake.runtime import Runtime

CUSTOMER, OTHER = "c-4711-zoe", "c-4711-zoe-2"
SOURCE = {
    "path": "customers*.csv",
    "format": "csv",
    "table": "bronze.customers",
    "comment": "Customers.",
    "keys": ["customer_id"],
    "user_columns": ["customer_id"],
    "columns": {
        "customer_id": {"type": "string", "comment": "c"},
        "note": {"type": "string", "required": False, "comment": "n"},
    },
}


@pytest.fixture
def shop(spark: SparkSession, tmp_path: Path) -> Iterator[Runtime]:
    """A shop with a declared table, a table that conf does not know, and files."""
    forget_tables(spark)
    lake = tmp_path / "lake"
    lake.mkdir()
    (lake / "customers1.csv").write_text(f"customer_id,note\n{CUSTOMER},x\n{OTHER},y\n")
    (lake / "calls.txt").write_text(f"10:30 {CUSTOMER} called about a refund\n")
    (lake / "other.txt").write_text(f"10:31 {OTHER} called\n")
    salt = {"salt": {"scope": "s", "key": "k"}}
    at = runtime_in(spark, tmp_path, lake={"sources": {"customers": SOURCE}}, erase=salt)
    at = replace(at, lakehouse=replace(at.lakehouse, salt=lambda: Salt(b"some salt")))
    spark.sql("CREATE SCHEMA IF NOT EXISTS gold")
    spark.sql("CREATE SCHEMA IF NOT EXISTS bronze")
    for table, rows in {
        "bronze.customers": f"SELECT '{CUSTOMER}' AS customer_id, 'x' AS note"
        f" UNION ALL SELECT '{OTHER}', 'a friend of {CUSTOMER}'",
        "gold.refunds": f"SELECT '{CUSTOMER}' AS customer_id, 12 AS euros",
    }.items():
        path = at.lakehouse.path(table)
        name = at.lakehouse.name(table)
        spark.sql(f"CREATE TABLE {name} USING DELTA LOCATION '{path}' AS {rows}")
    yield at
    forget_tables(spark)


def search(at: Runtime) -> list[Place]:
    places, unsearched = UserSearch(CUSTOMER, at.config, at.lakehouse, at.tracker).run()
    assert unsearched == []
    return places


def named(places: list[Place]) -> dict[str, tuple[str, bool]]:
    """Kind, and whether the command erases, by the last part of the place's name."""
    return {
        each.name.rpartition("/")[2]: (each.kind, each.remedy == ERASE)
        for each in places
        if each.kind != "table log"
    }


@pytest.mark.soak
def test_every_place_is_named_before_and_after_an_erasure(shop: Runtime) -> None:
    (Path(shop.config.checkpoints) / "fit").mkdir(parents=True)
    (Path(shop.config.checkpoints) / "fit" / "part-0").write_text(f"{CUSTOMER}\n")
    assert named(search(shop)) == {
        "bronze.customers.customer_id": ("table", True),
        "bronze.customers.note": ("table", False),
        "gold.refunds.customer_id": ("table", False),
        "customers1.csv": ("lake file", False),
        "calls.txt": ("lake file", False),
        "part-0": ("checkpoint", False),
    }
    folder = Path(shop.config.lakehouse or "") / "lake" / f"customer={CUSTOMER}"
    folder.mkdir()
    (folder / "part-1").write_text("nothing of the customer")
    assert CUSTOMER not in str(search(shop)), "logs have these names"
    assert [each.name[-20:] for each in search(shop) if each.name.endswith("part-1")] == [
        "ustomer=[user]/part-1"[-20:]
    ]
    (folder / "part-1").unlink()
    remedies = {each.name.rpartition("/")[2]: each.remedy for each in search(shop)}
    assert "no source of conf covers it" in remedies["calls.txt"]
    assert "a load leaves the user's rows out" in remedies["customers1.csv"]
    assert "conf does not declare this table" in remedies["gold.refunds.customer_id"]

    report = erase_user(shop.config, shop.lakehouse, shop.tracker, EraseParams(user_id=CUSTOMER))
    assert not report.is_complete
    assert set(named(report.places)) == {
        *("bronze.customers.note", "gold.refunds.customer_id"),
        *("customers1.csv", "calls.txt", "part-0"),
    }


@pytest.mark.soak
def test_erasure_is_complete_if_the_user_is_found_nowhere_else(shop: Runtime) -> None:
    for name in ("customers1.csv", "calls.txt"):
        (Path(shop.config.lakehouse or "") / "lake" / name).unlink()
    name = shop.lakehouse.name
    shop.spark.sql(f"DELETE FROM {name('gold.refunds')}")
    shop.spark.sql(f"UPDATE {name('bronze.customers')} SET note = 'x'")
    old = {kind for kind, _ in named(search(shop)).values()}
    assert old == {"table", "old file"}
    report = erase_user(shop.config, shop.lakehouse, shop.tracker, EraseParams(user_id=CUSTOMER))
    # The command removes old files of the tables that it erases from, and of no other table.
    assert set(named(report.places).values()) == {("old file", False)}
    assert all(
        "/gold/refunds/" in place.name for place in report.places if place.kind == "old file"
    )
    shop.spark.sql(f"DROP TABLE {name('gold.refunds')}")


@pytest.mark.soak
def test_job_ends_with_an_error_while_the_user_is_found(shop: Runtime) -> None:
    run = runpy.run_path("jobs/erase_user.py")["run"]
    params = shop.config.erase.model_copy(update={"user_id": CUSTOMER})
    config = shop.config.model_copy(update={"erase": params})
    with pytest.raises(ReconciliationError, match="The user is still found"):
        run(replace(shop, config=config))


@pytest.mark.parametrize(
    ("column", "found"),
    [
        ("'of {} it is'", {"x": 1}),
        ("CAST('{}' AS BINARY)", {"x": 1}),
        ("array('a', '{}')", {"x": 1}),
        ("named_struct('a', 1, 'b', CAST('x' AS BINARY), 'c', '{}')", {"x": 1}),
        ("map('{}', 1)", {"x": 1}),
        ("'{}-2'", {}),
        ("CAST(NULL AS STRING)", {}),
        ("1", {}),
    ],
)
def test_rows_with_user_searches_every_type(
    spark: SparkSession, column: str, found: dict[str, int]
) -> None:
    rows = spark.sql(f"SELECT {column.format(CUSTOMER)} AS x UNION ALL SELECT NULL")
    assert rows_with_user(rows, CUSTOMER, ["user_id"]) == found


def test_short_ids_are_compared_only_in_user_columns(spark: SparkSession) -> None:
    rows = spark.sql(
        "SELECT 42 AS user_id, 42.0D AS member, '42' AS age, array(41, 42) AS friends, 'on 42' AS n"
    )
    found = rows_with_user(rows, "42", ["user_id", "friends", "member"])
    assert found == {"user_id": 1, "member": 1, "friends": 1}
