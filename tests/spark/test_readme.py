"""The Python of the README pages runs as it stands, and their YAML is valid conf."""

import re
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from pyspark.sql import SparkSession
from tests.support.sources import LIB, ROOT

from matchlake.config import JobConfig, load_config
from matchlake.features.model import FeatureModel

PAGES = [ROOT / "README.md", *sorted(ROOT.glob("*/README.md")), *sorted(LIB.rglob("README.md"))]
TEXT = "\n".join(page.read_text("utf-8") for page in PAGES)
EXAMPLES = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
DECLARATIONS = re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL)


@pytest.mark.parametrize("text", DECLARATIONS)
def test_its_declarations_are_accepted(text: str, tmp_path: Path) -> None:
    declared = yaml.safe_load(text)
    shutil.copytree(ROOT / "conf", tmp_path, dirs_exist_ok=True)
    own = "extends: [data/movielens.yml]\nlakehouse: lake\ncheckpoints: checkpoints\n"
    (tmp_path / "mine.yml").write_text(own + text)
    _declare_streams(tmp_path / "data" / "movielens.yml", declared)
    taken = load_config("mine", conf_dir=tmp_path).model_dump()
    assert isinstance(load_config("mine", conf_dir=tmp_path), JobConfig)
    assert all(taken[key] for key in declared)


def _declare_streams(data: Path, declared: dict[str, Any]) -> None:
    """Adds the streams that silver tables of an example read, as a page declares them elsewhere."""
    tables = declared.get("silver", {}).get("tables", {}).values()
    named = {each["stream"] for each in tables if "stream" in each}
    conf = yaml.safe_load(data.read_text())
    for name in named - declared.get("streams", {}).keys():
        stream = conf["streams"]["rating_events"] | {"topic": name, "table": f"bronze.{name}_raw"}
        stream |= {"valid_view": f"bronze.{name}", "quarantine_view": f"bronze.{name}_bad"}
        more = {key: {"type": "string", "comment": key} for key in ("sku", "quantity")}
        conf["streams"][name] = stream | {"columns": stream["columns"] | more}
    data.write_text(yaml.safe_dump(conf))


def test_the_example_of_a_feature_set_gives_its_result(spark: SparkSession) -> None:
    [example] = [text for text in EXAMPLES if "FeatureSet(" in text]
    names: dict[str, object] = {"spark": spark}
    exec(example, names)  # noqa: S102 - our own README
    model, frame = names["model"], spark.sql("SELECT 4 id, 'XYZ' City, 90 age, array('War') genres")
    assert isinstance(model, FeatureModel)
    expected = {"id": 4, "City_BLR": 0, "City_DEL": 0, "City_null": 0, "City_unknown": 1}
    expected |= {"age": 1.0, "genres_Drama": 0}
    assert model.transform(frame).collect()[0].asDict() == expected
    assert isinstance(names["served"], FeatureModel)
    served = names["served"].transform_numpy({"City": "XYZ", "age": 90, "genres": None})
    assert served.tolist() == list(expected.values())[1:]
    assert isinstance(model.transform_pandas(frame.toPandas()), pd.DataFrame)


def test_the_first_example_answers_on_spark_and_in_numpy(spark: SparkSession) -> None:
    [example] = [text for text in EXAMPLES if "fit_als(" in text and "save_model" not in text]
    names: dict[str, Any] = {"spark": spark}
    key = "spark.sql.shuffle.partitions"
    before = spark.conf.get(key)
    spark.conf.unset(key)  # as in a session that nobody configured
    try:
        exec(example, names)  # noqa: S102 - our own README
    finally:
        spark.conf.set(key, before or "")
    _check_lists(names)
    assert names["similar"].count() == 3 * names["plays"].select("item_id").distinct().count()
    assert len(names["best"]) == 5


@pytest.mark.soak
def test_the_example_of_the_recommender_gives_its_result(spark: SparkSession) -> None:
    [example] = [text for text in EXAMPLES if "save_model" in text]
    names: dict[str, Any] = {"spark": spark}
    exec(example, names)  # noqa: S102 - our own README
    _check_lists(names)
    fresh = names["fresh"].toPandas()
    assert fresh["rank"].tolist() == [1, 2, 3, 4, 5]
    assert set(fresh["user_id"]) == {"new"}
    assert not fresh["is_cold_start"].any()
    assert names["baseline"].count() > 0
    assert "new" in list(names["served"].user_ids)
    assert len(names["best"]) == 5


def _check_lists(names: dict[str, Any]) -> None:
    """Every user has a list, without the songs that they played."""
    plays, lists = names["plays"], names["lists"].toPandas()
    assert set(lists["user_id"]) == {row["user_id"] for row in plays.select("user_id").collect()}
    seen = {tuple(row) for row in plays.select("user_id", "item_id").collect()}
    assert seen.isdisjoint(zip(lists["user_id"], lists["item_id"], strict=True))
