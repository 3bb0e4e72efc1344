"""The views that analysts read: what each shows, what it needs, and how they are made.

On a platform the views live in its catalog: the jobs that write the tables renew them with
`create_views`. On a laptop there is no catalog to keep them, so every SQL session makes those
that a query mentions.
"""

from collections.abc import Collection, Mapping

from pyspark.sql.types import TimestampType

from matchlake.config import JobConfig
from matchlake.io.delta import Lakehouse
from matchlake.schemas import EVENT_TIME, INTERACTIONS, RECOMMENDATIONS, ViewSpec, quote_text

SCHEMAS = ("bronze", "silver", "gold")
"""The schemas in which tables and views stand."""
DAMPING = 10
"""Ratings of the overall mean that `gold.top_items` adds to each item's own."""
FEW_RATINGS = 20
"""A user with at most this many ratings is in `gold.users_with_few_ratings`."""

FRESHNESS = "gold.data_freshness"

TOP_ITEMS = ViewSpec(
    "gold.top_items",
    f"Items by damped mean rating: (sum + {DAMPING} * overall mean) / (ratings + {DAMPING}), so "
    "that a few high ratings do not lead the list.",
    (
        ("rank", "Place by damped mean, 1 is the best; ties by number of ratings, then item_id"),
        ("item_id", "Business key of the item"),
        ("title", "Title of the item; null where bronze.items does not have it"),
        ("ratings", "How many users rated the item"),
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
    f"Users with at most {FEW_RATINGS} ratings, those with none included: recommendations for "
    "them say little about them.",
    (
        ("user_id", "Business key of the user"),
        ("ratings", "How many items the user rated"),
        ("last_event_time", "When the user rated last, UTC; null without a rating"),
    ),
    f"""
    SELECT user_id, count(item_id) AS ratings, max(event_time) AS last_event_time
    FROM bronze.users FULL OUTER JOIN silver.interactions USING (user_id)
    GROUP BY user_id HAVING count(item_id) <= {FEW_RATINGS}
    """,
    needs=(INTERACTIONS.name, "bronze.users"),
)

RECOMMENDATIONS_WITH_TITLES = ViewSpec(
    "gold.recommendations_with_titles",
    "The recommendations, with what the items are called.",
    (
        ("user_id", "Business key of the user"),
        ("rank", "Place in the user's list, 1 is the best"),
        ("item_id", "Business key of the item"),
        ("title", "Title of the item; null where bronze.items does not have it"),
        ("score", "Predicted rating, or strength for implicit models"),
        ("model_version", "Version of the registered model that made the row"),
    ),
    """
    SELECT user_id, rank, item_id, title, score, model_version
    FROM gold.recommendations LEFT JOIN bronze.items USING (item_id)
    """,
    needs=(RECOMMENDATIONS.name, "bronze.items"),
)


def data_freshness(tables: Mapping[str, bool]) -> ViewSpec:
    """How old each of `tables` is; the values say which of them have an event time."""
    branches = [
        f"SELECT {quote_text(table)} AS table_name, count(*) AS row_count,"
        f" {f'max({EVENT_TIME})' if timed else 'CAST(NULL AS TIMESTAMP)'} AS last_event_time,"
        f" max(_metadata.file_modification_time) AS last_written_at FROM {table}"
        for table, timed in tables.items()
    ]
    return ViewSpec(
        FRESHNESS,
        "How fresh each table is, as of the moment the view is read.",
        (
            ("table_name", "The table, as schema.table"),
            ("row_count", "How many rows it has"),
            ("last_event_time", "Time of its youngest event, UTC; null for tables without events"),
            ("last_written_at", "When rows were last written or rewritten, UTC; null when empty"),
            ("age_minutes", "Whole minutes since then"),
        ),
        "SELECT *, timestampdiff(MINUTE, last_written_at, current_timestamp()) AS age_minutes"
        f" FROM ({' UNION ALL '.join(branches)})",
        needs=tuple(tables),
    )


def jobs_of(config: JobConfig) -> dict[str, str]:
    """Which job writes each table that `config` speaks of."""
    return {
        "bronze.users": "load_lake",
        "bronze.items": "load_lake",
        INTERACTIONS.name: "build_features",
        **{each.table: "build_features" for each in config.features.tables.values()},
        RECOMMENDATIONS.name: "recommend",
    }


def jobs_before(config: JobConfig, name: str) -> list[str]:
    """The jobs after which the table or view `name` is there; none where no job makes it."""
    jobs = jobs_of(config)
    if name in jobs:
        return [jobs[name]]
    needs = [need for spec in _fixed_views(config) if spec.name == name for need in spec.needs]
    return list(dict.fromkeys(job for need in needs for job in jobs_before(config, need)))


def create_views(
    lakehouse: Lakehouse, config: JobConfig, names: Collection[str] | None = None
) -> list[str]:
    """Creates or renews the views, or those of `names` and what they read; names those made.

    A view is left out while a table that it needs is missing.
    """
    specs = {spec.name: spec for spec in view_specs(lakehouse, config, names)}
    wanted = list(specs) if names is None else _with_needs(specs, names)
    return [name for name in specs if name in wanted and lakehouse.create_view(specs[name])]


def view_specs(
    lakehouse: Lakehouse, config: JobConfig, names: Collection[str] | None = None
) -> list[ViewSpec]:
    """All views of `config`, each after those it reads.

    What freshness reads depends on which tables there are, so it is only looked up when `names`
    is None or asks for it.
    """
    specs = _fixed_views(config)
    if names is None or FRESHNESS in names:
        there = lakehouse.attach_all() if lakehouse.folder else jobs_of(config)
        tables = {name: _has_events(lakehouse, name) for name in there if lakehouse.exists(name)}
        specs += [data_freshness(tables)] if tables else []
    return specs


def _fixed_views(_config: JobConfig) -> list[ViewSpec]:
    """The views whose queries do not depend on which tables there are."""
    return [TOP_ITEMS, USERS_WITH_FEW_RATINGS, RECOMMENDATIONS_WITH_TITLES]


def _has_events(lakehouse: Lakehouse, table: str) -> bool:
    fields = {each.name: each.dataType for each in lakehouse.read(table).schema}
    return isinstance(fields.get(EVENT_TIME), TimestampType)


def _with_needs(specs: Mapping[str, ViewSpec], names: Collection[str]) -> set[str]:
    """The views of `names`, and the views that they read, and so on."""
    found = {name for name in names if name in specs}
    deeper = found | {need for name in found for need in specs[name].needs if need in specs}
    return found if deeper == found else _with_needs(specs, deeper)
