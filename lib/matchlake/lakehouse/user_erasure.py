"""Composes the erasure of one user from conf, for the command line and the job alike."""

import secrets
from contextlib import suppress
from datetime import UTC, datetime
from typing import NamedTuple

from matchlake.config import JobConfig
from matchlake.errors import ConfigError, SecretMissingError
from matchlake.ingest.files.loader import lake_folder, lake_load
from matchlake.ingest.params import EraseParams
from matchlake.ingest.streams.audit import BatchLog
from matchlake.io.delta import Lakehouse
from matchlake.io.erased_users import ERASED_USERS, Salt
from matchlake.io.fit_checkpoints import FIT_JOBS, remove_checkpoints
from matchlake.io.mlflow_tracking import ModelVersion, Tracker
from matchlake.io.secrets import EnvironmentSecrets, FileSecrets, Secret, SecretRef, secrets_file
from matchlake.lakehouse.erasure import USER_COLUMNS, Erased, Erasure
from matchlake.lakehouse.table_registry import declared_tables, table_names
from matchlake.model_store.known_users import versions_with
from matchlake.profiling.profile import COLUMN_PROFILES, DRIFT
from matchlake.schemas import quote_text

NOT_ERASED = (
    "Not erased: Kafka's topics, until their retention ends; files of the lake; runs of MLflow and "
    "files of deleted model versions, until `mlflow gc`; files of failed writers, until "
    "maintain_tables removes them by age; column minima and maxima in the log of a table, until "
    "Delta cleans the log (delta.logRetentionDuration, 30 days)."
)
"""What an erasure leaves, as a sentence."""


class ErasureReport(NamedTuple):
    """What an erasure did; it does not name the user."""

    tables: list[Erased]
    files: list[str]
    """Files of the lake that hold the user; a load of them leaves the user's valid rows out."""
    versions: list[ModelVersion]
    """Registered model versions that hold the user, and were not deleted."""
    deleted_versions: list[ModelVersion]
    """Model versions that held the user, and were deleted."""

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
            [
                (
                    f"Files that hold the user: {', '.join(self.files)}. Loaded again, they give "
                    "no row of the user, but quarantined rows that hold the id."
                )
            ]
            if self.files
            else []
        )
        return [*tables, *files, *self._of_versions(), NOT_ERASED]

    def _of_versions(self) -> list[str]:
        found = []
        if self.deleted_versions:
            found = [f"Deleted model versions that held the user: {_named(self.deleted_versions)}."]
        if self.versions:
            found.append(
                f"Model versions that hold the user: {_named(self.versions)}. Tables do not get "
                "the user's rows from them, but an endpoint that serves one answers for the user. "
                "Train a new champion, then run `matchlake erase-user` again with --include "
                "model-versions."
            )
        return found


def erase_user(
    config: JobConfig, lakehouse: Lakehouse, tracker: Tracker, params: EraseParams
) -> ErasureReport:
    """Erases the user of `params` from all tables of conf and from their old files.

    The hash of the id is stored first, so that no job writes the user again. Raises ConfigError
    without a user or without a salt. No log line and no error names the user.
    """
    if not params.user_id:
        raise ConfigError("No user to erase: name one with --user-id, or as erase.user_id.")
    remember_user(lakehouse, salt_of(config, lakehouse), params.user_id)
    erasure = user_erasure(config, lakehouse, params.user_id, params.include_unparsed_matches)
    tables = erasure.run(table_names(lakehouse, config))
    _remove_staged(config, lakehouse)
    versions = versions_with(tracker, params.user_id)
    deleted = [each for each in versions if params.delete_model_versions and not each.aliases]
    for version in deleted:
        tracker.delete(version)
    files = files_of_user(config, lakehouse, params.user_id)
    return ErasureReport(tables, files, [v for v in versions if v not in deleted], deleted)


def salt_of(config: JobConfig, lakehouse: Lakehouse) -> Salt:
    """The salt of the hashes; the first erasure on a local machine makes a random one.

    Raises ConfigError if conf names no salt, and SecretError if no store gives it.
    """
    if lakehouse.salt is None or config.erase.salt is None:
        raise ConfigError(
            "No erase.salt in conf: set it to a secret, {scope: ..., key: ...}, with a long random "
            "value that never changes. Jobs recognise erased users by hashes with this salt."
        )
    is_local = lakehouse.folder and "file" in config.secrets.stores
    if is_local and not lakehouse.exists(ERASED_USERS.name):
        _make_salt(config.erase.salt, FileSecrets(secrets_file(config.secrets, config.lakehouse)))
    return lakehouse.salt()


def _make_salt(ref: SecretRef, file: FileSecrets) -> None:
    """Puts a random salt into the file, unless the file or the environment has one."""
    for store in (EnvironmentSecrets(), file):
        with suppress(SecretMissingError):
            store.get(ref)
            return
    file.put(ref, Secret(secrets.token_hex(32)))


def remember_user(lakehouse: Lakehouse, salt: Salt, user: str) -> None:
    """Stores the hash of the user, unless it is there."""
    lakehouse.erased_users()  # raises if the salt has changed
    row = (salt.hash(user), salt.id, datetime.now(UTC))
    rows = lakehouse.frame([row], ERASED_USERS)
    keep = "WHEN MATCHED AND false THEN UPDATE SET salt_id = s.salt_id"
    lakehouse.merge(rows, ERASED_USERS, keep, retry_on_conflict=True)


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
    declared = {name: spec.user_columns for name, spec in declared_tables(config).items()}
    sources = {name: each for name, each in config.lake.sources.items() if each.persons}
    return Erasure(
        user,
        batch_logs,
        lakehouse,
        user_columns=declared,
        conditions=_conditions({c for columns in declared.values() for c in columns}),
        quarantine=config.lake.quarantine,
        sources=sources,
        include_unparsed_matches=include_unparsed_matches,
    )


def files_of_user(config: JobConfig, lakehouse: Lakehouse, user: str) -> list[str]:
    """Files of the lake that hold the user, sorted; reads all files of sources with users."""
    sources = {name: each for name, each in config.lake.sources.items() if each.persons}
    folder = lake_folder(config.lake, config.lakehouse) if sources else ""
    files: set[str] = set()
    for name, source in sources.items():
        load = lake_load(name, config.lake, folder, config.checkpoints, lakehouse)
        for column in source.persons:
            files.update(load.files_with(column, user))
    return sorted(files)


def _conditions(user_columns: set[str]) -> dict[str, str]:
    """SQL of the user's rows in tables of distributions, which have no user column."""
    names = sorted({*user_columns, *USER_COLUMNS})
    of_users = f"t.column_name IN ({', '.join(map(quote_text, names))})"
    in_lists = " OR ".join(f"array_contains(t.{c}_categories, u.id)" for c in ("new", "gone"))
    return {
        COLUMN_PROFILES.name: f"{of_users} AND t.category = u.id",
        DRIFT.name: f"{of_users} AND ({in_lists})",
    }


def _remove_staged(config: JobConfig, lakehouse: Lakehouse) -> None:
    """Removes what interrupted trainings and loads left: parts of interactions, parsed rows."""
    for job in FIT_JOBS:
        remove_checkpoints(f"{config.checkpoints}/{job}")
    folder = lake_folder(config.lake, config.lakehouse) if config.lake.sources else ""
    for name in config.lake.sources:
        lake_load(name, config.lake, folder, config.checkpoints, lakehouse).rows.forget()


def _named(versions: list[ModelVersion]) -> str:
    return ", ".join(
        f"{each.name} {each.version}" + "".join(f" ({alias})" for alias in each.aliases)
        for each in versions
    )
