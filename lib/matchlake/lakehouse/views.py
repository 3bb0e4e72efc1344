"""Defines and creates the views that analysts read.

On a platform the views live in its catalog, and the jobs renew them with `create_views`. On a
local machine there is no catalog: every session makes the views that it needs.
"""

import logging
from collections.abc import Collection, Mapping

from pyspark.sql.types import TimestampType
from pyspark.version import __version__ as pyspark_version

from matchlake.config import JobConfig
from matchlake.ingest.silver_rules import SilverRules
from matchlake.ingest.tables import stream_views
from matchlake.io.databricks import on_databricks
from matchlake.io.delta import Lakehouse
from matchlake.lakehouse.table_registry import table_names
from matchlake.reports.metric_views import metric_views
from matchlake.schemas import (
    EVENT_TIME,
    INTERACTIONS,
    PREDICTED_RATINGS,
    RECOMMENDATIONS,
    RELATED_ITEMS,
    RELATED_USERS,
    TableSpec,
    ViewSpec,
    quote_identifier,
    quote_text,
)

_log = logging.getLogger(__name__)
_METRIC_VIEWS = (4, 2)

SCHEMAS = ("bronze", "silver", "gold")
"""The schemas of all tables and views."""
DAMPING = 10
"""Ratings of the overall mean that `gold.top_items` adds to each item's own."""
FEW_RATINGS = 20
"""A user with at most this many ratings is in `gold.users_with_few_ratings`."""

FRESHNESS = "gold.data_freshness"
QUARANTINE = "gold.quarantine_by_reason"

TOP_ITEMS = ViewSpec(
    "gold.top_items",
    f"Items by damped mean rating: (sum + {DAMPING} * overall mean) / (ratings + {DAMPING}), so "
    "that a few high ratings do not lead the list.",
    (
        ("rank", "Place by damped mean, 1 is the best; ties by number of ratings, then item_id"),
        ("item_id", "Business key of the item"),
        ("title", "Title of the item; null where bronze.items does not have it"),
        ("ratings", "Number of users who rated the item"),
        ("mean_rating", "Plain mean of its ratings"),
        ("damped_mean", f"Its mean after adding {DAMPING} ratings of the overall mean"),
    ),
    f"""
    WITH overall AS (SELECT avg(rating) AS mean FROM silver.interactions),
    rated AS (
        SELECT item_id, count(*) AS ratings, avg(rating) AS mean_rating,
               (sum(rating) + {DAMPING} * any_value(overall.mean)) / (count(*) + {DAMPING})
                   AS damped_mean
        FROM silver.interactions CROSS JOIN overall
        GROUP BY item_id)
    SELECT row_number() OVER (ORDER BY damped_mean DESC, ratings DESC, item_id) AS rank,
           item_id, title, ratings, mean_rating, damped_mean
    FROM rated LEFT JOIN bronze.items USING (item_id)
    """,
    needs=(INTERACTIONS.name, "bronze.items"),
)

USERS_WITH_FEW_RATINGS = ViewSpec(
    "gold.users_with_few_ratings",
    f"Users with at most {FEW_RATINGS} ratings, or none: their recommendations rest on little.",
    (
        ("user_id", "Business key of the user"),
        ("ratings", "Number of items that the user rated"),
        ("last_event_time", "Time of the user's last rating, UTC; null without one"),
    ),
    f"""
    SELECT user_id, count(item_id) AS ratings, max(event_time) AS last_event_time
    FROM bronze.users FULL OUTER JOIN silver.interactions USING (user_id)
    GROUP BY user_id HAVING count(item_id) <= {FEW_RATINGS}
    """,
    needs=(INTERACTIONS.name, "bronze.users"),
)

_USER = ("user_id", "Business key of the user")
_ITEM = ("item_id", "Business key of the item")
_TITLE = ("title", "Title of the item; null where bronze.items does not have it")
_VERSION = ("model_version", "Version of the registered model that made the row")

RECOMMENDATIONS_WITH_TITLES = ViewSpec(
    "gold.recommendations_with_titles",
    "The recommendations, with the titles of the items.",
    (
        _USER,
        ("rank", "Place in the user's list, 1 is the best"),
        _ITEM,
        _TITLE,
        ("score", "Predicted rating, or preference for implicit models"),
        _VERSION,
    ),
    """
    SELECT user_id, rank, item_id, title, score, model_version
    FROM gold.recommendations LEFT JOIN bronze.items USING (item_id)
    """,
    needs=(RECOMMENDATIONS.name, "bronze.items"),
)

