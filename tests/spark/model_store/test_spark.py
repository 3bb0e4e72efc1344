"""Model folders and the served model from Spark's side: exact, and the same answers everywhere."""

from pathlib import Path

import mlflow
import numpy as np
import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from tests.support.saved_models import ITEMS, USERS, factor_model, side, tracker_in

from matchlake.errors import ModelError
from matchlake.model_store import spark as folders
from matchlake.model_store.mlflow_flavor import FACTORS, pyfunc_flavor
from matchlake.model_store.spark import load_model, load_numpy, save_model
from matchlake.recommender.als.model import FactorModel


@pytest.fixture(scope="module")
def model(spark: SparkSession) -> FactorModel:
    users, items = side("user", USERS, 1), side("item", ITEMS, 2)
    frames = spark.createDataFrame(users), spark.createDataFrame(items).repartition(3)
    return FactorModel(*frames, mean=3.25, params=factor_model().params)


def rows(frame: DataFrame) -> list[tuple[object, ...]]:
    return sorted(tuple(row) for row in frame.collect())


@pytest.mark.parametrize("shared", [False, True])
def test_a_saved_model_comes_back_exactly(
    spark: SparkSession,
    model: FactorModel,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    shared: bool,  # noqa: FBT001 - a case
) -> None:
    if shared:
        monkeypatch.setattr(folders, "_SHARED", (f"{tmp_path}/",))
    save_model(model, tmp_path / "model")
    loaded = load_model(tmp_path / "model", spark)
    assert loaded.user_factors.schema.simpleString() == model.user_factors.schema.simpleString()
    assert rows(loaded.user_factors) == rows(model.user_factors)
    assert rows(loaded.item_factors) == rows(model.item_factors)
    assert (loaded.mean, loaded.params) == (model.mean, model.params)
    assert list(load_numpy(tmp_path / "model").item_ids) == ITEMS
    files = [path.name for path in (tmp_path / "model" / "items").glob("*.parquet")]
    assert (files == ["part-0.parquet"]) is not shared
    save_model(loaded, tmp_path / "again")
    assert rows(load_model(tmp_path / "again", spark).item_factors) == rows(model.item_factors)


def test_a_damaged_folder_is_not_loaded(
    spark: SparkSession, model: FactorModel, tmp_path: Path
) -> None:
    save_model(model, tmp_path / "model")
    (tmp_path / "model" / "users" / "part-0.parquet").unlink()
    with pytest.raises(ModelError, match=r"part-0\.parquet is missing"):
        load_model(tmp_path / "model", spark)


@pytest.mark.soak
def test_spark_the_served_model_and_its_udf_give_the_same_scores(
    spark: SparkSession, model: FactorModel, tmp_path: Path
) -> None:
    with tracker_in(tmp_path).run("train") as run:
        save_model(model, tmp_path / "model" / FACTORS)
        uri = run.log_model(pyfunc_flavor(tmp_path / "model"))
    path = mlflow.artifacts.download_artifacts(uri, dst_path=str(tmp_path / "copy"))
    pairs = spark.createDataFrame(
        [(user, item) for user in [*USERS, "new"] for item in [*ITEMS, "new"]],
        "user_id string, item_id string",
    )
    udf = mlflow.pyfunc.spark_udf(spark, path, env_manager="local")
    told = udf(F.struct("user_id", "item_id"))
    answers = pairs.withColumn("told", told).select("user_id", "item_id", "told.*")
    by_udf = {row[:2]: row[2:] for row in rows(answers)}
    by_position = pairs.withColumn("told", udf("user_id", "item_id"))
    assert rows(by_position.select("user_id", "item_id", "told.*")) == rows(answers)
    by_spark = {row[:2]: row[2:] for row in rows(model.score(pairs))}
    assert by_udf.keys() == by_spark.keys()
    keys = sorted(by_spark)
    np.testing.assert_allclose(
        [by_udf[key][0] for key in keys], [by_spark[key][0] for key in keys], rtol=1e-6
    )
    assert [by_udf[key][1] for key in keys] == [by_spark[key][1] for key in keys]
    lists = mlflow.pyfunc.spark_udf(
        spark,
        path,
        "item_id array<string>, score array<double>",
        env_manager="local",
        params={"mode": "recommend_items", "k": 3},
    )
    users = spark.createDataFrame([(user,) for user in USERS], "user_id string")
    best = {row[0]: row[1] for row in users.select("user_id", lists(F.struct("user_id"))).collect()}
    expected = rows(model.recommend_items(users, 3).select("user_id", "rank", "item_id"))
    assert [(u, r + 1, i) for u in USERS for r, i in enumerate(best[u]["item_id"])] == expected
