"""Two runs of `build_silver` at once: an older build never replaces a newer one."""

import random
import runpy
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from pyspark.sql import SparkSession
from tests.support.lakes import forget_tables
from tests.support.silver_tables import add, runtime, same

from matchlake.ingest import silver_builds
from matchlake.ingest.silver import silver_specs
from matchlake.io.delta import Lakehouse
from matchlake.runtime import Runtime
from matchlake.schemas import INTERACTIONS

run = runpy.run_path("jobs/build_silver.py")["run"]


def another(at: Runtime) -> Runtime:
    """The runtime of another process: a session of its own on the same tables."""
    spark = at.spark.newSession()
    return replace(at, spark=spark, lakehouse=replace(at.lakehouse, spark=spark))


def equals_rebuild(at: Runtime) -> bool:
    """Whether the silver table has the rows that a rebuild from bronze would give it."""
    (spec,) = silver_specs(at.config.silver, at.config.streams).values()
    rebuilt = spec.rows(at.lakehouse.read(spec.stream.table))
    return same(at.lakehouse.read(spec.spec().name), rebuilt.select(spec.spec().column_names))


def delay(
    monkeypatch: pytest.MonkeyPatch, at: Runtime, method: str, other: Callable[[], None]
) -> None:
    """`other` runs between the read and the commit of the first `method` of this lakehouse."""
    write, waiting = getattr(Lakehouse, method), [other]

    def delayed(lake: Lakehouse, *args: Any, **keys: Any) -> Any:
        if lake is at.lakehouse and waiting:
            waiting.pop()()
        return write(lake, *args, **keys)

    monkeypatch.setattr(Lakehouse, method, delayed)


@pytest.mark.parametrize("settings", ["taken", pytest.param("refused", marks=pytest.mark.soak)])
@pytest.mark.soak
def test_a_stale_merge_does_not_bring_back_what_is_gone(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: str
) -> None:
    at = runtime(spark, tmp_path, "pairs")
    if settings == "refused":
        monkeypatch.setattr(silver_builds, "temporary_settings", lambda *_: nullcontext(False))  # noqa: FBT003
    bronze = at.lakehouse.name(at.config.streams["events"].table)
    add(at, "('valid', 'a', 'i', 1, 0, 0, 1)")
    run(at)
    add(at, "('valid', 'b', 'i', 1, 0, 0, 2)")

    def other() -> None:
        at.spark.sql(f"DELETE FROM {bronze} WHERE user_id = 'b'")
        add(at, "('valid', 'c', 'i', 1, 0, 0, 3)")
        run(another(at))

    delay(monkeypatch, at, "merge", other)
    run(at)
    assert equals_rebuild(at)
    run(at)
    assert equals_rebuild(at)


@pytest.mark.soak
def test_a_stale_rebuild_does_not_replace_a_newer_build(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = runtime(spark, tmp_path, "pairs")
    add(at, "('valid', 'a', 'i', 1, 0, 0, 1)")
    run(at)
    # One run has to rebuild, as it has another declaration. It reads the version of bronze, and
    # replaces the table after the other run has merged a newer version, but not ended.
    rebuilds = another(runtime(spark, tmp_path, "pairs", lateness_threshold_seconds=60))
    merges = another(at)
    read, merged, replaced = Event(), Event(), Event()
    merge_rows, replace_rows = Lakehouse.merge, Lakehouse.replace

    def merge(lake: Lakehouse, *args: Any, **keys: Any) -> Any:
        done = merge_rows(lake, *args, **keys)
        merged.set()
        assert replaced.wait(60)
        return done

    def replace_all(lake: Lakehouse, *args: Any, **keys: Any) -> None:
        read.set()
        assert merged.wait(60)
        try:
            replace_rows(lake, *args, **keys)
        finally:
            replaced.set()

    monkeypatch.setattr(Lakehouse, "merge", merge)
    monkeypatch.setattr(Lakehouse, "replace", replace_all)
    with ThreadPoolExecutor() as pool:
        first = pool.submit(run, rebuilds)
        assert read.wait(60)
        add(at, "('valid', 'b', 'i', 1, 0, 0, 2)")
        second = pool.submit(run, merges)
        first.result()
        second.result()
    run(at)
    assert equals_rebuild(at)


@pytest.mark.soak
def test_interactions_of_an_older_version_do_not_replace_newer_ones(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forget_tables(spark)
    at = runtime(spark, tmp_path, "pairs", interactions={"sources": {"pairs": {}}})
    add(at, "('valid', 'a', 'i', 1, 0, 0, 1)")

    def other() -> None:
        add(at, "('valid', 'b', 'i', 1, 0, 0, 2)")
        run(another(at))

    run(replace(at, config=runtime(spark, tmp_path, "pairs").config))
    delay(monkeypatch, at, "replace", other)
    run(at)
    versions = at.lakehouse.version(INTERACTIONS.name)
    assert {row.user_id for row in at.lakehouse.read(INTERACTIONS.name).collect()} == {"a", "b"}
    run(at)
    assert at.lakehouse.version(INTERACTIONS.name) == versions, "nothing new, nothing written"


@pytest.mark.soak
def test_restored_rows_are_built_again(spark: SparkSession, tmp_path: Path) -> None:
    at = runtime(spark, tmp_path, "pairs")
    table = at.lakehouse.name(at.config.silver.tables["pairs"].table)
    add(at, "('valid', 'a', 'i', 1, 0, 0, 1)")
    run(at)
    add(at, "('valid', 'b', 'i', 1, 0, 0, 2)")
    run(at)
    at.spark.sql(f"RESTORE TABLE {table} TO VERSION AS OF 1")
    assert not equals_rebuild(at)
    run(at)
    assert equals_rebuild(at)


@pytest.mark.soak
def test_many_runs_at_once_while_bronze_grows(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = runtime(spark, tmp_path, "pairs")
    add(at, "('valid', 'u0', 'i', 1, 0, 0, 0)")
    draw = random.Random(7)  # noqa: S311 - delays, no secrets
    for method in ("merge", "replace"):
        write = getattr(Lakehouse, method)

        def slow(*args: Any, _write: Callable[..., Any] = write, **keys: Any) -> Any:
            time.sleep(draw.uniform(0, 2))
            done = _write(*args, **keys)
            time.sleep(draw.uniform(0, 1))
            return done

        monkeypatch.setattr(Lakehouse, method, slow)
    bronze = at.lakehouse.name(at.config.streams["events"].table)
    with ThreadPoolExecutor(3) as pool:
        runs = [pool.submit(run, another(at)) for _ in range(12)]
        for number in range(1, 8):
            add(at, f"('valid', 'u{number}', 'i', 1, 0, 0, {number})")
            if number % 3 == 0:
                at.spark.sql(f"DELETE FROM {bronze} WHERE user_id = 'u{number - 1}'")
        for each in runs:
            each.result()
    run(at)
    assert equals_rebuild(at)
