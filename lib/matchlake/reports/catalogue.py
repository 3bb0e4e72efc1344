"""The reports by name."""

from matchlake.errors import ConfigError
from matchlake.reports.feature_drift import FEATURE_DRIFT
from matchlake.reports.ingestion import ingestion_health
from matchlake.reports.models import MODELS
from matchlake.reports.recommendations import RECOMMENDATION_QUALITY
from matchlake.reports.spec import ReportSpec
from matchlake.reports.user_page import USER_PAGE


def reports(batch_log: str, file_log: str) -> dict[str, ReportSpec]:
    """Every report; conf names the two log tables, `ingest.batch_log` and `lake.file_log`."""
    specs = (
        ingestion_health(batch_log, file_log),
        RECOMMENDATION_QUALITY,
        MODELS,
        FEATURE_DRIFT,
        USER_PAGE,
    )
    return {spec.name: spec for spec in specs}


def report_named(name: str, known: dict[str, ReportSpec]) -> ReportSpec:
    """The report `name`; raises ConfigError for an unknown one."""
    if name not in known:
        raise ConfigError(f"No report {name!r}. Reports: {', '.join(known)}, or all of them: all.")
    return known[name]
