"""The report on models: which version serves, since when, and why."""

from matchlake.reports.spec import Field, ReportSpec, Widget
from matchlake.training.history import MODEL_HISTORY

_TABLE = MODEL_HISTORY.name
_DONE = f"FROM {_TABLE} WHERE state = 'done'"

MODELS = ReportSpec(
    "models",
    "Model history",
    "Which version of each model serves, and every change of its aliases.",
    (
        Widget(
            "models",
            "Models",
            "counter",
            (_TABLE,),
            f"SELECT count(DISTINCT model) AS models {_DONE}",
            (Field("models", "number", "Models"),),
        ),
        Widget(
            "promotions",
            "New champions in 30 days",
            "counter",
            (_TABLE,),
            f"SELECT count(*) AS changes {_DONE} AND alias = 'champion'"
            " AND started_at >= current_timestamp() - INTERVAL 30 DAYS",
            (Field("changes", "number", "Changes"),),
        ),
        Widget(
            "failed",
            "Changes that did not complete",
            "counter",
            (_TABLE,),
            f"SELECT count_if(state != 'done') AS changes FROM {_TABLE}",
            (Field("changes", "number", "Changes"),),
        ),
        Widget(
            "champions",
            "Champions",
            "table",
            (_TABLE,),
            "SELECT model, max_by(version, number) AS version, max(started_at) AS since,"
            f" max_by(reason, number) AS reason {_DONE} AND alias = 'champion'"
            " GROUP BY model ORDER BY model",
            (
                Field("model", "text", "Model"),
                Field("version", "text", "Version"),
                Field("since", "time", "Since"),
                Field("reason", "text", "Reason"),
            ),
        ),
        Widget(
            "changes_by_action",
            "Changes by action",
            "bar",
            (_TABLE,),
            "SELECT concat(alias, ', ', action) AS action, count(*) AS changes"
            f" FROM {_TABLE} GROUP BY alias, action ORDER BY changes DESC, 1",
            (Field("action", "text", "Alias and action"), Field("changes", "number", "Changes")),
        ),
        Widget(
            "changes_by_day",
            "Changes by day",
            "line",
            (_TABLE,),
            "SELECT date_trunc('DAY', started_at) AS day, count(*) AS changes, model"
            f" FROM {_TABLE} GROUP BY ALL ORDER BY day",
            (
                Field("day", "time", "Day (UTC)"),
                Field("changes", "number", "Changes"),
                Field("model", "text", "Model"),
            ),
        ),
        Widget(
            "changes",
            "The latest changes",
            "table",
            (_TABLE,),
            "SELECT started_at, model, alias, coalesce(version_before, 'none') AS before,"
            f" coalesce(version, 'none') AS after, action, state, reason FROM {_TABLE}"
            " ORDER BY started_at DESC, model LIMIT 25",
            (
                Field("started_at", "time", "Begun"),
                Field("model", "text", "Model"),
                Field("alias", "text", "Alias"),
                Field("before", "text", "From version"),
                Field("after", "text", "To version"),
                Field("action", "text", "Action"),
                Field("state", "text", "State"),
                Field("reason", "text", "Reason"),
            ),
        ),
    ),
)
