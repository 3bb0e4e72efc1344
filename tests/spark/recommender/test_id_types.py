"""Ids of another type than the model's: converted where that is exact, refused elsewhere."""

import pytest
from pyspark.sql import SparkSession
from tests.support.saved_models import ITEMS, factor_model, side

from matchlake.errors import SchemaError
from matchlake.recommender.als.model import FactorModel


def test_integers_become_strings_where_ids_are_strings(spark: SparkSession) -> None:
    users = spark.createDataFrame(side("user", ["1", "2", "03"], 1))
    items = spark.createDataFrame(side("item", ITEMS, 2))
    model = FactorModel(users, items, mean=3.25, params=factor_model().params)
    texts = spark.sql("SELECT '1' AS user_id, 'i1' AS item_id")
    numbers = texts.selectExpr("CAST(user_id AS INT) AS user_id", "item_id")
    assert model.score(numbers).collect() == model.score(texts).collect()
    lists = model.recommend_items(numbers, 2, exclude_seen=numbers).collect()
    assert lists == model.recommend_items(texts, 2, exclude_seen=texts).collect()
    assert len(lists) == 2
    floats = texts.selectExpr("CAST(user_id AS DOUBLE) AS user_id", "item_id")
    for refused in (model.score, lambda frame: model.recommend_items(frame, 2)):
        with pytest.raises(SchemaError, match=r"user_id of .* has the type double, but .* string"):
            refused(floats)
