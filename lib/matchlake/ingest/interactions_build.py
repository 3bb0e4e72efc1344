"""Builds `silver.interactions` again whenever one of its silver tables has changed."""

import logging
from functools import partial

from pyspark.errors import PySparkException
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from matchlake.errors import ConfigError
from matchlake.ingest.interactions import InteractionsSpec, is_rated
from matchlake.ingest.silver_builds import Builds, source_state
from matchlake.io.delta import Lakehouse
from matchlake.schemas import EVENT_TIME, INTERACTIONS

_log = logging.getLogger(__name__)

_ARITHMETIC = ("DIVIDE_BY_ZERO", "ARITHMETIC_OVERFLOW", "CAST_INVALID_INPUT", "CAST_OVERFLOW")


def build_interactions(spec: InteractionsSpec, lakehouse: Lakehouse) -> int | None:
    """Replaces `silver.interactions` from its silver tables; None if they have not changed.

    The table is replaced as a whole, in one commit: a rebuilt range or an erased user can remove
    events of a pair, which a merge by key would keep. If another run has built the table from the
    same or newer versions of its sources, nothing is replaced. Returns the number of rows.

    Raises ConfigError for an expression of conf that fails for a row.
    """
    if not lakehouse.exists(INTERACTIONS.name):
        lakehouse.create(INTERACTIONS)
    builds = Builds(INTERACTIONS.name, lakehouse)
    names = {name: source.silver.silver.table for name, source in spec.sources.items()}

    def build(rebuild: bool) -> int | None:  # noqa: FBT001 - the argument of `until_taken`
        before = builds.last()
        states = {name: source_state(lakehouse, table) for name, table in names.items()}
        now = {"sources": states, "columns": spec.params.model_dump(mode="json")}
        if before.state == now and not rebuild:
            return None
        tables = {
            name: lakehouse.read(table, states[name]["version"]) for name, table in names.items()
        }
        events = spec.events(tables)
        rows = _checked(spec, events)
        builds.commit(before, now, partial(lakehouse.replace, rows, INTERACTIONS))
        return lakehouse.read(INTERACTIONS.name).count()

    return builds.until_taken(build)


def _checked(spec: InteractionsSpec, events: DataFrame) -> DataFrame:
    """The rows of the table. Logs the number of events without a rating, by one Spark job."""
    if not spec.needs_check:
        return spec.rows(events)
    newest, unrated = F.max(EVENT_TIME), F.count_if(~is_rated())
    try:
        row = events.agg(unrated.alias("unrated"), newest.alias("newest")).collect()[0]
    except PySparkException as error:
        failed = next((text for text in _ARITHMETIC if text in str(error)), None)
        if failed is None:
            raise
        listed = "; ".join(f"{name}: {each.params.rating}" for name, each in spec.sources.items())
        raise ConfigError(
            f"A rating of silver.interactions.sources fails with {failed} for a row ({listed}). "
            "Write try_divide(a, b) instead of a / b, or try_cast(a AS double)."
        ) from None
    if row.unrated:
        _log.warning("%d event(s) without a finite rating are left out", row.unrated)
    return spec.rows(events, row.newest)
