"""The README's Python runs as it stands."""

import re

import pandas as pd
from pyspark.sql import SparkSession
from tests.support.sources import ROOT

from matchlake.features.model import FeatureModel

EXAMPLES = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text("utf-8"), re.DOTALL)


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