RELATED_ITEMS_WITH_TITLES = ViewSpec(
    "gold.related_items_with_titles",
    "The related items, with the titles of both items.",
    (
        _ITEM,
        _TITLE,
        ("rank", "Place in the item's list, 1 is the most related"),
        ("related_item_id", "Business key of the other item"),
        ("related_title", "Title of the other item"),
        ("score", "Distance of the ratings by one user, in units of a rating; 0 is alike"),
        _VERSION,
    ),
    """
    SELECT r.item_id, a.title, r.rank, r.related_item_id, b.title AS related_title, r.score,
           r.model_version
    FROM gold.related_items r
    LEFT JOIN bronze.items a ON a.item_id = r.item_id
    LEFT JOIN bronze.items b ON b.item_id = r.related_item_id
    """,
    needs=(RELATED_ITEMS.name, "bronze.items"),
)


def predicted_ratings_with_titles(scale: tuple[float, float] | None) -> ViewSpec:
    """The predicted ratings with their interval, which is cut to `scale`; None: not cut."""
    low, high = "rating - 1.645 * rating_std", "rating + 1.645 * rating_std"
    if scale is not None:
        low, high = f"greatest({low}, {scale[0]!r}D)", f"least({high}, {scale[1]!r}D)"
    return ViewSpec(
        "gold.predicted_ratings_with_titles",
        "The predicted ratings, with the titles of the items and an interval of 90 %.",
        (
            _USER,
            _ITEM,
            _TITLE,
            ("rating", "The rating expected"),
            ("low", "Nine of ten ratings are expected between this and high; within the scale"),
            ("high", "The upper end of that interval; the scale is recommend.clip_range"),
            ("is_cold_start", "Whether user or item had no ratings to learn from"),
            _VERSION,
        ),
        f"""
        SELECT user_id, item_id, title, rating, {low} AS low, {high} AS high, is_cold_start,
               model_version
        FROM gold.predicted_ratings LEFT JOIN bronze.items USING (item_id)
        """,
        needs=(PREDICTED_RATINGS.name, "bronze.items"),
    )


def wide_views(config: JobConfig) -> tuple[ViewSpec, ...]:
    """The lists in Azure ML's form: one row per user or item, and one column per rank."""
    few = config.recommend.related
    return (
        _wide(RECOMMENDATIONS, ("User", "Item"), config.recommend.k),
        _wide(RELATED_ITEMS, ("Item", "Related Item"), few),
        _wide(RELATED_USERS, ("User", "Related User"), few),
    )


def _wide(table: TableSpec, names: tuple[str, str], k: int) -> ViewSpec:
    key, _, target = table.column_names[:3]
    places = [
        (f"{names[1]} {n}", f"max(CASE WHEN rank = {n} THEN {target} END)", f"At place {n}")
        for n in range(1, k + 1)
    ]
    named = (f"{expression} AS place_{n}" for n, (_, expression, _) in enumerate(places, 1))
    expressions = ", ".join(named)
    return ViewSpec(
        f"{table.name}_wide",
        f"{table.name} in the form of Azure ML's Matchbox modules, one row per {names[0]}.",
        ((names[0], f"Business key of the {names[0].lower()}"), *((n, c) for n, _, c in places)),
        f"SELECT {key}, {expressions} FROM {table.name} GROUP BY {key}",
        needs=(table.name,),
    )


def fixed_views(config: JobConfig) -> tuple[ViewSpec, ...]:
    """The views of streams and of gold with queries that do not depend on the existing tables.

    A local `Lakehouse` gets them, and makes each when it is first read.
    """
    streams = (view for stream in config.streams.values() for view in stream_views(stream))
    rated = predicted_ratings_with_titles(config.recommend.clip_range)
    titled = (RECOMMENDATIONS_WITH_TITLES, RELATED_ITEMS_WITH_TITLES, rated)
    left_out = silver_quarantine_views(config)
    tables = (config.ingest.batch_log, config.cluster_tables)
    measured = metric_views(*tables) if has_metric_views() else ()
    return (
        *(*streams, *left_out, TOP_ITEMS, USERS_WITH_FEW_RATINGS),
        *(*titled, *wide_views(config), *measured),
    )


def has_metric_views() -> bool:
    """Whether this Spark has metric views: Databricks, and open-source Spark from 4.2 on."""
    return on_databricks() or tuple(map(int, pyspark_version.split(".")[:2])) >= _METRIC_VIEWS


def silver_quarantine_views(config: JobConfig) -> list[ViewSpec]:
    """The views of the records that the rules of silver tables leave out."""
    tables = [table for table in config.silver.tables.values() if table.stream in config.streams]
    views = (SilverRules(config.streams[table.stream], table).view() for table in tables)
    return list(filter(None, views))


