"""One of each table that reports read, as views over literals: they have the declared columns."""

from pyspark.sql import SparkSession
from tests.support.lakes import forget_tables
from tests.support.sources import ROOT

from matchlake.config import JobConfig, load_config
from matchlake.ingest.files.tables import lake_files
from matchlake.ingest.streams.audit_table import batch_log_table
from matchlake.io.delta import Lakehouse
from matchlake.lakehouse.views import SCHEMAS, fixed_views
from matchlake.monitoring.tables import MODEL_QUALITY
from matchlake.profiling.profile import COLUMN_PROFILES, DRIFT
from matchlake.schemas import (
    INTERACTIONS,
    PREDICTED_RATINGS,
    RECOMMENDATIONS,
    RELATED_USERS,
    Column,
    TableSpec,
    quote_identifier,
)
from matchlake.training.history import MODEL_HISTORY

TITLE = "<script>alert('$x$')</script> & \"Ünï\" \x07"
"""A title of an item as somebody may send it."""
_AT = "TIMESTAMP'2024-02-29 12:30:00'"
_ITEMS = TableSpec(
    "bronze.items",
    "Items",
    (Column("item_id", "STRING", "key"), Column("title", "STRING", "title")),
    user_columns=(),
)
_FRESHNESS = TableSpec(
    "gold.data_freshness",
    "Freshness",
    (
        Column("table_name", "STRING", "table"),
        Column("row_count", "BIGINT", "rows"),
        Column("last_event_time", "TIMESTAMP", "event"),
        Column("last_written_at", "TIMESTAMP", "write"),
        Column("age_minutes", "BIGINT", "age"),
    ),
    user_columns=(),
)
_QUARANTINE = TableSpec(
    "gold.quarantine_by_reason",
    "Quarantine",
    (
        *(Column(name, "STRING", name) for name in ("source", "held_in", "error_code")),
        Column("refused", "BIGINT", "records"),
        Column("first_time", "TIMESTAMP", "first"),
        Column("last_time", "TIMESTAMP", "last"),
        Column("example", "STRING", "example"),
    ),
    user_columns=(),
)
Row = dict[str, object]


def report_lake(spark: SparkSession, folder: str, *, filled: bool) -> tuple[Lakehouse, JobConfig]:
    """A lakehouse whose tables have few rows with known answers, or none."""
    forget_tables(spark)
    config = load_config("demo", [f"lakehouse={folder}"], ROOT / "conf")
    for schema in SCHEMAS:
        spark.sql(f"CREATE SCHEMA IF NOT EXISTS {schema}")
    for spec, rows in _tables(config):
        spark.sql(f"CREATE VIEW {spec.name} AS {_literals(spec, rows, filled=filled)}")
    return Lakehouse(spark, None, config.warehouse, fixed_views(config)), config


def _literals(spec: TableSpec, rows: list[Row], *, filled: bool) -> str:
    """The rows as a query; a value is SQL if it is text, and a column without one is null."""
    selects = [
        "SELECT "
        + ", ".join(
            f"CAST({row.get(each.name, 'NULL')} AS {each.type}) AS {quote_identifier(each.name)}"
            for each in spec.columns
        )
        for row in rows
    ]
    query = " UNION ALL ".join(selects)
    return query if filled else f"SELECT * FROM ({query}) WHERE false"


