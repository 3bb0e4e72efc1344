"""The analyst's views: known answers, a comment for each column, left out where tables miss."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession
from tests.support.sources import ROOT

from matchlake.config import JobConfig, load_config
from matchlake.dev.bundle.resolve import read_bundle, resolve
from matchlake.dev.bundle.workflow import LOCAL_CATALOG
from matchlake.ingest.files.tables import lake_quarantine
from matchlake.ingest.tables import stream_table
from matchlake.io.delta import Lakehouse
from matchlake.lakehouse.job_order import jobs_before
from matchlake.lakehouse.views import (
    DAMPING,
    FEW_RATINGS,
    FRESHNESS,
    QUARANTINE,
    SCHEMAS,
    create_views,
    fixed_views,
    has_metric_views,
    publish_views,
    view_names,
)
from matchlake.schemas import INTERACTIONS, RECOMMENDATIONS, Column, TableSpec

ITEMS = TableSpec(
    "bronze.items",
    "Items",
    (Column("item_id", "STRING", "key"), Column("title", "STRING", "title")),
    user_columns=(),
)
USERS = TableSpec("bronze.users", "Users", (Column("user_id", "STRING", "key"),), user_columns=())
NOISE = [
    "streams.noise.topic=noise",
    "streams.noise.table=bronze.noise_events",
    "streams.noise.valid_view=bronze.noise",
    "streams.noise.quarantine_view=bronze.noise_quarantine",
    "streams.noise.comment=Noise.",
    "streams.noise.event_time=heard_at",
    "streams.noise.columns.heard_at={type: timestamp, comment: when}",
]


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> JobConfig:
    return load_config("demo", [f"lakehouse={tmp_path_factory.mktemp('views')}", *NOISE])


@pytest.fixture(scope="module")
def lakehouse(spark: SparkSession, config: JobConfig) -> Iterator[Lakehouse]:
    """All tables but that of the second stream, with rows that have known answers."""
    _drop_schemas(spark)
    lake = Lakehouse(spark, None, config.warehouse, fixed_views(config))
    ratings = [("many", f"i{at:02}", 3.0) for at in range(FEW_RATINGS + 1)]
    ratings += [("few", "i00", 5.0), ("few", "i01", 1.0), ("other", "i00", 5.0)]
    frame = spark.createDataFrame(ratings, "user_id string, item_id string, rating double")
    lake.append(frame.selectExpr("*", "TIMESTAMP'2024-02-29 12:00:00' AS event_time"), INTERACTIONS)
    titles = [("i00", 'Tïtle, "0"'), ("i01", None)]
    lake.append(lake.frame(titles, ITEMS), ITEMS)
    users = [("few",), ("many",), ("none",)]
    lake.append(lake.frame(users, USERS), USERS)
    best = [("few", 1, "i00", 4.5, "7", False), ("few", 2, "i09", 4.0, "7", False)]
    lake.append(lake.frame(best, RECOMMENDATIONS), RECOMMENDATIONS)
    _append_events(lake, config)
    refused = (
        "SELECT 'users' AS source, 'f' AS file, 'row' AS row_text, 'out_of_range' AS _error_code,"
    )
    refused += " 'too old' AS _error_message, TIMESTAMP'2024-01-10' AS loaded_at"
    lake.append(spark.sql(refused), lake_quarantine(config.lake.quarantine))
    yield lake
    _drop_schemas(spark)


def _append_events(lake: Lakehouse, config: JobConfig) -> None:
    spec = stream_table(config.streams["rating_events"])
    lake.create(spec)
    lake.spark.sql(f"""
        INSERT INTO {spec.name} (_status, user_id, event_time, topic, partition, offset,
                                 kafka_timestamp, _error_code, _error_message, raw) VALUES
        ('valid', 'few', TIMESTAMP'2024-01-05', 't', 0, 0, TIMESTAMP'2024-01-06', null, null, null),
        ('quarantined', null, null, 't', 0, 1, TIMESTAMP'2024-01-07', 'empty', 'first',
         named_struct('key', X'', 'value', X'', 'headers', null)),
        ('quarantined', null, null, 't', 0, 2, TIMESTAMP'2024-01-08', 'empty', 'last',
         named_struct('key', X'', 'value', X'20', 'headers', null)),
        ('quarantined', null, null, 't', 0, 3, TIMESTAMP'2024-01-09', 'tombstone', 'no value', null)
    """)


def _drop_schemas(spark: SparkSession) -> None:
    for schema in SCHEMAS:
        spark.sql(f"DROP SCHEMA IF EXISTS {schema} CASCADE")


def _rows(lakehouse: Lakehouse, query: str) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in lakehouse.spark.sql(query).collect()]


def test_every_view_and_every_column_is_commented(lakehouse: Lakehouse, config: JobConfig) -> None:
    made = create_views(lakehouse, config)
    assert set(made) == set(view_names(config, list(lakehouse.tables())))
    assert made == [
        "bronze.ratings",
        "bronze.ratings_quarantine",
        "gold.top_items",
        "gold.users_with_few_ratings",
        "gold.recommendations_with_titles",
        "gold.recommendations_wide",
        *(["gold.recommendation_metrics"] if has_metric_views() else []),
        FRESHNESS,
        QUARANTINE,
    ]
    catalog = lakehouse.spark.catalog
    for name in made:
        assert catalog.getTable(name).description
        assert all(column.description for column in catalog.listColumns(name)), name


def test_top_items_damp_the_mean(lakehouse: Lakehouse, config: JobConfig) -> None:
    create_views(lakehouse, config, ["gold.top_items"])
    overall = (3.0 * (FEW_RATINGS + 1) + 11) / (FEW_RATINGS + 4)
    found = _rows(lakehouse, "SELECT * FROM gold.top_items ORDER BY rank")
    assert [row[0] for row in found] == list(range(1, FEW_RATINGS + 2))
    assert found[0][1:5] == ("i00", 'Tïtle, "0"', 3, 13 / 3)
    assert found[0][5] == pytest.approx((13 + DAMPING * overall) / (3 + DAMPING))
    # Equal means: more ratings do not lead below the overall mean, then the key decides.
    assert [row[1] for row in found[1:4]] == ["i02", "i03", "i04"]
    assert found[-1][1:5] == ("i01", None, 2, 2.0)


def test_users_with_few_ratings_hold_those_with_none(
    lakehouse: Lakehouse, config: JobConfig
) -> None:
    create_views(lakehouse, config, ["gold.users_with_few_ratings"])
    query = "SELECT user_id, ratings, last_event_time IS NULL FROM gold.users_with_few_ratings"
    found = sorted(_rows(lakehouse, query))
    assert found == [("few", 2, False), ("none", 0, True), ("other", 1, False)]


def test_recommendations_keep_items_without_a_title(
    lakehouse: Lakehouse, config: JobConfig
) -> None:
    create_views(lakehouse, config, ["gold.recommendations_with_titles"])
    found = _rows(lakehouse, "SELECT * FROM gold.recommendations_with_titles ORDER BY rank")
    assert found == [
        ("few", 1, "i00", 'Tïtle, "0"', 4.5, "7"),
        ("few", 2, "i09", None, 4.0, "7"),
    ]


def test_freshness_spans_every_table_that_is_there(lakehouse: Lakehouse, config: JobConfig) -> None:
    create_views(lakehouse, config, [FRESHNESS])
    found = _rows(
        lakehouse,
        "SELECT table_name, row_count, CAST(last_event_time AS STRING), age_minutes BETWEEN 0"
        f" AND 60 FROM {FRESHNESS} ORDER BY table_name",
    )
    assert found == [
        ("bronze.items", 2, None, True),
        ("bronze.lake_quarantine", 1, None, True),
        ("bronze.rating_events", 4, "2024-01-05 00:00:00", True),
        ("bronze.users", 3, None, True),
        ("gold.recommendations", 2, None, True),
        ("silver.interactions", FEW_RATINGS + 4, "2024-02-29 12:00:00", True),
    ]


def test_an_alert_is_raised_where_a_table_is_old_or_empty_or_missing(
    lakehouse: Lakehouse, config: JobConfig
) -> None:
    tree = resolve(read_bundle(ROOT), "dev", {"catalog": LOCAL_CATALOG}).tree

    def raised() -> set[str]:
        return {
            name
            for name, alert in tree["resources"]["alerts"].items()
            for ((age,),) in [_rows(lakehouse, alert["query_text"])]
            if age > alert["evaluation"]["threshold"]["value"]["double_value"]
        }

    create_views(lakehouse, config, [FRESHNESS])
    assert raised() == {"stale_recommendations"}, "there are no features of users"
    named = "SELECT explode(array('bronze.rating_events', 'gold.recommendations',"
    named = f"CREATE OR REPLACE VIEW {FRESHNESS} AS {named} 'gold.user_features')) AS table_name,"
    for age, expected in (("1", 0), ("NULL", 2), ("10000", 2)):
        lakehouse.spark.sql(f"{named} CAST({age} AS BIGINT) AS age_minutes")
        assert len(raised()) == expected, age


def test_quarantine_lists_error_codes_with_their_last_example(
    lakehouse: Lakehouse, config: JobConfig
) -> None:
    create_views(lakehouse, config, [QUARANTINE])
    found = _rows(
        lakehouse,
        "SELECT *, date(first_time) || ' ' || date(last_time) AS days"
        f" FROM {QUARANTINE} ORDER BY error_code",
    )
    held_in, files = "bronze.ratings_quarantine", config.lake.quarantine
    assert [(*row[:4], *row[6:]) for row in found] == [
        ("rating_events", held_in, "empty", 2, "last", "2024-01-07 2024-01-08"),
        ("users", files, "out_of_range", 1, "too old", "2024-01-10 2024-01-10"),
        ("rating_events", held_in, "tombstone", 1, "no value", "2024-01-09 2024-01-09"),
    ]


def test_a_second_stream_joins_the_views_once_it_is_there(
    lakehouse: Lakehouse, config: JobConfig
) -> None:
    spec = stream_table(config.streams["noise"])
    lakehouse.create(spec)
    try:
        lakehouse.spark.sql(f"""
            INSERT INTO {spec.name} (_status, heard_at, topic, partition, offset, _error_code)
            VALUES ('valid', TIMESTAMP'2030-01-01', 't', 0, 0, null),
                   ('quarantined', null, 't', 0, 1, 'empty')
        """)
        create_views(lakehouse, config, [QUARANTINE, FRESHNESS])
        sources = _rows(lakehouse, f"SELECT DISTINCT source FROM {QUARANTINE} ORDER BY source")
        assert sources == [("noise",), ("rating_events",), ("users",)]
        fresh = f"SELECT CAST(last_event_time AS STRING) FROM {FRESHNESS} WHERE table_name = "
        assert _rows(lakehouse, fresh + f"'{spec.name}'") == [("2030-01-01 00:00:00",)]
    finally:
        lakehouse.spark.sql(f"TRUNCATE TABLE {spec.name}")


def test_a_catalog_gets_the_views_and_a_local_lakehouse_does_not(
    lakehouse: Lakehouse, config: JobConfig
) -> None:
    spark = lakehouse.spark
    spark.sql("DROP VIEW IF EXISTS gold.top_items")
    publish_views(lakehouse, config)
    assert not spark.catalog.tableExists("gold.top_items")
    publish_views(Lakehouse(spark, "spark_catalog"), config)
    assert spark.catalog.tableExists("gold.top_items")
    fresh = {row[0] for row in _rows(lakehouse, f"SELECT table_name FROM {FRESHNESS}")}
    assert "silver.interactions" in fresh


def test_without_tables_there_are_no_views(
    spark: SparkSession, config: JobConfig, tmp_path: Path
) -> None:
    empty = load_config("demo", [f"lakehouse={tmp_path}"])
    names = [view.name for view in fixed_views(config)]
    assert create_views(Lakehouse(spark, None, empty.warehouse), empty, ["gold.nothing"]) == []
    assert view_names(empty, []) == []
    assert [jobs_before(config, name) for name in names] == [
        ["ingest_events"],
        ["ingest_events"],
        ["ingest_events"],
        ["ingest_events"],
        ["load_lake", "build_silver"],
        ["load_lake", "build_silver"],
        *[["load_lake", "recommend"]] * 3,
        *[["recommend"]] * 3,
        *([["ingest_events"], *[["build_silver", "recommend"]] * 2] if has_metric_views() else []),
    ]