def data_freshness(event_times: Mapping[str, str | None]) -> ViewSpec:
    """The age of each table of `event_times`, which gives the column of its event time or None."""
    branches = [
        f"SELECT {quote_text(table)} AS table_name, count(*) AS row_count,"
        f" {f'max({quote_identifier(column)})' if column else 'CAST(NULL AS TIMESTAMP)'}"
        " AS last_event_time, max(_metadata.file_modification_time) AS last_written_at"
        f" FROM {table}"
        for table, column in event_times.items()
    ]
    return ViewSpec(
        FRESHNESS,
        "The age of each table at the moment of the query.",
        (
            ("table_name", "The table, as schema.table"),
            ("row_count", "Number of its rows"),
            ("last_event_time", "Time of its latest event, UTC; null for tables without events"),
            ("last_written_at", "Time of its last write, UTC; null when empty"),
            ("age_minutes", "Whole minutes since then"),
        ),
        "SELECT *, timestampdiff(MINUTE, last_written_at, current_timestamp()) AS age_minutes"
        f" FROM ({' UNION ALL '.join(branches)})",
        needs=tuple(event_times),
    )


def quarantine_by_reason(streams: Mapping[str, str], lake: str | None) -> ViewSpec:
    """The refused records of `streams` (name to quarantine view) and rows of the table `lake`."""
    branches = [
        f"SELECT {quote_text(name)} AS source, {quote_text(view)} AS held_in,"
        " _error_code AS error_code, count(*) AS refused, min(kafka_timestamp) AS first_time,"
        " max(kafka_timestamp) AS last_time,"
        " max_by(_error_message, struct(kafka_timestamp, partition, offset)) AS example"
        f" FROM {view} GROUP BY _error_code"
        for name, view in streams.items()
    ]
    if lake:
        branches.append(
            f"SELECT source, {quote_text(lake)}, _error_code, count(*), min(loaded_at),"
            " max(loaded_at), max_by(_error_message, struct(loaded_at, _error_message))"
            f" FROM {lake} GROUP BY source, _error_code"
        )
    return ViewSpec(
        QUARANTINE,
        "Refused records and rows, by source and error code.",
        (
            ("source", "The stream, or the kind of lake files, as conf names it"),
            ("held_in", "The table or view with the refused records or rows, as they came"),
            ("error_code", "Error code of the records or rows"),
            ("refused", "Number of records or rows"),
            ("first_time", "Time of the first one, UTC: in Kafka, or of the load of its file"),
            ("last_time", "Time of the last one, UTC"),
            ("example", "The error message of one of the last"),
        ),
        " UNION ALL ".join(branches),
        needs=(*streams.values(), *([lake] if lake else [])),
    )


def create_views(
    lakehouse: Lakehouse, config: JobConfig, names: Collection[str] | None = None
) -> list[str]:
    """Creates or renews all views, or those of `names`. Returns the names of the created views.

    A view is left out while a table that it needs is missing. The views of freshness and quarantine
    cover the tables that exist now.
    """
    specs = [spec for spec in fixed_views(config) if names is None or spec.name in names]
    if names is None or FRESHNESS in names:
        times = _event_times(lakehouse, config)
        specs += [data_freshness(times)] if times else []
    if names is None or QUARANTINE in names:
        views = {name: stream.quarantine_view for name, stream in config.streams.items()}
        there = {name: view for name, view in views.items() if lakehouse.exists(view)}
        files = config.lake.quarantine if lakehouse.exists(config.lake.quarantine) else None
        specs += [quarantine_by_reason(there, files)] if there or files else []
    return [spec.name for spec in specs if lakehouse.create_view(spec)]


def publish_views(
    lakehouse: Lakehouse, config: JobConfig, names: Collection[str] | None = None
) -> None:
    """Renews all views, or those of `names`, where a catalog keeps them.

    Local sessions make their own.
    """
    if lakehouse.catalog:
        made = create_views(lakehouse, config, names)
        _log.info("views of catalog %s: %s", lakehouse.catalog, ", ".join(made))


def view_names(config: JobConfig, tables: Collection[str]) -> list[str]:
    """The views that these `tables` allow; reads nothing from a session."""
    there = set(tables)
    for spec in fixed_views(config):
        if there.issuperset(spec.needs):
            there.add(spec.name)
    refused = [stream.quarantine_view for stream in config.streams.values()]
    there |= {FRESHNESS} if tables else set()
    there |= {QUARANTINE} if there.intersection([*refused, config.lake.quarantine]) else set()
    return sorted(there.difference(tables))


def _event_times(lakehouse: Lakehouse, config: JobConfig) -> dict[str, str | None]:
    """The tables that exist, each with the column of its event time."""
    declared = {stream.table: stream.event_time for stream in config.streams.values()}
    return {
        table: declared.get(table, _own_event_time(lakehouse, table))
        for table in table_names(lakehouse, config)
    }


def _own_event_time(lakehouse: Lakehouse, table: str) -> str | None:
    kinds = {field.name: field.dataType for field in lakehouse.read(table).schema}
    return EVENT_TIME if isinstance(kinds.get(EVENT_TIME), TimestampType) else None
