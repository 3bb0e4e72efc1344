"""Searches for a user in every place that could hold the id. It changes nothing."""

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property, reduce
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote

from py4j.protocol import Py4JError
from pyspark.errors import PySparkException

from matchlake.config import JobConfig
from matchlake.errors import MatchlakeError
from matchlake.ingest.files.loader import lake_folder, lake_load
from matchlake.io.delta import Lakehouse
from matchlake.io.mlflow_tracking import Tracker
from matchlake.io.model_versions import ModelVersion
from matchlake.io.secrets.masking import written_forms
from matchlake.lakehouse.erasure import USER_COLUMNS
from matchlake.lakehouse.file_search import SHORTEST, FilesFound, IdSearch, search_files
from matchlake.lakehouse.online_erasure import find_online
from matchlake.lakehouse.table_registry import declared_tables, table_names
from matchlake.lakehouse.table_search import rows_with_user
from matchlake.lakehouse.user_versions import held_out_remarks, user_columns, versions_with_user
from matchlake.lakehouse.views import fixed_views
from matchlake.schemas import quote_identifier


class Place(NamedTuple):
    """A place that holds the user."""

    kind: str
    """table, old file, table log, lake file, checkpoint, feature file, model version, MLflow,
    online store."""
    name: str
    """A table with its column, a path, or the address of a model version."""
    rows: int | None
    """Rows with the user; None for files."""
    remedy: str
    """How to remove the user from this place; ERASE, if the command does it."""

    @property
    def is_removed_by_age(self) -> bool:
        """Whether only Delta's cleanup by age removes the user from this place."""
        return self.kind == TABLE_LOG


ERASE = "matchlake erase-user"
TABLE_LOG = "table log"
_REMEDIES = {
    "old file": "maintain_tables removes it by age",
    TABLE_LOG: "Delta cleans the log by age (delta.logRetentionDuration, 30 days by default)",
    "checkpoint": "removed by the next erasure, or by maintain_tables by age",
    "feature file": "build_features writes it again",
    "MLflow": "delete the run or the version, then `mlflow gc`",
    "model version": "train a new champion, then erase-user --include model-versions",
}
_IN_SOURCE = "rewrite the file; a load leaves the user's rows out"
_IN_NO_SOURCE = "rewrite the file; no source of conf covers it"
_IN_TEXT = "not a user column: declare it in user_columns, or change the rows"
_OTHER_TABLE = "conf does not declare this table: delete the rows"


