"""A small lakehouse on disk, made once by the test's own session and read by other processes."""

from pathlib import Path

from pyspark.sql import SparkSession
from tests.support.saved_models import tracker_in
from tests.support.sources import ROOT

from matchlake.config import JobConfig, load_config
from matchlake.io.delta import Lakehouse
from matchlake.io.secrets import EnvironmentSecrets
from matchlake.lakehouse.views import SCHEMAS, fixed_views
from matchlake.runtime import Runtime
from matchlake.schemas import INTERACTIONS, Column, TableSpec

USERS, ITEMS = 60, 40


def small_lake(spark: SparkSession, folder: Path) -> tuple[Lakehouse, JobConfig]:
    """Tables below `folder` with silver.interactions: 60 users, of 40 items two thirds each."""
    forget_tables(spark)
    config = load_config("demo", [f"lakehouse={folder}"], ROOT / "conf")
    lake = Lakehouse(spark, None, config.warehouse, fixed_views(config))
    lake.append(
        spark.sql(f"""
            SELECT concat('u', u) AS user_id, concat('i', i) AS item_id,
                   1D + (u * i) % 5 AS rating,
                   timestamp_seconds(1709208000 + u * i) AS event_time
            FROM (SELECT explode(sequence(0, {USERS - 1})) AS u),
                 LATERAL (SELECT explode(sequence(0, {ITEMS - 1})) AS i)
            WHERE (u + i) % 3 > 0
        """),
        INTERACTIONS,
    )
    return lake, config


def add_users_and_items(lake: Lakehouse) -> None:
    """Tables bronze.users and bronze.items: u1 to u59 and `newcomer` without ratings; 41 items."""
    users = lake.spark.sql("""
        SELECT concat('u', u) AS user_id, CAST(18 + u % 40 AS INT) AS age,
               IF(u % 2 = 0, 'M', 'F') AS gender, IF(u % 3 = 0, 'student', 'writer') AS occupation
        FROM (SELECT explode(sequence(1, 59)) AS u)
        UNION ALL SELECT 'newcomer', 24, NULL, 'student'
    """)
    items = lake.spark.sql("""
        SELECT concat('i', i) AS item_id, concat('Film ', i) AS title,
               CAST(1950 + i AS INT) AS year, array(IF(i % 2 = 0, 'Drama', 'Comedy')) AS genres
        FROM (SELECT explode(sequence(0, 40)) AS i)
    """)
    for name, frame in (("bronze.users", users), ("bronze.items", items)):
        kinds = tuple(Column(f.name, f.dataType.simpleString(), f.name) for f in frame.schema)
        lake.replace(frame, TableSpec(name, name, kinds, user_columns=()))


def lake_runtime(spark: SparkSession, folder: Path, *settings: str) -> Runtime:
    """What a job on the lake below `folder` gets, its tracking store there too."""
    config = load_config("demo", [f"lakehouse={folder}", *settings], ROOT / "conf")
    lake = Lakehouse(spark, folder=config.warehouse)
    return Runtime(spark, config, lake, EnvironmentSecrets(), tracker_in(folder))


def forget_tables(spark: SparkSession) -> None:
    """Empties the session's catalog; the tables' files stay."""
    for schema in SCHEMAS:
        spark.sql(f"DROP SCHEMA IF EXISTS {schema} CASCADE")
