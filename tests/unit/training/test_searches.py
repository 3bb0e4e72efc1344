"""What a search of the recommender or of a model asks of conf, and which rows it sees."""

from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
from pydantic import ValidationError
from tests.unit.training.test_model_training import DECLARED

from matchlake.errors import ParameterError
from matchlake.features.feature_set import FeatureSet
from matchlake.recommender.als.params import AlsParams
from matchlake.recommender.baselines.params import PopularityParams
from matchlake.recommender.progress import Progress
from matchlake.recommender.split import SplitParams, split
from matchlake.search.params import SearchParams
from matchlake.training import model_search
from matchlake.training.model_data import ModelRows
from matchlake.training.model_params import ModelParams
from matchlake.training.model_search import SearchPlace, model_search_of, search_model
from matchlake.training.params import TrainParams
from matchlake.training.recommender_search import _to_report, deciding, validation_split

SEARCH: dict[str, Any] = {"space": {"rank": [8, 16]}, "validation_fraction": 0.2}
SPLITS: tuple[dict[str, Any], ...] = (
    {"kind": "random", "test_fraction": 0.2},
    {"kind": "time", "cutoff": "2024-05-01T00:00:00Z"},
    {"kind": "time"},
    {"kind": "user_time", "test_fraction": 0.3},
    {"kind": "last_n", "last_n": 2},
    {"kind": "cold_users", "test_fraction": 0.2, "seed": 4},
    {"kind": "recommender", "cold_users": 0.1, "training_users": 0.3},
)


@pytest.mark.parametrize("given", SPLITS)
def test_the_validation_part_is_of_training_rows(given: dict[str, Any]) -> None:
    times = pd.date_range("2024-03-01", "2024-06-30", periods=1600, tz="UTC")
    rows = pd.DataFrame(
        {
            "user_id": [f"u{i % 40}" for i in range(1600)],
            "item_id": [f"i{i // 40}" for i in range(1600)],
            "event_time": times,
        }
    )
    params = SplitParams.model_validate(given)
    train, test = split(rows, params)
    again = validation_split(params, SearchParams.model_validate(SEARCH))
    assert again.kind == params.kind
    smaller, validation = split(train, again)
    assert 0 < len(validation) < len(train)
    assert len(smaller) + len(validation) <= len(train)
    pairs = [set(zip(each["user_id"], each["item_id"], strict=True)) for each in (test, validation)]
    assert pairs[0].isdisjoint(pairs[1])
    if params.kind == "time":
        assert validation["event_time"].min() > smaller["event_time"].max()
        assert test["event_time"].min() > validation["event_time"].max()


@pytest.mark.parametrize(
    ("changed", "text"),
    [
        ({"space": {"ranks": [8]}}, r"no hyperparameter 'ranks'. Did you mean rank\?"),
        ({"space": {"rank": [0]}}, "rank: 0 is not possible"),
        ({"space": {"nu": {"low": 0, "high": 1}}, "kind": "grid"}, "a grid needs separate values"),
        ({"space": {"rank": [8, 9]}, "kind": "grid", "trials": 1}, "search.trials allows 1"),
        ({"space": {"patience": [1]}}, "trials have no validation part"),
        ({"space": {"weight": ["1"]}}, "no hyperparameter 'weight'"),
    ],
)
def test_conf_with_an_impossible_search_is_refused(changed: dict[str, Any], text: str) -> None:
    with pytest.raises(ValidationError, match=text):
        TrainParams.model_validate({"search": changed})


def test_only_a_fit_that_reports_can_be_pruned() -> None:
    space = {"value_column": ["rating", "weight"]}
    popular = {"algorithm": "popularity", "search": {"prune": True, "space": space}}
    with pytest.raises(ValidationError, match="a fit of popularity reports no metric"):
        TrainParams.model_validate(popular)
    assert not PopularityParams().measures_validation
    pruned = {"prune": True, "space": {"rank": [8]}}
    assert TrainParams.model_validate({"search": pruned}).search
    with pytest.raises(ValidationError, match=r"search\.prune: trainers of models report no"):
        ModelParams.model_validate(DECLARED | {"search": {"prune": True, "space": {"alpha": [1]}}})


def test_the_metric_says_what_is_better() -> None:
    assert deciding("ndcg_at_10") == ("ndcg_at_10", True)
    assert deciding("rmse") == ("rmse", False)
    assert deciding("interval_coverage_90")[1] is False


@pytest.mark.parametrize(
    ("feedback", "metric", "sign"),
    [
        ("implicit", "ndcg_at_10", 1),
        ("explicit", "ndcg_at_10", -1),
        ("explicit", "rmse", 1),
        ("implicit", "interval_coverage_90", -1),
    ],
)
def test_reports_have_the_direction_of_the_metric(feedback: str, metric: str, sign: int) -> None:
    told: list[tuple[int, float]] = []
    params = AlsParams.model_validate({"feedback": feedback})
    callback = _to_report(lambda step, value: told.append((step, value)), params, metric)  # type: ignore[arg-type]
    callback(Progress(5, 15, 1.0, 2.0))
    callback(Progress(10, 15, 1.0, 2.0, metric=0.5))
    assert told == [(10, sign * 0.5)]


def test_the_space_of_a_model_is_checked_against_its_trainer() -> None:
    def declared(space: dict[str, Any]) -> ModelParams:
        return ModelParams.model_validate(DECLARED | {"search": {"space": space}})

    assert model_search_of(ModelParams.model_validate(DECLARED)) is None
    found = model_search_of(declared({"alpha": {"low": 0.1, "high": 10, "log": True}}))
    assert found is not None
    assert not found.maximize, "the metric of a regression is rmse"
    with pytest.raises(ParameterError, match=r"'alhpa'. Did you mean alpha\?"):
        model_search_of(declared({"alhpa": [1]}))
    with pytest.raises(ParameterError, match="alpha: -1 is not possible"):
        model_search_of(declared({"alpha": [-1]}))


def test_a_clustering_selects_nothing() -> None:
    clusters = DECLARED | {"task": "clustering", "label": None, "select": {"method": "anova"}}
    clusters |= {"trainer": {"kind": "sklearn", "estimator": "KMeans"}}
    with pytest.raises(ValidationError, match="clustering has no label"):
        ModelParams.model_validate(clusters)


def test_a_changed_feature_set_does_not_continue_an_earlier_search(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    inputs: list[str] = []

    def opened(_spark: Any, _folder: str, given: str, *, resume: bool) -> Any:
        assert resume
        inputs.append(given)
        raise InterruptedError

    monkeypatch.setattr(model_search, "fit_checkpoints", opened)
    place = SearchPlace(SimpleNamespace(spark=None), None, "checkpoints", resume=True)  # type: ignore[arg-type]
    params = ModelParams.model_validate(
        DECLARED | {"features": "a_set", "search": {"space": {"alpha": [1]}}}
    )
    rows = ModelRows(7, None, None, 10, 0)  # type: ignore[arg-type]
    for column in ("x", "y"):
        declared = {"f": {"kind": "number", "column": column}}
        features = FeatureSet.model_validate({"name": "a_set", "keys": ["k"], "features": declared})
        with pytest.raises(InterruptedError):
            search_model(place, "a", params, features, rows)
    assert len(set(inputs)) == 2