@dataclass(frozen=True)
class UserSearch:
    """The search for one user; `user` is the id as text."""

    user: str = field(repr=False)
    config: JobConfig = field(repr=False)
    lakehouse: Lakehouse = field(repr=False)
    tracker: Tracker = field(repr=False)

    def run(self, versions: list[ModelVersion] | None = None) -> tuple[list[Place], list[str]]:
        """The places that hold the user, and sentences about what could not be searched.

        `versions` are the model versions that hold the user, if they are known. A path that has
        the id in its name is given with `[user]` instead.

        Searches all tables of the schemas of conf, old files and logs of local tables, and the
        online store. Searches also all files of the lake folder, of checkpoints, of features, and
        of MLflow. An id with fewer than
        SHORTEST characters is searched only in columns and fields that hold ids of users.
        """
        unsearched: list[str] = []
        if len(self.user) < SHORTEST:
            unsearched.append(
                f"The id has fewer than {SHORTEST} characters, so texts were not searched for it: "
                "only columns and fields that hold ids of users."
            )
        places = [
            *self._in_tables(unsearched),
            *self._in_files(unsearched),
            *self._in_versions(versions, unsearched),
            *self._in_online_store(unsearched),
        ]
        masked = [place._replace(name=self._masked(place.name)) for place in places]
        return masked, list(map(self._masked, unsearched))

    def _masked(self, text: str) -> str:
        """The text without the id: logs have these texts. A short id is part of many names."""
        if len(self.user) < SHORTEST:
            return text
        forms = sorted(written_forms(self.user), key=len, reverse=True)
        return reduce(lambda masked, form: masked.replace(form, "[user]"), forms, text)

    def _in_tables(self, unsearched: list[str]) -> Iterator[Place]:
        declared = declared_tables(self.config)
        erased = set(table_names(self.lakehouse, self.config))
        streams = {stream.table for stream in self.config.streams.values()}
        for table in self._tables(declared):
            try:
                counts = rows_with_user(self.lakehouse.read(table), self.user, self._user_columns)
            except (PySparkException, Py4JError, MatchlakeError) as error:
                unsearched.append(f"Table {table} was not searched: {str(error).splitlines()[0]}")
                continue
            spec = declared.get(table)
            own = spec.user_columns if spec else USER_COLUMNS if table in erased else ()
            whole = table in streams or table == self.config.lake.quarantine
            other = _IN_TEXT if spec else _OTHER_TABLE
            for column, rows in counts.items():
                remedy = ERASE if table in erased and (whole or column in own) else other
                yield Place("table", f"{table}.{column}", rows, remedy)

    def _tables(self, declared: Collection[str]) -> list[str]:
        """All tables of a local folder; in a catalog, all tables and views of declared schemas.

        Views of matchlake are left out: they show only rows of these tables.
        """
        if self.lakehouse.folder:
            return self.lakehouse.register_tables()
        own = {view.name for view in fixed_views(self.config)}
        found = []
        for schema in sorted({table.partition(".")[0] for table in declared}):
            within = f"{quote_identifier(self.lakehouse.catalog or '')}.{quote_identifier(schema)}"
            for row in self.lakehouse.spark.sql(f"SHOW TABLES IN {within}").collect():
                if not row["isTemporary"]:
                    found.append(f"{schema}.{row['tableName']}")
        return [name for name in found if name not in own]

    @cached_property
    def _user_columns(self) -> set[str]:
        """The names of all columns that conf declares to hold ids of users."""
        return user_columns(self.config)

    def _in_files(self, unsearched: list[str]) -> Iterator[Place]:
        yield from self._in_lake_files(unsearched)
        store = self.tracker.store
        folders = {
            "checkpoint": [self.config.checkpoints],
            "feature file": filter(None, [self.config.features.folder]),
            "MLflow": [str(store), str(store.with_name("mlartifacts"))] if store else [],
        }
        for kind, each in folders.items():
            for folder in each:
                yield from self._places(kind, self._search(folder), unsearched)
        for table in self.lakehouse.register_tables() if self.lakehouse.folder else ():
            yield from self._in_folder(table, unsearched)

    def _in_folder(self, table: str, unsearched: list[str]) -> Iterator[Place]:
        """The log of a local table, and files that its newest version does not have."""
        path = self.lakehouse.path(table) or ""
        current = list(map(_plain, self.lakehouse.read(table).inputFiles()))
        for place in self._places("old file", self._search(path, current), unsearched):
            in_log = place.name.startswith(f"{path}/_delta_log/")
            kind = TABLE_LOG if in_log else place.kind
            yield place._replace(kind=kind, remedy=_REMEDIES[kind])

    def _in_lake_files(self, unsearched: list[str]) -> Iterator[Place]:
        if not (self.config.lake.folder or self.config.lakehouse):
            return
        folder = lake_folder(self.config.lake, self.config.lakehouse)
        in_sources = set()
        for name in self.config.lake.sources:
            load = lake_load(
                name, self.config.lake, folder, self.config.checkpoints, self.lakehouse
            )
            in_sources |= {_plain(file.file) for file in load.files.listed()}
        for place in self._places("lake file", self._search(folder), unsearched):
            remedy = _IN_SOURCE if _plain(place.name) in in_sources else _IN_NO_SOURCE
            yield place._replace(remedy=remedy)

    def _search(self, folder: str, skip: Sequence[str] = ()) -> FilesFound:
        search = IdSearch(self.user, tuple(sorted(self._user_columns)))
        return search_files(self.lakehouse.spark, folder, search, skip)

    def _places(self, kind: str, found: FilesFound, unsearched: list[str]) -> Iterator[Place]:
        unsearched += [f"{path} was not searched to its end." for path in found.unread]
        for path in found.found:
            yield Place(kind, path, None, _REMEDIES.get(kind, ""))

    def _in_online_store(self, unsearched: list[str]) -> Iterator[Place]:
        for each in find_online(self.config, self.user):
            if each.rows is None:
                unsearched.append(f"Online store, {each.name}: not searched: {each.reason}")
            else:
                yield Place("online store", each.name, each.rows, ERASE)
        if "lakebase" in self.config.online.stores:
            unsearched.append(
                "Synced tables of Lakebase were not searched: the user leaves them when Databricks "
                "synchronizes them with their gold tables."
            )

    def _in_versions(
        self, versions: list[ModelVersion] | None, unsearched: list[str]
    ) -> Iterator[Place]:
        try:
            found = versions
            if found is None:
                found = versions_with_user(self.config, self.tracker, self.user)
            unsearched += held_out_remarks(self.config, self.tracker)
        except MatchlakeError as error:
            unsearched.append(f"Model versions were not searched: {error}")
            return
        for version in found:
            yield Place("model version", version.uri, None, _REMEDIES["model version"])
        if not self.tracker.store:
            unsearched.append(
                "Artifacts of MLflow runs were not searched: only the files of registered versions."
            )


def _plain(path: str) -> str:
    """The absolute path of a file URL, or of a path as Python lists it."""
    return str(Path(re.sub("^/+", "/", unquote(path).removeprefix("file:"))).absolute())
