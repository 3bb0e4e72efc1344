"""Who reads which table: as jobs and views declare it, and as recorded from the jobs of a run."""

import sys
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from pyspark.sql import DataFrame

from matchlake import runtime
from matchlake.config import JobConfig
from matchlake.io.delta import Lakehouse
from matchlake.lakehouse.job_order import tables_read
from matchlake.lakehouse.table_registry import declared_tables
from matchlake.lakehouse.views import fixed_views

END_PRODUCTS = {
    "bronze.lake_files": "the audit table of files: its job reads it, and people do",
    "bronze.lake_quarantine": "gold.quarantine_by_reason, which spans what is there",
    "gold.feature_vocabulary": "people, to understand a feature column",
    "gold.feature_counts": "people, to see unknown values",
    "gold.drift": "people, to see drift",
    "gold.trials": "people, to see what a search has tried",
    "gold.feature_scores": "people, to see why a model reads a column",
    "gold.model_quality": "people, and the report on drift",
    "gold.feature_effects": "people, to understand a model",
    "gold.user_ages": "people: the example of a model in conf/data/movielens.yml",
    "silver.erased_users": "each write of each job, which leaves these users out",
}
"""The tables from which no job and no view builds anything, and for whom they are."""


BUILDERS = "matchlake.lakehouse.feature_build"
"""The module of its room that builds a table from what it reads."""


def readers(config: JobConfig) -> dict[str, set[str]]:
    """The jobs and views that build something from each declared table."""
    tables = declared_tables(config)
    found: dict[str, set[str]] = {name: set() for name in tables}
    views = {view.name: view.needs for view in fixed_views(config)}
    for reader, names in (*tables_read(config).items(), *views.items()):
        for name in names:
            for table in views.get(name, (name,)):
                if table in tables:
                    found[table].add(reader)
    return found


@contextmanager
def recorded_reads() -> Iterator[dict[str, set[str]]]:
    """Records what each job that runs meanwhile reads by `Lakehouse.read` and `.changes`.

    What the making of views reads of every table is left out.
    """
    reads: dict[str, set[str]] = defaultdict(set)
    running = ["none"]

    def recording(method: Callable[..., DataFrame]) -> Callable[..., DataFrame]:
        def read(lakehouse: Lakehouse, table: str, *more: Any) -> DataFrame:
            caller = sys._getframe(1).f_globals["__name__"]
            if caller.startswith(BUILDERS) or not caller.startswith("matchlake.lakehouse"):
                reads[running[-1]].add(table)
            return method(lakehouse, table, *more)

        return read

    def run_job(name: str, *more: Any, **options: Any) -> int:
        running.append(name)
        try:
            return real(name, *more, **options)
        finally:
            running.pop()

    real = runtime.run_job
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runtime, "run_job", run_job)
        for name in ("read", "changes"):
            patch.setattr(Lakehouse, name, recording(getattr(Lakehouse, name)))
        yield reads
