"""publish_online and erase_user with both stores: wide types, erased users, failures by name."""

import math
import runpy
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession
from tests.support.lakes import forget_tables, lake_runtime
from tests.support.postgres import PASSWORD, Server, running_postgres
from tests.support.sources import ROOT

from matchlake.errors import ConfigError, TableError
from matchlake.ingest.params import EraseParams
from matchlake.io.salt import Salt
from matchlake.io.secrets import EnvironmentSecrets
from matchlake.lakehouse.online_erasure import erase_online, find_online
from matchlake.lakehouse.user_erasure import ErasureReport, erase_user, remember_user
from matchlake.lakehouse.user_search import UserSearch
from matchlake.runtime import Runtime
from matchlake.schemas import Column, TableSpec
from matchlake.serve.online.arrow_files import ArrowStore
from matchlake.serve.online.params import OnlineParams

pytestmark = pytest.mark.local_only

PUBLISH = runpy.run_path(str(ROOT / "jobs" / "publish_online.py"))["run"]
SALT = Salt(b"some salt")
WIDE = """
SELECT 'u1' AS user_id, CAST(1 AS INT) AS rank,
       CAST(12345678901234567890.12 AS DECIMAL(38, 2)) AS price,
       TIMESTAMP '2024-05-01 10:00:00.123456' AS at, DATE '2024-05-01' AS day, X'00FF' AS raw,
       array(named_struct('a', CAST('NaN' AS DOUBLE), 'b', CAST(NULL AS STRING))) AS parts,
       map('k', 1.5D) AS weights, CAST('NaN' AS DOUBLE) AS nan,
       CAST(0.1 AS FLOAT) AS small, true AS flag,
       'a' || chr(10) || chr(92) || '.' AS text
UNION ALL SELECT 'u1', 2, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL
UNION ALL SELECT 'gone', 1, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, ''
UNION ALL SELECT 'u2', 1, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, ''
"""


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with running_postgres() as started:
        yield started


@pytest.fixture
def shop(
    spark: SparkSession, tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Runtime]:
    """A lakehouse with one wide gold table, of which a user was erased, and two stores."""
    forget_tables(spark)
    monkeypatch.setenv("MATCHLAKE_SECRET_TESTS__POSTGRES", PASSWORD.reveal())
    online = {
        "stores": ["postgres", "arrow"],
        "arrow_folder": str(tmp_path / "online"),
        "postgres": {**server.params.model_dump(mode="json"), "schema_name": "shop"},
        "tables": {"recs": {"table": "gold.recs", "keys": ["user_id", "rank"]}},
    }
    at = lake_runtime(spark, tmp_path)
    config = at.config.model_copy(update={"online": OnlineParams.model_validate(online)})
    lake = replace(at.lakehouse, salt=lambda: SALT)
    at = replace(at, config=config, lakehouse=lake, secrets=EnvironmentSecrets())
    frame = spark.sql(WIDE)
    columns = tuple(Column(f.name, f.dataType.simpleString(), f.name) for f in frame.schema)
    at.lakehouse.replace(frame, TableSpec("gold.recs", "Test.", columns, user_columns=()))
    remember_user(at.lakehouse, SALT, "gone")
    yield at
    forget_tables(spark)
    with server.connect() as connection:
        connection.execute("DROP SCHEMA IF EXISTS shop CASCADE")


def with_table(at: Runtime, **changes: Any) -> Runtime:
    (table,) = at.config.online.tables.values()
    tables = {"recs": table.model_copy(update=changes)}
    online = at.config.online.model_copy(update={"tables": tables})
    return replace(at, config=at.config.model_copy(update={"online": online}))


