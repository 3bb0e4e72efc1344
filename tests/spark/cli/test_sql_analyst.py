"""Queries see the tables they mention, cannot write, and fail with one message."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from pyspark.sql import SparkSession
from tests.support.executions import executions

from matchlake.cli.sql.analyst import Analyst, interruptible
from matchlake.config import load_config
from matchlake.errors import InputError, TableError
from matchlake.io.delta import Lakehouse
from matchlake.lakehouse.views import SCHEMAS, fixed_views
from matchlake.schemas import INTERACTIONS

pytestmark = pytest.mark.local_only


@pytest.fixture
def analyst(spark: SparkSession, tmp_path: Path) -> Iterator[Analyst]:
    """One who knows of silver.interactions, with one row, only by its folder."""
    _drop_schemas(spark)
    config = load_config("demo", [f"lakehouse={tmp_path}"])
    lake = Lakehouse(spark, None, config.warehouse, fixed_views(config))
    row = "SELECT 'u' AS user_id, 'i' AS item_id, 4.0D AS rating, now() AS event_time"
    lake.append(spark.sql(row), INTERACTIONS)
    _drop_schemas(spark)
    yield Analyst(lake, config)
    _drop_schemas(spark)


def _drop_schemas(spark: SparkSession) -> None:
    for schema in SCHEMAS:
        spark.sql(f"DROP SCHEMA IF EXISTS {schema} CASCADE")


def count(analyst: Analyst) -> int:
    return int(analyst.query("SELECT count(*) FROM silver.interactions").collect()[0][0])


def test_tables_of_a_query_are_registered(analyst: Analyst) -> None:
    found = analyst.query("SELECT user_id FROM `Silver`.`Interactions` -- gold.top_items")
    assert [row.user_id for row in found.collect()] == ["u"]
    assert analyst.query("WITH x AS (SELECT 1 AS n) SELECT n FROM x").collect()[0].n == 1
    assert analyst.query("FROM silver.interactions |> SELECT item_id").collect()[0].item_id == "i"
    named = "WITH x AS (SELECT 1 AS `update`) SELECT `update` AS delete FROM x"
    assert analyst.query(named).columns == ["delete"]
    fresh = analyst.query("SELECT table_name FROM gold.data_freshness").collect()
    assert [row.table_name for row in fresh] == ["silver.interactions"]


def test_show_and_describe_see_everything(analyst: Analyst) -> None:
    shown = analyst.query("SHOW TABLES IN silver").collect()
    assert [row.tableName for row in shown] == ["interactions"]
    described = analyst.query("DESCRIBE silver.interactions").collect()
    assert described[0].comment == "Business key of the user"
    listed = {row.name: (row.kind, row.comment) for row in analyst.query("tables").collect()}
    assert listed["silver.interactions"] == ("table", INTERACTIONS.comment)
    assert set(listed) == {"silver.interactions", "gold.data_freshness"}


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO silver.interactions SELECT 'a', 'b', 1D, now()",
        "WITH x AS (SELECT 'a', 'b', 1D, now()) INSERT INTO silver.interactions SELECT * FROM x",
        "WITH x AS (SELECT 1) /* /* */ ' */ DELETE FROM silver.interactions -- '",
        "--\\\nSELECT\nDROP TABLE silver.interactions",
        "WITH x AS (SELECT 1) --\rDELETE FROM silver.interactions",
        "FROM silver.interactions INSERT INTO silver.interactions SELECT *",
        "WITH x AS (SELECT 1) DELETE FROM silver.interactions",
        "DELETE FROM silver.interactions",
        "DROP TABLE silver.interactions",
        "CREATE VIEW gold.mine AS SELECT 1",
        "SET spark.sql.ansi.enabled = false",
        "BEGIN DELETE FROM silver.interactions; END",
        "/* SELECT */ TRUNCATE TABLE silver.interactions",
    ],
)
def test_nothing_is_written(analyst: Analyst, statement: str) -> None:
    with pytest.raises(InputError, match="only reads"):
        analyst.query(statement)
    assert count(analyst) == 1


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("SELECT nope FROM silver.interactions", r"`nope` cannot be .*`item_id`.*position 8\)"),
        ("SELECT 1 +", r"Syntax error .*\(line 1, position \d+\)"),
        ("WITH x AS (SELEC 1)\nSELECT * FROM x", r"Syntax error .*\(line 1, "),
        ("SELECT 'open", "Syntax error"),
        ("SELECT CAST('x' AS INT)", r"cannot be cast.*try_cast.*\(line 1, position 8\)"),
        ("SELECT raise_error('boom')", "boom"),
    ],
)
def test_a_mistake_is_one_message(analyst: Analyst, statement: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught, analyst.errors_explained():
        analyst.query(statement).collect()
    text = str(caught.value)
    assert "\n" not in text
    assert "SQLSTATE" not in text
    assert "spark.sql" not in text


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "gold.recommendations",
            "no table or view gold.recommendations yet.*`matchlake run recommend`",
        ),
        ("gold.top_items", "`matchlake run load_lake`, then `matchlake run build_silver`"),
        ("bronze.ratings", "`matchlake run ingest_events`"),
        (
            "silver.interaction",
            r"Did you mean silver.interactions\? Tables and views: gold.data_fresh",
        ),
        ("interactions", r"Did you mean silver.interactions\?"),
        ("zzz.qqq", "no table zzz.qqq. Tables and views: "),
    ],
)
def test_the_error_of_a_missing_table_names_its_job(
    analyst: Analyst, name: str, message: str
) -> None:
    with pytest.raises(TableError, match=message):
        analyst.query(f"SELECT * FROM {name}")


def test_query_starts_no_spark_job(analyst: Analyst) -> None:
    analyst.query("SELECT * FROM gold.data_freshness")

    def ask() -> None:
        analyst.query("SELECT user_id, count(*) FROM silver.interactions GROUP BY user_id")

    assert executions(analyst.spark, ask) == 0


def test_work_beside_the_main_thread_returns_and_raises(spark: SparkSession) -> None:
    assert interruptible(spark, lambda: spark.sql("SELECT 7 AS n").collect()[0].n) == 7

    def fail() -> None:
        raise TableError("gone")

    with pytest.raises(TableError, match="gone"):
        interruptible(spark, fail)
