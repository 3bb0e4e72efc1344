"""Each widget of each report shows something; empty tables are said so; metric views."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pyspark.sql import SparkSession
from tests.support.lakes import forget_tables
from tests.support.report_tables import report_lake
from tests.support.sources import ROOT

from matchlake.config import load_config
from matchlake.errors import ConfigError
from matchlake.io.delta import Lakehouse
from matchlake.lakehouse.job_order import jobs_before
from matchlake.lakehouse.views import create_views, publish_views, view_names
from matchlake.reports.catalogue import reports
from matchlake.reports.metric_views import cluster_metrics_name, metric_views
from matchlake.reports.page import render_page
from matchlake.reports.reading import problems_of, read_report
from matchlake.reports.spec import Field, ReportSpec, Widget

USER = {"user_id": "u1"}
MADE = datetime(2024, 2, 29, 12, tzinfo=UTC)


@pytest.fixture(scope="module")
def filled(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lakehouse]:
    lake, config = report_lake(spark, str(tmp_path_factory.mktemp("filled")), filled=True)
    create_views(lake, config)
    yield lake
    forget_tables(spark)


def specs() -> dict[str, ReportSpec]:
    return reports("bronze.ingest_batches", "bronze.lake_files")


def answers(lake: Lakehouse, name: str) -> dict[str, list[tuple[object, ...]]]:
    found = read_report(lake, specs()[name], USER)
    return {each.widget.name: list(each.rows.itertuples(index=False, name=None)) for each in found}


@pytest.mark.parametrize("name", specs())
def test_every_field_of_every_widget_has_its_kind_and_values(filled: Lakehouse, name: str) -> None:
    spec = specs()[name]
    assert [str(each) for each in problems_of(spec, read_report(filled, spec, USER))] == []


def test_ingestion_has_the_known_answers(filled: Lakehouse) -> None:
    found = answers(filled, "ingestion")
    assert found["records_read"] == [(110,)]
    assert found["quarantine_rate"] == [(10 / 110,)]
    assert found["offsets_lost"] == [(7,)]
    assert [row[1:] for row in found["records_by_hour"]] == [(100, "a"), (10, "b")]
    # 9999-12-30 is a time that no page and no data frame can hold.
    assert [(row[0], str(row[7])) for row in found["streams"]] == [
        ("a", "NaT"),
        ("b", "2024-02-29 12:30:00"),
    ]


def test_recommendations_have_the_known_answers(filled: Lakehouse) -> None:
    found = answers(filled, "recommendations")
    assert found["coverage"] == [(0.5,)], "of i1 and i3, i1 is in a list"
    assert found["accepted"] == [(0.5,)]
    assert found["predicted_ratings"] == [("1", 2, 4.0, 1, 0.5)]


@pytest.mark.soak
def test_a_page_of_hostile_titles_is_escaped_and_complete(filled: Lakehouse) -> None:
    sections = [(spec, read_report(filled, spec, USER)) for spec in specs().values()]
    page = render_page(sections, MADE, "<test>", USER)
    assert "<script" not in page.lower()
    assert "&lt;script&gt;alert(" in page
    assert page.count("<svg ") == sum(
        widget.kind in ("bar", "line") for spec in specs().values() for widget in spec.widgets
    )
    assert "Nothing to show" not in page
    assert page == render_page(sections, MADE, "<test>", USER), "the same rows give the same page"
    assert "http://" not in page.replace("http://www.w3.org/", "")
    assert "https://" not in page


def test_a_wrong_widget_is_found(filled: Lakehouse) -> None:
    def widget(query: str, field: Field, needs: str = "gold.drift") -> Widget:
        return Widget("w", "W", "counter", (needs,), query, (field,))

    number = Field("psi", "number", "PSI")
    wrong = ReportSpec(
        "r",
        "R",
        "",
        (
            widget("SELECT psi AS other FROM gold.drift", number),
            widget("SELECT 'a' AS psi FROM gold.drift", number),
            widget("SELECT CAST(null AS DOUBLE) AS psi FROM gold.drift", number),
            widget("SELECT psy AS psi FROM gold.drift", number),
            widget("SELECT 1 AS psi FROM gold.none", number, "gold.none"),
        ),
    )
    texts = [each.text for each in problems_of(wrong, read_report(filled, wrong))]
    assert texts[0] == "psi is not a column of the query; it has other"
    assert texts[1] == "psi is declared as number, and the query gives string"
    assert texts[2] == "No rows in gold.drift."
    assert texts[3].startswith("The query fails: [UNRESOLVED_COLUMN")
    assert texts[4] == "There is no gold.none yet."


def test_a_chart_says_what_it_lacks_or_leaves_out(filled: Lakehouse) -> None:
    def chart(query: str) -> Widget:
        fields = (Field("a", "text", "A"), Field("n", "number", "N"))
        return Widget("w", "W", "bar", ("gold.drift",), query, fields, filled_by="Profile it.")

    many = chart("SELECT CAST(id AS STRING) AS a, id AS n FROM range(2001)")
    without = chart("SELECT 'x' AS a, CAST('NaN' AS DOUBLE) AS n")
    spec = ReportSpec("r", "R", "", (many, without))
    cut, empty = read_report(filled, spec)
    assert (len(cut.rows), cut.is_cut, cut.reason) == (2000, True, "")
    assert empty.reason == "No rows in gold.drift. Profile it."
    page = render_page([(spec, [empty])], MADE, "test")
    assert "Nothing to show. No rows in gold.drift. Profile it." in page


def test_a_report_on_a_user_needs_the_user(filled: Lakehouse) -> None:
    with pytest.raises(ConfigError, match="needs user_id: give --user"):
        read_report(filled, specs()["user"])
    nobody = read_report(filled, specs()["user"], {"user_id": "' OR true --"})
    assert {each.widget.name: len(each.rows) for each in nobody}["recommendations"] == 0
    reasons = {each.widget.name: each.reason for each in nobody}
    assert reasons["mean_rating"] == "No rows in silver.interactions for user_id ' OR true --."


STREAMS = """
    SELECT stream, sum(read), sum(quarantined) / sum(read), max(committed_at)
    FROM bronze.ingest_batches GROUP BY stream
