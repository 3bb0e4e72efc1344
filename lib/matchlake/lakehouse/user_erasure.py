"""Composes the erasure of one user from conf, for the command line and the job alike."""

from typing import NamedTuple

from matchlake.config import JobConfig
from matchlake.errors import ConfigError
from matchlake.ingest.files.loader import lake_folder, lake_load
from matchlake.ingest.params import EraseParams
from matchlake.ingest.streams.audit import BatchLog
from matchlake.ingest.user_match import row_matches_exactly
from matchlake.io.delta import Lakehouse
from matchlake.lakehouse.erasure import COLUMNS, Erased, Erasure
from matchlake.lakehouse.table_registry import table_names
from matchlake.profiling.profile import COLUMN_PROFILES, DRIFT
from matchlake.schemas import USER_ID, quote_text

NOT_ERASED = (
    "Not erased: Kafka's topics, until their retention ends; files of the lake; runs and "
    "registered models, until the next training; files of failed writers, until maintain_tables "
    "removes them by age; column minima and maxima in the log of a table, until Delta cleans the "
    "log (delta.logRetentionDuration, 30 days)."
)
"""What an erasure leaves, as a sentence."""


class ErasureReport(NamedTuple):
    """What an erasure did; it does not name the user."""

    tables: list[Erased]
    files: list[str]
    """Files of the lake that hold the user: the next load of all files brings the rows back."""

    @property
    def is_complete(self) -> bool:
        """Whether no row of the user is left; a row is left if a job wrote it meanwhile."""
        return not any(table.left for table in self.tables)

    @property
    def remarks(self) -> list[str]:
        """What is still to do, and what was not erased, one sentence each."""
        tables = [
            f"{each.table}: old files still hold the user. maintain_tables can remove them when "
            f"they are {each.hours:g} hours old."
            for each in self.tables
            if each.hours
        ]
        files = (
            [f"Files that hold the user; loaded again, they restore it: {', '.join(self.files)}."]
            if self.files
            else []
        )
        return [*tables, *files, NOT_ERASED]


def erase_user(config: JobConfig, lakehouse: Lakehouse, params: EraseParams) -> ErasureReport:
    """Erases the user of `params` from all tables of conf and from their old files.

    Raises ConfigError without a user. No log line and no error names the user.
    """
    if not params.user_id:
        raise ConfigError("No user to erase: name one with --user-id, or as erase.user_id.")
    erasure = user_erasure(config, lakehouse, params.user_id, params.include_unparsed_matches)
    tables = erasure.run(table_names(lakehouse, config))
    return ErasureReport(tables, files_of_user(config, lakehouse, params.user_id))


def user_erasure(
    config: JobConfig,
    lakehouse: Lakehouse,
    user: str,
    include_unparsed_matches: bool = False,  # noqa: FBT001, FBT002 - a value of conf
) -> Erasure:
    """The erasure of one user from the tables that conf declares."""
    batch_logs = [
        BatchLog(name, stream, config.ingest.batch_log, lakehouse)
        for name, stream in config.streams.items()
    ]
    conditions = _conditions(config, user)
    return Erasure(user, batch_logs, conditions, lakehouse, include_unparsed_matches)


def files_of_user(config: JobConfig, lakehouse: Lakehouse, user: str) -> list[str]:
    """Files of the lake that hold the user, sorted; reads all files of sources with users."""
    sources = {n: s for n, s in config.lake.sources.items() if USER_ID in s.columns}
    folder = lake_folder(config.lake, config.lakehouse) if sources else ""
    files: set[str] = set()
    for name in sources:
        load = lake_load(name, config.lake, folder, config.checkpoints, lakehouse)
        files.update(load.files_with(USER_ID, user))
    return sorted(files)


def _conditions(config: JobConfig, user: str) -> dict[str, str]:
    """SQL of the user's rows in tables without a user column: quarantined rows, distributions."""
    text = quote_text(user)
    of_users = f"column_name IN ({', '.join(map(quote_text, COLUMNS))})"
    in_lists = " OR ".join(f"array_contains({c}_categories, {text})" for c in ("new", "gone"))
    rows = [
        f"source = {quote_text(name)}"
        f" AND {row_matches_exactly({USER_ID, source.columns[USER_ID].path or USER_ID}, user)}"
        for name, source in config.lake.sources.items()
        if USER_ID in source.columns
    ]
    refused = {config.lake.quarantine: " OR ".join(rows)} if rows else {}
    return {
        **refused,
        COLUMN_PROFILES.name: f"{of_users} AND category = {text}",
        DRIFT.name: f"{of_users} AND ({in_lists})",
    }
