"""The README's Python runs as it stands, and its declarations are ones."""

import re
from pathlib import Path

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
    [example] = EXAMPLES
    names: dict[str, object] = {"spark": spark}
    exec(example, names)  # noqa: S102 - our own README
    model, frame = names["model"], spark.sql("SELECT 4 id, 'XYZ' City, 90 age, array('War') genres")
    assert isinstance(model, FeatureModel)
    expected = {"id": 4, "City_BLR": 0, "City_DEL": 0, "City_null": 0, "City_other": 1}
    expected |= {"age": 1.0, "genres_Drama": 0}
    assert model.transform(frame).collect()[0].asDict() == expected
    assert isinstance(names["served"], FeatureModel)
    served = names["served"].transform_numpy({"City": "XYZ", "age": 90, "genres": None})
    assert served.tolist() == list(expected.values())[1:]
    assert isinstance(model.transform_pandas(frame.toPandas()), pd.DataFrame)
