"""Composes the erasure of one user from conf, for the command line and the job alike."""

import json
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
from matchlake.io.erased_users import ERASED_USERS
from matchlake.io.fit_checkpoints import FIT_JOBS, remove_checkpoints
from matchlake.io.mlflow_tracking import Tracker
from matchlake.io.model_versions import ModelVersion
from matchlake.io.salt import Salt
from matchlake.io.secrets import EnvironmentSecrets, FileSecrets, Secret, SecretRef, secrets_file
from matchlake.lakehouse.erasure import USER_COLUMNS, Erased, Erasure
from matchlake.lakehouse.online_erasure import OnlinePlace, erase_online
from matchlake.lakehouse.table_registry import declared_tables, table_names
from matchlake.lakehouse.user_search import Place, UserSearch
from matchlake.lakehouse.user_versions import versions_with_user
from matchlake.profiling.profile import COLUMN_PROFILES, DRIFT
from matchlake.schemas import quote_text

NOT_SEARCHED = (
    "Not erased and not searched: Kafka's topics, until their retention ends, or, for those of "
    "serve-stream, until it reads erase.hash_file; logs of clusters; exports of "
    "models, for which `matchlake serve` answers erased users as unknown ones; copies outside the "
    "lakehouse, such as copied Arrow files."
)
"""The places that an erasure neither changes nor searches, as a sentence."""
STILL_FOUND = (
    "The user is still found. See the places above. If a job was writing a table, run the command "
    "again."
)
"""The error of an erasure if the user is still found after it."""


HOLDS_ERASED_USER = "holds_erased_user"
"""Tag of model versions that were fitted before an erasure and hold the erased user."""


class ErasureReport(NamedTuple):
    """What an erasure did; it does not name the user."""

    tables: list[Erased]
    places: list[Place]
    """Places that still hold the user, found by a search after the erasure."""
    unsearched: list[str]
    """Sentences about what the search could not read."""
    deleted_versions: list[ModelVersion]
    """Model versions that held the user, and were deleted."""
    online_rows: int = 0
    """Rows erased from the online store."""
    online_missed: tuple[OnlinePlace, ...] = ()
    """Tables of the online store from which the user could not be erased."""

    @property
    def is_complete(self) -> bool:
        """Whether the user is only left in places that Delta cleans by age."""
        is_left = any(table.left for table in self.tables) or bool(self.online_missed)
        return not is_left and all(place.is_removed_by_age for place in self.places)

    @property
    def versions(self) -> list[str]:
        """The addresses of model versions that hold the user."""
        return [place.name for place in self.places if place.kind == "model version"]

    @property
    def remarks(self) -> list[str]:
        """What is still to do, and what was not erased, one sentence each."""
        tables = [
            f"{each.table}: old files still hold the user. maintain_tables can remove them when "
            f"they are {each.hours:g} hours old."
            for each in self.tables
            if each.hours
        ]
        return [*tables, *self._online(), *self._of_versions(), *self.unsearched, NOT_SEARCHED]

    def _online(self) -> list[str]:
        missed = [
            f"Online store, {each.name}: the user was not erased ({each.reason}) Run the command "
            "again."
            for each in self.online_missed
        ]
        if self.online_rows:
            return [f"Online store: {self.online_rows} row(s) erased.", *missed]
        return missed

    def _of_versions(self) -> list[str]:
        found = []
        if self.deleted_versions:
            found = [f"Deleted model versions that held the user: {_named(self.deleted_versions)}."]
        if self.versions:
            found.append(
                f"Model versions that hold the user: {', '.join(self.versions)}. Tables do not get "
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
    write_hashes(config, lakehouse)
    erasure = user_erasure(config, lakehouse, params.user_id, params.include_unparsed_matches)
    tables = erasure.run(table_names(lakehouse, config))
    _remove_staged(config, lakehouse)
    # Runs after the tables: an earlier run of publish_online still holds the lock of its table.
    online_rows, missed = erase_online(config, params.user_id)
    versions = versions_with_user(config, tracker, params.user_id)
    deleted = _delete_versions(tracker, versions) if params.delete_model_versions else []
    left = [version for version in versions if version not in deleted]
    for version in left:
        tracker.tag(version, HOLDS_ERASED_USER, "true")
    places, unsearched = UserSearch(params.user_id, config, lakehouse, tracker).run(left)
    return ErasureReport(tables, places, unsearched, deleted, online_rows, tuple(missed))


def _delete_versions(tracker: Tracker, versions: list[ModelVersion]) -> list[ModelVersion]:
    """Deletes the versions without an alias. Returns them."""
    deleted = [version for version in versions if not version.aliases]
    for version in deleted:
        tracker.delete(version)
    return deleted


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
    lakehouse.erased_users()  # raises ConfigError if the salt has changed
    row = (salt.hash(user), salt.id, datetime.now(UTC))
    rows = lakehouse.frame([row], ERASED_USERS)
    keep = "WHEN MATCHED AND false THEN UPDATE SET salt_id = s.salt_id"
    lakehouse.merge(rows, ERASED_USERS, keep, retry_on_conflict=True)


def write_hashes(config: JobConfig, lakehouse: Lakehouse) -> None:
    """Writes the hashes of all erased users for processes without Spark. Two Spark jobs.

    It reads them again afterwards, because another erasure may have written its user meanwhile.
    """
    path, written = config.hash_file, frozenset[str]()
    if path is None:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    while (erased := lakehouse.erased_users()) and erased.hashes != written:
        content = {"salt_id": erased.salt.id, "hashes": sorted(erased.hashes)}
        partial.write_text(json.dumps(content), encoding="utf-8")
        partial.replace(path)
        written = erased.hashes


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
