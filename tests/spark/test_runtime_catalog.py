"""A runtime's session stands in the catalog that conf names, on any Spark."""

from pathlib import Path

import pytest
from pyspark.sql import SparkSession
from tests.support.sources import ROOT

from matchlake.config import load_config
from matchlake.errors import WorkspaceError
from matchlake.runtime import start


def test_the_session_stands_in_the_catalog_of_conf(spark: SparkSession, tmp_path: Path) -> None:
    overrides = ["catalog=spark_catalog", f"lakehouse={tmp_path}"]
    runtime = start(load_config("demo", overrides, ROOT / "conf"), "test")
    assert runtime.lakehouse.catalog == "spark_catalog"
    assert spark.catalog.currentCatalog() == "spark_catalog"


def test_a_missing_catalog_is_told_with_what_to_do(spark: SparkSession, tmp_path: Path) -> None:
    before = spark.catalog.currentCatalog()
    overrides = ["catalog=nowhere", f"lakehouse={tmp_path}"]
    with pytest.raises(WorkspaceError, match=r"Catalog nowhere cannot be used.*CREATE CATALOG"):
        start(load_config("demo", overrides, ROOT / "conf"), "test")
    assert spark.catalog.currentCatalog() == before