def test_both_stores_hold_the_rows_without_erased_users(shop: Runtime, server: Server) -> None:
    PUBLISH(shop)
    arrow = ArrowStore(Path(shop.config.online.arrow_folder or "")).open("recs")
    with closing(server.store(schema_name="shop").open("recs")) as postgres:
        for table in (arrow, postgres):
            assert [table.rows(user) for user in ("gone", "u3")] == [[], []]
            first, second = table.rows("u1")
            assert (first["price"], first["raw"]) == (Decimal("12345678901234567890.12"), b"\0\xff")
            assert first["at"].isoformat() == "2024-05-01T10:00:00.123456+00:00"
            assert math.isnan(first["nan"])
            assert (round(first["small"], 6), first["flag"], first["text"]) == (0.1, True, "a\n\\.")
            assert set(second.values()) == {"u1", 2, None}
            assert (len(table.rows("u2")), table.rows("u2")[0]["text"]) == (1, "")
            assert table.published.delta_version == shop.lakehouse.version("gold.recs")
        assert postgres.rows("u1", 1)[0]["parts"] == [{"a": "NaN", "b": None}]
        assert postgres.rows("u1", 1)[0]["weights"] == {"k": 1.5}
        assert arrow.rows("u1", 1)[0]["weights"] == [("k", 1.5)]


def test_a_user_is_found_and_erased_in_both_stores_or_the_store_is_named(
    shop: Runtime, server: Server
) -> None:
    PUBLISH(shop)
    assert [place.rows for place in find_online(shop.config, "u1")] == [2, 2]
    assert erase_online(shop.config, "u1") == (4, [])
    assert find_online(shop.config, "u1") == []
    with closing(server.store(schema_name="shop").open("recs")) as postgres:
        assert (postgres.rows("u1"), len(postgres.rows("u2"))) == ([], 1)
    postgres_away = shop.config.online.postgres.model_copy(update={"port": 9})  # type: ignore[union-attr]
    away = shop.config.model_copy(
        update={"online": shop.config.online.model_copy(update={"postgres": postgres_away})}
    )
    assert [place.rows for place in find_online(away, "u2")] == [None, 1]
    erased, missed = erase_online(away, "u2")
    assert (erased, [each.name.partition("/")[0] for each in missed]) == (
        1,
        ["recs in 127.0.0.1:9"],
    )
    report = ErasureReport([], [], [], [], erased, tuple(missed))
    assert not report.is_complete
    assert report._replace(online_missed=()).is_complete
    assert any("the user was not erased" in each for each in report.remarks)


@pytest.mark.soak
def test_erase_user_empties_the_stores(shop: Runtime) -> None:
    PUBLISH(shop)
    search = UserSearch("u1", shop.config, shop.lakehouse, shop.tracker)
    found = {place.name: place.rows for place in search.run()[0] if place.kind == "online store"}
    assert sorted(found.values()) == [2, 2]
    report = erase_user(shop.config, shop.lakehouse, shop.tracker, EraseParams(user_id="u1"))
    assert "Online store: 4 row(s) erased." in report.remarks
    assert not [place for place in report.places if place.kind == "online store"]
    assert report.is_complete


def test_failures_name_the_table_and_keep_the_other_store(shop: Runtime, server: Server) -> None:
    PUBLISH(shop)
    repeated = with_table(shop, keys=("user_id",))
    with pytest.raises(TableError) as error:
        PUBLISH(repeated)
    assert str(error.value).count("1 row(s) repeat the key") == 2
    with pytest.raises(TableError, match=r"Missing column\(s\) in gold.recs: rnk.*mean rank"):
        PUBLISH(with_table(shop, keys=("user_id", "rnk")))
    with pytest.raises(TableError, match="nan is a double, which cannot be a key"):
        PUBLISH(with_table(shop, keys=("nan",)))
    with closing(server.store(schema_name="shop").open("recs")) as postgres:
        assert postgres.published.keys == ("user_id", "rank")


def test_conf_without_a_store_publishes_nothing_and_half_of_it_is_refused(shop: Runtime) -> None:
    online = shop.config.online.model_copy(update={"stores": ()})
    half = replace(shop, config=shop.config.model_copy(update={"online": online}))
    with pytest.raises(ConfigError, match=r"conf needs online\.stores too"):
        PUBLISH(half)
    nothing = online.model_copy(update={"tables": {}})
    PUBLISH(replace(shop, config=shop.config.model_copy(update={"online": nothing})))
