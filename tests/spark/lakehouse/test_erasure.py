"""An erasure that is killed while a table keeps no old files, and run again."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession
from tests.support.lakes import forget_tables

from matchlake.io.delta import Lakehouse
from matchlake.io.delta_properties import read_properties, set_properties
from matchlake.lakehouse import erasure as erase
from matchlake.lakehouse.erasure import Erasure

KEPT = "delta.deletedFileRetentionDuration"


@pytest.mark.soak
@pytest.mark.parametrize("kept", [{}, {KEPT: "interval 9 days"}])
def test_a_table_keeps_its_old_files_as_long_as_before(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kept: dict[str, str]
) -> None:
    forget_tables(spark)
    lake, table = Lakehouse(spark, folder=str(tmp_path)), "gold.people"
    spark.sql("CREATE SCHEMA IF NOT EXISTS gold")
    spark.sql(
        f"CREATE TABLE {lake.name(table)} USING DELTA LOCATION '{lake.path(table)}'"
        " AS SELECT explode(array('u', 'v')) AS user_id"
    )
    if kept:
        set_properties(lake, table, kept)
    erasure = Erasure("u", [], {}, lake)
    dead: list[bool] = []

    def until_killed(act: Callable[..., Any]) -> Callable[..., Any]:
        def acting(*given: Any) -> Any:
            if dead or str(given[-1]).startswith("VACUUM"):
                dead.append(True)
                raise KeyboardInterrupt
            return act(*given)

        return acting

    with monkeypatch.context() as patch:
        patch.setattr(Erasure, "_sql", until_killed(Erasure._sql))
        patch.setattr(erase, "set_properties", until_killed(set_properties))
        with pytest.raises(KeyboardInterrupt):
            erasure.run([table])
    assert read_properties(lake, table)[KEPT] == "interval 0 hours"
    erasure.run([table])
    found = read_properties(lake, table)
    assert {name: found[name] for name in found if "kept" in name or name == KEPT} == kept
    forget_tables(spark)
