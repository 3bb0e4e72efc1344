"""The Python of the page on reading the tables runs as it stands, on a lakehouse of its own."""

import re
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession
from tests.support.lakes import ITEMS, USERS, small_lake
from tests.support.sources import LIB

PAGE = (LIB / "cli" / "README.md").read_text("utf-8")


def test_every_tool_reads_the_tables(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake, _ = small_lake(spark, tmp_path / ".lakehouse")
    rows = lake.read("silver.interactions").count()
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    for block in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL):
        exec(block, names)  # noqa: S102 - our own page
    assert len(names["ratings"]) == len(names["recent"]) == rows
    assert names["busiest"]["ratings"].to_list() == [27, 27, 27]
    assert names["busiest"]["user_id"].to_list() == sorted(names["busiest"]["user_id"])
    assert names["first"].version() == 0
    assert [item for item, _ in names["means"]] == sorted(f"i{n}" for n in range(ITEMS))
    assert names["ratings"]["user_id"].n_unique() == USERS
