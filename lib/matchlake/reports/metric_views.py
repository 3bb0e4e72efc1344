"""Metric views: measures that are defined once, and grouped by whatever a query asks for.

`SELECT stream, measure(quarantine_rate) FROM gold.ingestion_metrics GROUP BY stream`. A rate keeps
its meaning in every grouping, because it is computed from sums. Version 0.1 of the YAML is the one
that open-source Spark 4.2 and Databricks both read.
"""

from collections.abc import Sequence

from matchlake.schemas import (
    INTERACTIONS,
    PREDICTED_RATINGS,
    RECOMMENDATIONS,
    ViewSpec,
)

_LISTS, _RATED, _PREDICTED = RECOMMENDATIONS.name, INTERACTIONS.name, PREDICTED_RATINGS.name

Measured = tuple[str, str, str]
"""The name of a dimension or measure, its SQL expression, its comment."""


def metric_views(batch_log: str, clusters: Sequence[str] = ()) -> tuple[ViewSpec, ...]:
    """The metric views over the product's tables; conf names `ingest.batch_log`.

    `clusters` are the tables of predictions of the clustering models of conf.
    """
    return (
        *(_ingestion_metrics(batch_log), _recommendation_metrics(), _prediction_metrics()),
        *map(_cluster_metrics, clusters),
    )


def cluster_metrics_name(table: str) -> str:
    """The metric view of a table of predictions, if its model is a clustering."""
    return f"{table}_cluster_metrics"


def _ingestion_metrics(batch_log: str) -> ViewSpec:
    return _metric_view(
        "gold.ingestion_metrics",
        "Measures of what the streams delivered.",
        batch_log,
        (
            ("stream", "stream", "Name of the stream in conf"),
            ("topic", "topic", "Kafka topic"),
            ("day", "CAST(committed_at AS DATE)", "Day of the commit, UTC"),
        ),
        (
            ("records", "sum(read)", "Records read"),
            ("valid_records", "sum(valid)", "Records that parsed"),
            ("quarantined_records", "sum(quarantined)", "Records that did not parse"),
            (
                "quarantine_rate",
                "try_divide(sum(quarantined), sum(read))",
                "Quarantined records as a fraction of those read",
            ),
            ("bytes_read", "sum(bytes)", "Bytes of the values as received"),
            ("batch_seconds", "avg(seconds)", "Mean seconds from start to commit of a batch"),
            ("last_commit", "max(committed_at)", "Time of the last commit, UTC"),
        ),
        (batch_log,),
    )


def _recommendation_metrics() -> ViewSpec:
    return _metric_view(
        "gold.recommendation_metrics",
        "Measures of the recommendations and of the ratings that came after them.",
        "SELECT l.user_id, l.item_id, l.rank, l.model_version, l.is_cold_start, r.rating AS"
        f" rated FROM {_LISTS} l LEFT JOIN {_RATED} r ON l.user_id = r.user_id"
        " AND l.item_id = r.item_id",
        (
            ("place", "rank", "Place in the user's list, 1 is the best"),
            ("model_version", "model_version", "Version of the registered model"),
            ("cold_start", "is_cold_start", "Whether the user had no ratings to learn from"),
        ),
        (
            ("recommendations", "count(1)", "Places in lists"),
            ("users", "count(DISTINCT user_id)", "Users with recommendations"),
            ("items", "count(DISTINCT item_id)", "Items that are in at least one list"),
            (
                "acceptance",
                "try_divide(count(rated), count(1))",
                "Recommended items that their user rated since, as a fraction",
            ),
            ("mean_rating_since", "avg(rated)", "Mean of these ratings"),
        ),
        (_LISTS, _RATED),
    )


def _prediction_metrics() -> ViewSpec:
    return _metric_view(
        "gold.prediction_metrics",
        "Measures of predicted ratings against the ratings that came after them.",
        "SELECT p.model_version, p.is_cold_start, p.rating AS predicted, p.rating_std,"
        f" r.rating AS rated FROM {_PREDICTED} p LEFT JOIN {_RATED} r"
        " ON p.user_id = r.user_id AND p.item_id = r.item_id",
        (
            ("model_version", "model_version", "Version of the registered model"),
            ("cold_start", "is_cold_start", "Whether user or item had no ratings"),
        ),
        (
            ("predictions", "count(1)", "Predicted ratings"),
            ("ratings_since", "count(rated)", "Predictions with a rating that came later"),
            ("rmse", "sqrt(avg(pow(rated - predicted, 2)))", "Root mean squared error"),
            ("mae", "avg(abs(rated - predicted))", "Mean absolute error"),
            (
                "interval_coverage_90",
                "avg(CAST(abs(rated - predicted) <= 1.645 * rating_std AS INT))",
                "Ratings inside the interval of 90 %, as a fraction",
            ),
        ),
        (_PREDICTED, _RATED),
    )


def _cluster_metrics(table: str) -> ViewSpec:
    return _metric_view(
        cluster_metrics_name(table),
        f"Measures of the clusters in {table}.",
        table,
        (
            ("cluster", "prediction", "Number of the cluster; null for rows without one"),
            ("model_version", "model_version", "Version of the registered model"),
        ),
        (
            ("members", "count(prediction)", "Rows in the cluster"),
            ("without_cluster", "count_if(prediction IS NULL)", "Rows without a cluster"),
            (
                "mean_distance",
                "avg(get(distances, prediction))",
                "Mean distance to the centre of the cluster, in units of the scaled features",
            ),
            ("largest_distance", "max(get(distances, prediction))", "The largest such distance"),
        ),
        (table,),
    )


def _metric_view(
    name: str,
    comment: str,
    source: str,
    dimensions: tuple[Measured, ...],
    measures: tuple[Measured, ...],
    needs: tuple[str, ...],
) -> ViewSpec:
    lines = ['version: "0.1"', f"source: {_quoted(source)}", "dimensions:"]
    lines += [f"  - {{name: {n}, expr: {_quoted(e)}}}" for n, e, _ in dimensions]
    lines += ["measures:"]
    lines += [f"  - {{name: {n}, expr: {_quoted(e)}}}" for n, e, _ in measures]
    columns = tuple((n, c) for n, _, c in (*dimensions, *measures))
    return ViewSpec(name, comment, columns, "\n".join(lines), needs, has_measures=True)


def _quoted(text: str) -> str:
    """A text of YAML in single quotes."""
    return "'" + text.replace("'", "''") + "'"
