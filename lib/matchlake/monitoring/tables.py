"""The table of model quality."""

from datetime import datetime

from matchlake.monitoring.judgement import Judgement
from matchlake.schemas import MODEL_VERSION, Column, TableSpec

MODEL_QUALITY = TableSpec(
    "gold.model_quality",
    "Drift and quality of each watched model, one row per run of monitor_models.",
    (
        Column("model", "STRING", "The model, as conf names it", nullable=False),
        MODEL_VERSION,
        Column("window_start", "TIMESTAMP", "Start of the window, UTC", nullable=False),
        Column("window_end", "TIMESTAMP", "End of the window, exclusive, UTC", nullable=False),
        Column("rows", "BIGINT", "Rows of the window that were judged", nullable=False),
        Column("labels", "BIGINT", "Judged rows whose label has arrived", nullable=False),
        Column("drift_p_value", "DOUBLE", "Probability of a drift at least this large by chance"),
        Column("most_changed", "STRING", "The feature with the largest drift"),
        Column("psi", "DOUBLE", "Its population stability index; 0: no change"),
        Column(
            "main_feature", "STRING", "The feature whose change moved the scores most; null: none"
        ),
        Column("metric", "STRING", "The metric that decides on the champion"),
        Column("before", "DOUBLE", "The metric on the test part of the training version"),
        Column("now", "DOUBLE", "The metric on the window; null: too few labels"),
        Column("quality_p_value", "DOUBLE", "Share of resamples in which the metric is not worse"),
        Column("alarms", "ARRAY<STRING>", "drift, quality, both or none", nullable=False),
        Column("note", "STRING", "The findings in words", nullable=False),
    ),
    keys=("model", "window_end"),
    user_columns=(),
    written_by="monitor_models",
)


def quality_row(
    name: str, version: str, window: tuple[datetime, datetime], found: Judgement
) -> tuple[object, ...]:
    """Returns the row of a judgement."""
    drift, quality = found.drift, found.quality
    largest = drift.features[0] if drift is not None and drift.features else None
    return (
        *(name, version, *window, found.rows, found.labels),
        None if drift is None else drift.p_value,
        None if largest is None else largest.feature,
        None if largest is None else largest.psi,
        found.main_feature,
        *(
            (None, None, None, None)
            if quality is None
            else (quality.metric, quality.before, quality.now, quality.p_value)
        ),
        list(found.alarms),
        found.note,
    )
