"""The README's Python runs as it stands, and its declarations are ones."""

import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from pyspark.sql import SparkSession
from tests.support.sources import ROOT

from matchlake.config import JobConfig, load_config
from matchlake.features.model import FeatureModel

README = (ROOT / "README.md").read_text("utf-8")
EXAMPLES = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
DECLARATIONS = re.findall(r"```yaml\n(.*?)```", README, re.DOTALL)


@pytest.mark.parametrize("text", DECLARATIONS)
def test_what_it_declares_is_taken(text: str, tmp_path: Path) -> None:
    declared = yaml.safe_load(text)
    for name in ("base", "local"):
        (tmp_path / f"{name}.yml").write_text((ROOT / "conf" / f"{name}.yml").read_text("utf-8"))
    (tmp_path / "mine.yml").write_text("lakehouse: lake\ncheckpoints: checkpoints\n" + text)
    taken = load_config("mine", conf_dir=tmp_path).model_dump()
    assert isinstance(load_config("mine", conf_dir=tmp_path), JobConfig)
    assert all(taken[key] for key in declared)


def test_the_example_of_a_feature_set_gives_what_it_says(spark: SparkSession) -> None:
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


def test_the_example_of_the_recommender_gives_what_it_says(spark: SparkSession) -> None:
    [example] = [text for text in EXAMPLES if "fit_als(" in text]
    names: dict[str, Any] = {"spark": spark}
    exec(example, names)  # noqa: S102 - our own README
    plays = names["plays"]
    lists = names["lists"].toPandas()
    assert set(lists["user_id"]) == {row["user_id"] for row in plays.select("user_id").collect()}
    seen = {tuple(row) for row in plays.select("user_id", "item_id").collect()}
    assert seen.isdisjoint(zip(lists["user_id"], lists["item_id"], strict=True))
    fresh = names["fresh"].toPandas()
    assert fresh["rank"].tolist() == [1, 2, 3, 4, 5]
    assert set(fresh["user_id"]) == {"new"}
    assert not fresh["cold"].any()
    assert names["alike"].count() == 3 * plays.select("item_id").distinct().count()
    assert names["baseline"].count() > 0
    assert "new" in names["served"].user_ids
    _, score = names["best"][0]
    assert {part for part, _ in names["because"]} == {"song 1", "song 2"}
    assert sum(part for _, part in names["because"]) == pytest.approx(score, abs=1e-4)