def _tables(config: JobConfig) -> list[tuple[TableSpec, list[Row]]]:
    history = {"model": "'recommender'", "change_id": "'c'", "alias": "'champion'"}
    history |= {"action": "'train'", "state": "'done'", "started_at": "current_timestamp()"}
    title = "concat('<script>alert(', char(39), '\\\\u0024x\\\\u0024', char(39), ')</script> & ',"
    title += " char(34), 'Ünï', char(34), ' ', char(7))"
    return [
        (batch_log_table(config.ingest.batch_log), _batches()),
        (lake_files(config.lake.file_log), [_file("'loaded'"), _file("'corrupt'")]),
        (_ITEMS, [{"item_id": "'i1'", "title": title}, {"item_id": "'i2'", "title": "'Film'"}]),
        (
            _FRESHNESS,
            [{"table_name": "'bronze.items'", "row_count": 2, "age_minutes": 9} | _times()],
        ),
        (_QUARANTINE, [{"source": "'s'", "error_code": "'empty'", "refused": 3} | _refused()]),
        (INTERACTIONS, [_rated("'u1'", "'i1'", 4), _rated("'u2'", "'i3'", 2)]),
        (RECOMMENDATIONS, [_listed("'u1'", 1, "'i1'"), _listed("'u1'", 2, "'i2'")]),
        (PREDICTED_RATINGS, [_predicted("'i1'", 3.5), _predicted("'i2'", 4.5)]),
        (RELATED_USERS, [{"user_id": "'u1'", "rank": 1, "related_user_id": "'u2'", "score": 0.5}]),
        (MODEL_HISTORY, [history | {"number": 1, "version": "'1'", "reason": "'first'"}]),
        (DRIFT, [_drift()]),
        (MODEL_QUALITY, [_judged()]),
        (COLUMN_PROFILES, [_profiled("'bar'", 0.75), _profiled("'null'", 0.25)]),
    ]


def _batches() -> list[Row]:
    gap = f"array(named_struct('cause', 'retention', 'first_offset', 5L, 'end_offset', 12L))"  # noqa: F541
    first = {"stream": "'a'", "topic": "'t'", "batch_id": 0, "read": 90, "valid": 80}
    first |= {"quarantined": 10, "bytes": 1000, "seconds": 2, "late": 1, "gaps": gap}
    first |= {"committed_at": _AT, "last_event": "TIMESTAMP'9999-12-30'"}
    second = first | {"batch_id": 1, "read": 10, "valid": 10, "quarantined": 0, "gaps": "NULL"}
    other = second | {"stream": "'b'", "committed_at": f"{_AT} + INTERVAL 1 HOUR"}
    other["last_event"] = _AT
    return [first, second, other]


def _file(status: str) -> Row:
    return {"source": "'items'", "file": "'f'", "status": status, "modified_at": _AT}


def _times() -> Row:
    return {"last_event_time": _AT, "last_written_at": _AT}


def _refused() -> Row:
    return {"last_time": _AT, "example": "'no <b>value</b>'"}


def _rated(user: str, item: str, rating: float) -> Row:
    return {"user_id": user, "item_id": item, "rating": rating, "event_time": _AT}


def _listed(user: str, rank: int, item: str) -> Row:
    row: Row = {"user_id": user, "rank": rank, "item_id": item, "score": 0.5}
    return row | {"model_version": "'1'", "is_cold_start": "false"}


def _predicted(item: str, rating: float) -> Row:
    row: Row = {"user_id": "'u1'", "item_id": item, "rating": rating, "rating_std": 0.5}
    return row | {"model_version": "'1'", "is_cold_start": "false"}


def _drift() -> Row:
    row: Row = {"table_name": "'bronze.users'", "column_name": "'age'", "before_version": 1}
    row |= {"version": 2, "psi": 0.3, "ks": 0.2, "null_fraction_before": 0}
    return (
        row
        | {"null_fraction_after": 0.5, "new_categories": "array('x')"}
        | {"gone_categories": "array('y')"}
    )


def _judged() -> Row:
    row: Row = {"model": "'ages'", "window_end": _AT, "alarms": "array('drift')", "note": "'n'"}
    return row | {"main_feature": "'age'", "metric": "'rmse'", "before": 1, "now": 2}


def _profiled(kind: str, fraction: float) -> Row:
    row: Row = {"table_name": "'bronze.users'", "version": 2, "column_name": "'age'"}
    return row | {"kind": kind, "fraction": fraction, "rows": 1}
