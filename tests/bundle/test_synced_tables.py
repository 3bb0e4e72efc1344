"""Synced tables of Lakebase: their keys are checked, and compared with `online.tables` of conf."""

import shutil
from pathlib import Path

import pytest
from tests.support.sources import ROOT

from matchlake.dev.bundle.check import check_bundle

ONLINE = """
online:
  stores: [lakebase]
  tables:
    recommendations: {table: gold.recommendations, keys: [user_id, rank]}
"""
PROJECT = """
  postgres_synced_tables:
    recommendations:
      synced_table_id: ${var.catalog}.online.recommendations
      branch: projects/shop/branches/production
      postgres_database: shop
      source_table_full_name: ${var.catalog}.gold.recommendations
      primary_key_columns: [user_id, rank]
      scheduling_policy: SNAPSHOT
"""
INSTANCE = """
  synced_database_tables:
    recommendations:
      name: ${var.catalog}.online.recommendations
      database_instance_name: shop
      logical_database_name: shop
      spec:
        source_table_full_name: ${var.catalog}.gold.recommendations
        primary_key_columns: [user_id, rank]
        scheduling_policy: SNAPSHOT
"""


def problems(folder: Path, resource: str) -> list[str]:
    for name in ("databricks.yml", "requirements-job.lock"):
        shutil.copy(ROOT / name, folder / name)
    for name in ("jobs", "conf", "lib"):
        if name == "lib":
            (folder / name).symlink_to(ROOT / name)
        else:
            shutil.copytree(ROOT / name, folder / name)
    bundle = (folder / "databricks.yml").read_text()
    (folder / "databricks.yml").write_text(
        bundle.replace("\nresources:\n", f"\nresources:{resource}", 1)
    )
    with (folder / "conf" / "dev.yml").open("a") as conf:
        conf.write(ONLINE)
    (checked,) = check_bundle(folder, targets=["dev"])
    return [str(each) for each in checked.problems]


@pytest.mark.parametrize("resource", [PROJECT, INSTANCE], ids=["project", "instance"])
def test_synced_tables_of_both_kinds_are_right(tmp_path: Path, resource: str) -> None:
    assert problems(tmp_path, resource) == []


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("[user_id, rank]", "[user_id]", "online.tables.recommendations.keys are user_id, rank"),
        ("gold.recommendations", "gold.recs", "no synced table reads matchlake_dev.gold.recomm"),
        ("primary_key_columns", "primary_keys", "unknown key; did you mean primary_key_columns?"),
        ("SNAPSHOT", "HOURLY", "'HOURLY' is none of CONTINUOUS, SNAPSHOT, TRIGGERED"),
    ],
)
def test_mistakes_are_found(tmp_path: Path, before: str, after: str, said: str) -> None:
    assert any(said in each for each in problems(tmp_path, PROJECT.replace(before, after)))
