"""The builds of a silver table: the metadata of each commit names what it was built from.

Rows and metadata are in one commit, so they always agree. Each build has a number: 1 plus the
number of the build that its run has read. Delta takes one build per number. If two runs begin at
the same build, Delta takes the first commit, and the other one changes nothing. So an older build
never replaces a newer one.
"""

import json
import logging
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

from py4j.protocol import Py4JError
from pyspark.errors import PySparkException

from matchlake.errors import TableError
from matchlake.ingest.streams.commits import Commit, commits, table_id
from matchlake.io.commit_metadata import append_metadata, commit_settings
from matchlake.io.delta import Lakehouse
from matchlake.io.session_settings import temporary_settings

_log = logging.getLogger(__name__)

T = TypeVar("T")

BUILD = "matchlake_build"
"""The key of a build in the user metadata of its commit, and the id of its transaction."""
_TRIES = 4
_CONFLICTS = ("DELTA_CONCURRENT_", "DELTA_METADATA_CHANGED", "DELTA_PROTOCOL_CHANGED")

State = dict[str, Any]
"""The source table of a build, its version, and the declaration."""


class Build(NamedTuple):
    """The last build of a table."""

    number: int
    state: State
    """Empty if the table has no build, or if other rows have replaced those of the build."""


class OvertakenError(TableError):
    """Another run has built the table since this one read its last build."""

    rows_written: bool
    """Whether this run has written its rows, but not the metadata."""

    def __init__(self, table: str, *, rows_written: bool) -> None:
        super().__init__(
            f"Another run builds {table} at the same time. Run the job again after it has ended."
        )
        self.rows_written = rows_written


@dataclass(frozen=True)
class Builds:
    """The builds of one table."""

    table: str
    lakehouse: Lakehouse

    def last(self) -> Build:
        """The last build in the history of the table.

        Call it before the version of the source is read. Otherwise that version may be older than
        the one of the build.
        """
        replaced = False
        for commit in self._commits():
            if commit.metadata:
                state = {} if replaced else dict(commit.metadata["built_from"])
                return Build(int(commit.metadata["number"]), state)
            replaced = replaced or commit.replaces
        # There is no build, or the history no longer has it. The number of a build is a time in
        # milliseconds, plus one for each later build: this one is greater than all before it.
        return Build(int(time.time() * 1000), {})

    def commit(self, before: Build, state: State, write: Callable[[], T]) -> T:
        """Calls `write`, which makes one commit, and marks it as a build from `state`.

        Raises OvertakenError if another run has built the table after `before`.
        """
        number = before.number + 1
        build = {"number": number, "built_from": state, "run": uuid.uuid4().hex}
        settings = commit_settings(json.dumps({BUILD: build}), (BUILD, number))
        with temporary_settings(self.lakehouse.spark, settings) as in_one_commit:
            try:
                result = write()
            except (PySparkException, Py4JError) as error:
                if not any(text in str(error) for text in _CONFLICTS):
                    raise
                raise OvertakenError(self.table, rows_written=False) from error
        if not in_one_commit:
            self._commit_metadata(build)
        if build not in (commit.metadata for commit in self._since(before)):
            raise OvertakenError(self.table, rows_written=not in_one_commit)
        return result

    def until_taken(self, build: Callable[[bool], T]) -> T:
        """Returns the result of `build`. Calls it again if another run overtakes it.

        The argument of `build` is true if a stale run has written rows: the table has to be
        rebuilt.
        """
        rebuild = False
        for _ in range(1, _TRIES):
            try:
                return build(rebuild)
            except OvertakenError as error:
                rebuild = rebuild or error.rows_written
                _log.info("%s: another run has built it; reading its last build", self.table)
        return build(rebuild)

    def _commit_metadata(self, build: dict[str, Any]) -> None:
        """Commits the metadata without rows, for platforms that refuse settings of a session."""
        metadata, transaction = json.dumps({BUILD: build}), (BUILD, build["number"])
        try:
            append_metadata(self.lakehouse, self.table, metadata, transaction)
        except (PySparkException, Py4JError) as error:
            if not any(text in str(error) for text in _CONFLICTS):
                raise
            _log.info("%s: another run has written it", self.table)

    def _since(self, before: Build) -> list[Commit]:
        """The commits of the builds that follow `before`."""
        result = []
        for commit in self._commits():
            if commit.metadata:
                if commit.metadata["number"] <= before.number:
                    break
                result.append(commit)
        return result

    def _commits(self) -> Iterator[Commit]:
        return commits(self.lakehouse.spark, self.lakehouse.name(self.table), key=BUILD)


def source_state(lakehouse: Lakehouse, table: str) -> State:
    """The id and the current version of a source table."""
    return {
        "table": table_id(lakehouse.spark, lakehouse.name(table)),
        "version": lakehouse.version(table),
    }
