"""The report on drift: which columns changed between two profiles of a table."""

from matchlake.profiling.profile import COLUMN_PROFILES, DRIFT
from matchlake.reports.spec import Field, ReportSpec, Widget

_DRIFT, _PROFILES = DRIFT.name, COLUMN_PROFILES.name
_QUALITY = "gold.model_quality"
_COMPARED = "Run profile_tables again after a table has changed: it compares the two versions."


def _newest(table: str) -> str:
    """The rows of the newest profiled version of each table, as a subquery."""
    return (
        f"(SELECT r.* FROM {table} r JOIN (SELECT table_name, max(version) AS version"
        f" FROM {table} GROUP BY table_name) USING (table_name, version))"
    )


_LATEST = _newest(_DRIFT)

FEATURE_DRIFT = ReportSpec(
    "drift",
    "Feature drift",
    "Which columns of the profiled tables changed their distribution since the previous profile.",
    (
        Widget(
            "columns",
            "Columns profiled",
            "counter",
            (_PROFILES,),
            f"SELECT count(DISTINCT table_name, column_name) AS columns FROM {_PROFILES}",
            (Field("columns", "number", "Columns"),),
        ),
        Widget(
            "compared",
            "Columns compared",
            "counter",
            (_DRIFT,),
            f"SELECT count(*) AS columns FROM {_LATEST}",
            (Field("columns", "number", "Columns"),),
            "Columns with a profile of an earlier version of their table.",
            _COMPARED,
        ),
        Widget(
            "largest_psi",
            "Largest PSI",
            "counter",
            (_DRIFT,),
            f"SELECT max(psi) AS psi FROM {_LATEST}",
            (Field("psi", "number", "PSI"),),
            "Population stability index; 0 is no change.",
            _COMPARED,
        ),
        Widget(
            "psi_by_column",
            "Columns that changed most",
            "bar",
            (_DRIFT,),
            f"SELECT concat(table_name, '.', column_name) AS column, psi FROM {_LATEST}"
            " ORDER BY psi DESC, 1 LIMIT 12",
            (Field("column", "text", "Column"), Field("psi", "number", "PSI")),
            filled_by=_COMPARED,
        ),
        Widget(
            "missing",
            "Missing values",
            "bar",
            (_PROFILES,),
            "SELECT concat(table_name, '.', column_name) AS column,"
            " sum(CASE WHEN kind IN ('null', 'not_finite') THEN fraction ELSE 0D END) AS fraction"
            f" FROM {_newest(_PROFILES)} GROUP BY table_name, column_name"
            " ORDER BY fraction DESC, 1 LIMIT 12",
            (Field("column", "text", "Column"), Field("fraction", "percent", "Missing")),
        ),
        Widget(
            "details",
            "Drift by column",
            "table",
            (_DRIFT,),
            "SELECT table_name, column_name, before_version, version, psi, ks,"
            " null_fraction_before, null_fraction_after,"
            " array_join(slice(coalesce(new_categories, array()), 1, 5), ', ') AS new_categories,"
            " array_join(slice(coalesce(gone_categories, array()), 1, 5), ', ') AS gone_categories"
            f" FROM {_LATEST} ORDER BY psi DESC, table_name, column_name LIMIT 40",
            (
                Field("table_name", "text", "Table"),
                Field("column_name", "text", "Column"),
                Field("before_version", "number", "From version"),
                Field("version", "number", "To version"),
                Field("psi", "number", "PSI"),
                Field("ks", "number", "KS"),
                Field("null_fraction_before", "percent", "Null before"),
                Field("null_fraction_after", "percent", "Null after"),
                Field("new_categories", "text", "New categories"),
                Field("gone_categories", "text", "Gone categories"),
            ),
            filled_by=_COMPARED,
        ),
        Widget(
            "model_quality",
            "Models on their latest windows",
            "table",
            (_QUALITY,),
            "SELECT model, window_end, array_join(alarms, ', ') AS alarms, main_feature, metric,"
            f" before, now, note FROM {_QUALITY} ORDER BY window_end DESC, model LIMIT 20",
            (
                Field("model", "text", "Model"),
                Field("window_end", "time", "Until"),
                Field("alarms", "text", "Alarms"),
                Field("main_feature", "text", "Moved the scores"),
                Field("metric", "text", "Metric"),
                Field("before", "number", "On the test part"),
                Field("now", "number", "Now"),
                Field("note", "text", "Findings"),
            ),
            filled_by="monitor_models writes it, for the models that conf watches.",
        ),
    ),
)
