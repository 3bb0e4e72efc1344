"""What serverless compute refuses, refused by a local Spark Connect session too.

The rules are those of Databricks' page on the limitations of serverless compute: no caching and no
checkpoints of frames, no global temporary views, a handful of session settings, and streams that
end by themselves. What is refused raises as it does there.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from pyspark.errors import AnalysisException
from pyspark.sql.connect.catalog import Catalog
from pyspark.sql.connect.conf import RuntimeConf
from pyspark.sql.connect.dataframe import DataFrame
from pyspark.sql.connect.session import SparkSession
from pyspark.sql.connect.streaming.readwriter import DataStreamWriter

SETTINGS = {
    "spark.databricks.execution.timeout",
    "spark.sql.ansi.enabled",
    "spark.sql.files.maxPartitionBytes",
    "spark.sql.legacy.timeParserPolicy",
    "spark.sql.session.timeZone",
    "spark.sql.shuffle.partitions",
}
"""All that a session may set."""
_KEPT = ((DataFrame, "cache"), (DataFrame, "persist"), (Catalog, "cacheTable"))
_CHECKPOINTS = ((DataFrame, "checkpoint"), (DataFrame, "localCheckpoint"))
_GLOBAL = ((DataFrame, "createGlobalTempView"), (DataFrame, "createOrReplaceGlobalTempView"))
_STATEMENTS = {
    "CACHE": "PERSIST TABLE",
    "CREATE GLOBAL": "GLOBAL TEMPORARY VIEW",
    "CREATE OR REPLACE GLOBAL": "GLOBAL TEMPORARY VIEW",
}


class Refused(AnalysisException):
    """What serverless compute says."""


def _refuse(what: str) -> Callable[..., Any]:
    def refuse(*_args: Any, **_kwargs: Any) -> Any:
        raise Refused(
            f"[NOT_SUPPORTED_WITH_SERVERLESS] {what} is not supported on serverless compute."
        )

    return refuse


@contextmanager
def serverless_rules(*, checkpoints: bool = False) -> Iterator[None]:
    """Within it the rules hold; `checkpoints` are let be where a test has no storage to cut to."""
    with pytest.MonkeyPatch.context() as patch:
        for owner, name in (*_KEPT, *_GLOBAL, *(() if checkpoints else _CHECKPOINTS)):
            patch.setattr(owner, name, _refuse(name))
        patch.setattr(RuntimeConf, "set", _checked_set(RuntimeConf.set))
        patch.setattr(RuntimeConf, "_set_all", _checked_set_all(RuntimeConf._set_all))
        patch.setattr(SparkSession, "sql", _checked_sql(SparkSession.sql))
        start = DataStreamWriter._start_internal
        patch.setattr(DataStreamWriter, "_start_internal", _checked_start(start))
        yield


def _checked_set(original: Callable[..., Any]) -> Callable[..., Any]:
    def checked(self: Any, key: str, value: Any) -> Any:
        if key not in SETTINGS:
            _refuse(f"configuration {key}")()
        return original(self, key, value)

    return checked


def _checked_set_all(original: Callable[..., Any]) -> Callable[..., Any]:
    def checked(self: Any, configs: dict[str, Any], silent: bool) -> Any:  # noqa: FBT001
        unknown = sorted(set(configs) - SETTINGS)
        if unknown:
            _refuse(f"configuration {', '.join(unknown)}")()
        return original(self, configs, silent)

    return checked


def _checked_sql(original: Callable[..., Any]) -> Callable[..., Any]:
    def checked(self: Any, query: str, *args: Any, **kwargs: Any) -> Any:
        text = " ".join(query.upper().split())
        what = next((said for start, said in _STATEMENTS.items() if text.startswith(start)), None)
        if what:
            _refuse(what)()
        setting = text.startswith("SET ") and "=" in text
        if setting and query.split()[1].partition("=")[0] not in SETTINGS:
            _refuse(f"configuration {query.split()[1]}")()
        return original(self, query, *args, **kwargs)

    return checked


def _checked_start(original: Callable[..., Any]) -> Callable[..., Any]:
    def checked(self: Any, *args: Any, **kwargs: Any) -> Any:
        if not (self._write_proto.available_now or self._write_proto.once):
            _refuse("INFINITE_STREAMING_TRIGGER")()
        return original(self, *args, **kwargs)

    return checked
