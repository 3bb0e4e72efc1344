"""The champion gate's decision, and the figures it goes by."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from matchlake.errors import InputError, ModelError
from matchlake.io.delta import Lakehouse
from matchlake.io.mlflow_tracking import ModelVersion, Tracker
from matchlake.recommender.split import SplitParams
from matchlake.training import promotion as gate
from matchlake.training.evaluation import baselines_not_beaten, flat_figures
from matchlake.training.params import TrainParams
from matchlake.training.promotion import Decision, decide, decide_promotion


@pytest.mark.parametrize(
    ("metric", "new", "champion", "alias"),
    [
        ("ndcg_at_10", 0.31, 0.30, "champion"),
        ("ndcg_at_10", 0.30, 0.31, "challenger"),
        ("ndcg_at_10", 0.30, 0.30, "challenger"),
        ("rmse", 0.90, 0.95, "champion"),
        ("rmse", 0.95, 0.90, "challenger"),
        ("mae", 0.7, 0.7, "challenger"),
    ],
)
def test_only_a_strictly_better_model_becomes_champion(
    metric: str, new: float, champion: float, alias: str
) -> None:
    decision = decide(metric, {metric: new}, {metric: champion}, "7")
    assert (decision.alias, decision.champion) == (alias, "7")
    assert f"{metric} {new:.6f} against {champion:.6f} of champion 7" in decision.reason


def test_a_champion_without_the_metric_is_not_dethroned() -> None:
    decision = decide("rmse", {"rmse": 0.9}, {"ndcg_at_10": 0.3}, "7")
    assert decision.alias == "challenger"
    assert "champion 7 has no rmse" in decision.reason


def test_own_figures_keep_their_names_and_others_get_a_prefix() -> None:
    figures = {"als": {"rmse": 0.9}, "bias": {"rmse": 1.0, "mae": 0.8}}
    assert flat_figures(figures, "als") == {"rmse": 0.9, "bias/rmse": 1.0, "bias/mae": 0.8}


def test_the_baselines_that_are_not_beaten_are_returned() -> None:
    figures = {
        "als": {"rmse": 0.9, "ndcg_at_10": 0.2},
        "popularity": {"ndcg_at_10": 0.2},
        "bias": {"rmse": 0.95, "ndcg_at_10": 0.1},
    }
    assert baselines_not_beaten(figures, "als", "ndcg_at_10") == ["popularity"]
    assert baselines_not_beaten(figures, "als", "rmse") == []


def test_the_error_of_a_metric_without_a_value_names_those_with_one() -> None:
    figures = {"als": {"rmse": 0.9, "mae": 0.7}, "bias": {"rmse": 1.0}}
    told = "train.metric ndcg_at_10 has no value .* These metrics have a value: rmse, mae"
    with pytest.raises(InputError, match=told):
        baselines_not_beaten(figures, "als", "ndcg_at_10")
    with pytest.raises(InputError, match=told):
        decide("ndcg_at_10", figures["als"], {"ndcg_at_10": 0.3}, "7")


class OneVersion:
    """A tracker whose champion was evaluated on `split`, and whose files are gone."""

    def __init__(self, split: SplitParams) -> None:
        self.split = split

    def champion(self) -> ModelVersion:
        return ModelVersion("recommender", "7", "run", {"split": self.split.model_dump_json()})

    def input_version(self, *_: Any) -> None:
        return None

    def files(self, *_: str) -> Any:
        raise ModelError("models:/recommender/7 cannot be fetched")


def judged(champion: SplitParams, today: SplitParams) -> Decision:
    tracker, unused = cast("Tracker", OneVersion(champion)), cast("Any", None)
    lakehouse = cast("Lakehouse", SimpleNamespace(spark=None))
    new = unused, {"ndcg_at_10": 1.0}
    return decide_promotion(tracker, lakehouse, new, unused, TrainParams(split=today))


def test_a_champion_of_another_split_is_not_compared_with() -> None:
    decision = judged(SplitParams(kind="time"), SplitParams(kind="time", test_share=0.1))
    assert decision == Decision("challenger", "champion 7 was evaluated on another split", "7")


def test_a_champion_of_which_nothing_is_known_stays() -> None:
    decision = judged(SplitParams(kind="time"), SplitParams(kind="time"))
    assert decision.alias == "challenger"
    told = "champion 7 cannot be measured: its run does not say which silver.interactions"
    assert told in decision.reason


def test_a_champion_that_cannot_be_fetched_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "without_champion_training_rows", lambda *given: given[3])
    decision = judged(SplitParams(kind="time"), SplitParams(kind="time"))
    assert decision.alias == "challenger"
    assert "champion 7 cannot be measured: models:/recommender/7 cannot" in decision.reason
