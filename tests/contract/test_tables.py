"""Every table has a comment, a job that writes it, and a reader; the order of jobs follows."""

import pytest
from tests.support.sources import ROOT
from tests.support.table_reads import END_PRODUCTS, readers

from matchlake.config import JobConfig, load_config
from matchlake.lakehouse.job_order import job_order, jobs_before, tables_read
from matchlake.lakehouse.table_registry import declared_tables

CONF = ROOT / "conf"
VISITS = (
    "silver.tables.visits={stream: rating_events, table: silver.visits, comment: Visits.,"
    " keys: [user_id]}"
)
LOOP = "features.tables.users.source=gold.recommendations"


def config(*overrides: str) -> JobConfig:
    """The conf with a Matchbox model, which reads the most."""
    chosen = ("train.algorithm=matchbox", "train.metric=rmse", *overrides)
    return load_config("demo", chosen, CONF)


def unread(at: JobConfig) -> set[str]:
    return {table for table, by in readers(at).items() if not by}


def test_declared_tables_each_has_a_comment_and_a_job() -> None:
    for spec in declared_tables(config()).values():
        assert spec.comment, spec.name
        assert (ROOT / "jobs" / f"{spec.written_by}.py").is_file(), spec.name


def test_declared_tables_each_is_read_or_an_end_product() -> None:
    assert unread(config()) == set(END_PRODUCTS)


def test_declared_tables_a_table_without_a_reader_is_found() -> None:
    assert unread(config(VISITS)) == {*END_PRODUCTS, "silver.visits"}


def test_tables_read_names_jobs_and_tables_that_are_there() -> None:
    at = config()
    assert {job for job in tables_read(at) if not (ROOT / "jobs" / f"{job}.py").is_file()} == set()
    for job, names in tables_read(at).items():
        assert {name for name in names if not jobs_before(at, name)} == set(), job


@pytest.mark.parametrize("more", [(), (LOOP,)])
def test_job_order_each_job_follows_those_it_reads_from(more: tuple[str, ...]) -> None:
    order = job_order(config(*more))
    assert len(order) == len(set(order)) == len(tables_read(config()))
    for before, after in (
        ("ingest_events", "build_silver"),
        ("load_lake", "profile_tables"),
        ("build_silver", "train_recommender"),
        ("train_recommender", "recommend"),
    ):
        assert order.index(before) < order.index(after)
    assert order == job_order(config(*more)), "the same each time"
