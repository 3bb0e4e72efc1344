"""Models of conf: what is refused, and under which name they are registered."""

import json
from typing import Any

import pytest
from pydantic import ValidationError
from tests.support.sources import ROOT

from matchlake.config import load_config
from matchlake.errors import ConfigError
from matchlake.training.model_params import ModelParams, registered_name

CHURN = (
    "{rows: bronze.users, label: gender, task: classification, keys: [user_id],"
    " features: {age: {kind: min_max}}, trainer: {kind: sklearn, estimator: LogisticRegression},"
    " table: gold.churn, comment: Churn.}"
)


def load(*changes: str) -> Any:
    return load_config("demo", [f"models.churn={CHURN}", *changes], ROOT / "conf")


def test_a_model_has_defaults_and_a_feature_set_with_its_keys() -> None:
    config = load()
    params = config.models["churn"]
    assert (params.deciding_metric, params.persons) == ("log_loss", ("user_id",))
    features = config.features_of("churn")
    assert (features.name, features.keys, list(features.features)) == (
        *("churn", ("user_id",)),
        ["age"],
    )
    named = load("models.churn.features=users").features_of("churn")
    assert (named.name, list(named.features)) == ("churn", ["gender", "occupation", "age_scaled"])
    assert list(load("model_jobs.names=[churn]").chosen_models) == ["churn"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("label=null", "classification needs a label"),
        ("task=clustering", "clustering takes no label"),
        ("metric=rmse", "metric rmse is not a metric of classification: choose one of accuracy"),
        ("features={sex: {kind: one_hot, column: gender}}", "features.sex reads gender.*the label"),
        ("features=friends", "friends is no feature set: features.tables declares"),
        ("split={kind: time}", "a split of kind time needs a column"),
        ("split={kind: random, column: age}", "a split of kind random takes no column"),
        ("split={kind: random, test_fraction: 1}", "less than 1"),
        ("user_columns=[member]", "user_columns: member is not a column"),
        ("keys=[prediction]", "prediction is a column that score_model adds"),
        ("trainer={kind: magic}", "magic|kind"),
        ("table=churn", "not a valid name"),
    ],
)
def test_what_cannot_be_trained_is_refused(change: str, message: str) -> None:
    with pytest.raises(ConfigError, match=rf"(?s)models.*{message}"):
        load(f"models.churn.{change}")


def test_a_run_names_only_declared_models() -> None:
    with pytest.raises(ConfigError, match=r"model_jobs\.names: demand is not a model; .*churn"):
        load("model_jobs.names=[demand]")
    with pytest.raises(ConfigError, match=r"models\.recommender: this is the model of train_recom"):
        load(f"models.recommender={CHURN}")


@pytest.mark.parametrize(
    ("recommender", "name"),
    [
        ("recommender", "churn"),
        ("lake.gold.recommender", "lake.gold.churn"),
        ("lake.gold.dev_alice_recommender", "lake.gold.dev_alice_churn"),
        ("shop", "shop_churn"),
    ],
)
def test_registered_name_stands_beside_that_of_the_recommender(recommender: str, name: str) -> None:
    assert registered_name(recommender, "churn") == name


FORECAST: dict[str, Any] = {
    "rows": "silver.sales",
    "label": "sold",
    "task": "forecasting",
    "keys": ["shop", "day"],
    "split": {"kind": "time", "column": "day"},
    "trainer": {"kind": "sarimax"},
    "table": "gold.forecasts",
    "comment": "c",
}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"trainer": {"kind": "sklearn", "estimator": "Ridge"}}, "sarimax go together"),
        ({"task": "regression"}, "sarimax go together"),
        ({"split": {"kind": "random"}}, "needs kind time with the last key: column: day"),
        ({"keys": ["day", "shop"]}, "needs kind time with the last key: column: shop"),
        ({"features": {"x": {"kind": "number"}}}, "forecasting cannot have features"),
        ({"metric": "log_loss"}, "choose one of mae, rmse, smape"),
    ],
)
def test_a_forecast_has_series_times_and_no_features(change: dict[str, Any], message: str) -> None:
    assert ModelParams.model_validate(FORECAST).deciding_metric == "rmse"
    with pytest.raises(ValidationError, match=message):
        ModelParams.model_validate(FORECAST | change)


def test_only_models_with_features_are_watched() -> None:
    watched = f"monitor.models={json.dumps({'sales': {'time': 'day'}})}"
    with pytest.raises(ConfigError, match=r"monitor\.models\.sales: a forecast reads no features"):
        load(f"models.sales={json.dumps(FORECAST)}", watched)
