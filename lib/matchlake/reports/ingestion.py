"""The report on ingestion: is everything read, valid and fresh?"""

from matchlake.reports.spec import Field, ReportSpec, Widget

_FRESHNESS, _QUARANTINE = "gold.data_freshness", "gold.quarantine_by_reason"
_LOST = "CASE WHEN g.cause IN ('retention', 'accepted') THEN g.end_offset - g.first_offset END"


def ingestion_health(batch_log: str, file_log: str) -> ReportSpec:
    """The report over the tables that conf names `ingest.batch_log` and `lake.file_log`."""
    return ReportSpec(
        "ingestion",
        "Ingestion health",
        "What the streams and the lake delivered, what was refused and why, and how old each table "
        "is.",
        (*_counters(batch_log), *_by_chart(batch_log), *_tables(batch_log), *_ages(file_log)),
    )


def _counters(log: str) -> tuple[Widget, ...]:
    return (
        Widget(
            "records_read",
            "Records read",
            "counter",
            (log,),
            f"SELECT sum(read) AS records FROM {log}",
            (Field("records", "number", "Records"),),
            "From all streams, since the first batch.",
        ),
        Widget(
            "quarantine_rate",
            "Quarantined",
            "counter",
            (log,),
            f"SELECT try_divide(sum(quarantined), sum(read)) AS fraction FROM {log}",
            (Field("fraction", "percent", "Fraction"),),
            "Records that did not parse, as a fraction of those read.",
        ),
        Widget(
            "offsets_lost",
            "Offsets lost",
            "counter",
            (log,),
            f"SELECT coalesce(sum({_LOST}), 0) AS offsets"
            f" FROM (SELECT explode_outer(gaps) AS g FROM {log})",
            (Field("offsets", "number", "Offsets"),),
            "Removed by the broker before they were read, or accepted as lost.",
        ),
        Widget(
            "last_commit",
            "Last batch",
            "counter",
            (log,),
            f"SELECT max(committed_at) AS committed_at FROM {log}",
            (Field("committed_at", "time", "Committed"),),
            "Time of the latest commit of any stream, UTC.",
        ),
    )


def _by_chart(log: str) -> tuple[Widget, ...]:
    return (
        Widget(
            "records_by_hour",
            "Records by hour",
            "line",
            (log,),
            "SELECT date_trunc('HOUR', committed_at) AS hour, sum(read) AS records, stream"
            f" FROM {log} WHERE committed_at > (SELECT max(committed_at) FROM {log})"
            " - INTERVAL 14 DAYS GROUP BY ALL ORDER BY hour",
            (
                Field("hour", "time", "Hour (UTC)"),
                Field("records", "number", "Records"),
                Field("stream", "text", "Stream"),
            ),
            "The 14 days before the last commit.",
        ),
        Widget(
            "quarantine_by_reason",
            "Refused records by error code",
            "bar",
            (_QUARANTINE,),
            f"SELECT error_code, sum(refused) AS refused FROM {_QUARANTINE}"
            " GROUP BY error_code ORDER BY refused DESC, error_code LIMIT 12",
            (Field("error_code", "text", "Error code"), Field("refused", "number", "Records")),
        ),
    )


def _tables(log: str) -> tuple[Widget, ...]:
    return (
        Widget(
            "streams",
            "Streams",
            "table",
            (log,),
            "SELECT stream, count(DISTINCT batch_id) AS batches, sum(read) AS records,"
            " sum(quarantined) AS quarantined, sum(late) AS late, sum(bytes) / 1e6 AS megabytes,"
            " percentile(seconds, 0.95) AS seconds_p95, max(last_event) AS last_event,"
            f" max(committed_at) AS committed_at FROM {log} GROUP BY stream ORDER BY stream",
            (
                Field("stream", "text", "Stream"),
                Field("batches", "number", "Batches"),
                Field("records", "number", "Records"),
                Field("quarantined", "number", "Quarantined"),
                Field("late", "number", "Late"),
                Field("megabytes", "number", "MB"),
                Field("seconds_p95", "number", "Seconds per batch (p95)"),
                Field("last_event", "time", "Latest event"),
                Field("committed_at", "time", "Last commit"),
            ),
        ),
        Widget(
            "quarantine_examples",
            "Refused records, with an example",
            "table",
            (_QUARANTINE,),
            f"SELECT source, error_code, refused, last_time, example FROM {_QUARANTINE}"
            " ORDER BY refused DESC, source, error_code LIMIT 20",
            (
                Field("source", "text", "Source"),
                Field("error_code", "text", "Error code"),
                Field("refused", "number", "Records"),
                Field("last_time", "time", "Latest"),
                Field("example", "text", "Message of one of the latest"),
            ),
        ),
    )


def _ages(file_log: str) -> tuple[Widget, ...]:
    return (
        Widget(
            "freshness",
            "Age of each table",
            "table",
            (_FRESHNESS,),
            "SELECT table_name, row_count, last_written_at, last_event_time, age_minutes"
            f" FROM {_FRESHNESS} ORDER BY table_name",
            (
                Field("table_name", "text", "Table"),
                Field("row_count", "number", "Rows"),
                Field("last_written_at", "time", "Last write"),
                Field("last_event_time", "time", "Latest event"),
                Field("age_minutes", "number", "Age in minutes"),
            ),
        ),
        Widget(
            "lake_files",
            "Files of the lake",
            "table",
            (file_log,),
            "SELECT source, status, count(*) AS files, max(modified_at) AS modified_at"
            f" FROM {file_log} GROUP BY source, status ORDER BY source, status",
            (
                Field("source", "text", "Source"),
                Field("status", "text", "Status"),
                Field("files", "number", "Files"),
                Field("modified_at", "time", "Newest file"),
            ),
        ),
    )