"""
PLACES = """
    SELECT rank, count(*), count(DISTINCT user_id), avg(CAST(EXISTS (
        SELECT 1 FROM silver.interactions r WHERE r.user_id = l.user_id AND r.item_id = l.item_id
    ) AS INT)) FROM gold.recommendations l GROUP BY rank
"""
ERRORS = """
    SELECT p.model_version, count(*), count(r.rating), sqrt(avg(pow(r.rating - p.rating, 2))),
           avg(abs(r.rating - p.rating)),
           avg(CAST(abs(r.rating - p.rating) <= 1.645 * rating_std AS INT))
    FROM gold.predicted_ratings p LEFT JOIN silver.interactions r USING (user_id, item_id)
    GROUP BY p.model_version
"""
RATES = ("records", "quarantine_rate", "last_commit")
LISTED = ("recommendations", "users", "acceptance")
PREDICTED = ("predictions", "ratings_since", "rmse", "mae", "interval_coverage_90")


@pytest.mark.parametrize(
    ("view", "dimension", "measures", "plain"),
    [
        ("gold.ingestion_metrics", "stream", RATES, STREAMS),
        ("gold.recommendation_metrics", "place", LISTED, PLACES),
        ("gold.prediction_metrics", "model_version", PREDICTED, ERRORS),
    ],
)
def test_a_measure_equals_the_plain_sql(
    filled: Lakehouse, view: str, dimension: str, measures: tuple[str, ...], plain: str
) -> None:
    chosen = ", ".join(f"measure({name})" for name in measures)
    measured = filled.spark.sql(f"SELECT {dimension}, {chosen} FROM {view} GROUP BY {dimension}")
    found, expected = (
        sorted(map(tuple, each.collect())) for each in (measured, filled.spark.sql(plain))
    )
    assert found == expected != []
    comments = {each.name: each.description for each in filled.spark.catalog.listColumns(view)}
    (spec,) = (each for each in metric_views("bronze.ingest_batches") if each.name == view)
    assert comments == dict(spec.columns)


def test_empty_tables_give_a_page_that_says_so(spark: SparkSession, tmp_path: Path) -> None:
    lake, config = report_lake(spark, str(tmp_path), filled=False)
    create_views(lake, config)
    sections = [(spec, read_report(lake, spec, USER)) for spec in specs().values()]
    page = render_page(sections, MADE, "test", USER)
    widgets = [widget for spec in specs().values() for widget in spec.widgets]
    panels = [each for each in widgets if each.kind != "counter"]
    assert page.count("Nothing to show. No rows in ") == len(panels)
    drift = {each.widget.name: each.reason for each in read_report(lake, specs()["drift"])}
    assert drift["psi_by_column"].startswith("No rows in gold.drift. Run profile_tables again")
    assert drift["model_quality"].startswith("No rows in gold.model_quality. monitor_models wr")
    forget_tables(spark)
    gone = read_report(lake, specs()["models"])
    assert {each.reason for each in gone} == {"There is no gold.model_history yet."}


def test_each_clustering_model_has_a_metric_view(spark: SparkSession, tmp_path: Path) -> None:
    """Six customers in two clusters, of two versions; one of them has no cluster."""
    forget_tables(spark)
    model = {
        "rows": "gold.customers",
        "task": "clustering",
        "keys": ["user_id"],
        "features": {"age": {"kind": "number"}},
        "trainer": {"kind": "kmeans", "k": 2},
        "table": "gold.segments",
        "comment": "Segments.",
    }
    other = model | {"label": "age", "task": "regression", "table": "gold.ages"}
    other |= {"trainer": {"kind": "sklearn", "estimator": "Ridge"}}
    other |= {"features": {"visits": {"kind": "number"}}}
    models = json.dumps({"segments": model, "ages": other})
    config = load_config("demo", [f"lakehouse={tmp_path}", f"models={models}"], ROOT / "conf")
    view = cluster_metrics_name("gold.segments")
    assert view not in view_names(config, ["gold.ages"])
    assert view in view_names(config, ["gold.segments"])
    assert cluster_metrics_name("gold.ages") not in view_names(config, ["gold.ages"])
    assert jobs_before(config, view) == ["score_model"]
    spark.sql("CREATE SCHEMA IF NOT EXISTS gold")
    spark.sql("""
        CREATE VIEW gold.segments AS SELECT * FROM VALUES
        ('a', 0, array(1D, 9D), '1'), ('b', 0, array(2D, 8D), '1'), ('c', 0, array(6D, 7D), '2'),
        ('d', 1, array(9D, 0D), '1'), ('e', 1, array(9D, 5D), '2'), ('f', null, null, '2')
        AS rows(user_id, prediction, distances, model_version)
    """)
    publish_views(Lakehouse(spark, "spark_catalog"), config, [view, "gold.ages_cluster_metrics"])
    measures = ("members", "without_cluster", "mean_distance", "largest_distance")
    chosen = ", ".join(f"measure({name})" for name in measures)
    found = spark.sql(f"SELECT cluster, {chosen} FROM {view} GROUP BY cluster ORDER BY cluster")
    assert [tuple(row) for row in found.collect()] == [
        (None, 0, 1, None, None),
        (0, 3, 0, 3.0, 6.0),
        (1, 2, 0, 2.5, 5.0),
    ]
    by_version = spark.sql(
        f"SELECT model_version, {chosen} FROM {view} GROUP BY model_version ORDER BY 1"
    )
    assert [tuple(row) for row in by_version.collect()] == [
        ("1", 3, 0, 1.0, 2.0),
        ("2", 2, 1, 5.5, 6.0),
    ]
    comments = {each.name: each.description for each in spark.catalog.listColumns(view)}
    assert comments == dict(metric_views("bronze.ingest_batches", ["gold.segments"])[-1].columns)
    forget_tables(spark)
