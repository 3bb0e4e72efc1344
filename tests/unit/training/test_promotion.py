"""The champion gate's decision, and the figures it goes by."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from tests.support.saved_models import purge, saved, tracker_in

from matchlake.errors import InputError, ModelError, ModelGoneError
from matchlake.io.delta import Lakehouse
from matchlake.io.mlflow_tracking import Tracker
from matchlake.io.model_versions import ModelVersion
from matchlake.model_store.mlflow_flavor import FACTORS, pyfunc_flavor
from matchlake.recommender.split import SplitParams
from matchlake.training import promotion as gate
from matchlake.training.evaluation import baselines_not_beaten, flat_figures
from matchlake.training.params import TrainParams
from matchlake.training.promotion import SPLIT_TAG, Decision, decide, decide_promotion


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
    """A tracker whose champion was evaluated on `split`, and which fails in `error`.

    Without a split it has no champion.
    """

    def __init__(self, split: SplitParams | None, error: Exception | None = None) -> None:
        self.split, self.error = split, error

    def champion(self) -> ModelVersion | None:
        if self.split is None:
            return None
        return ModelVersion("recommender", "7", "run", {"split": self.split.model_dump_json()})

    def input_version(self, *_: Any) -> None:
        if self.error is not None:
            raise self.error

    def files(self, *_: str) -> Any:
        raise ModelError("models:/recommender/7 cannot be fetched")


TIME = SplitParams(kind="time")
GOOD = {"als": {"ndcg_at_10": 1.0}, "popularity": {"ndcg_at_10": 0.2}, "bias": {"rmse": 1.0}}
USELESS = {"als": {"ndcg_at_10": 0.1}, "popularity": {"ndcg_at_10": 0.2}, "bias": {"rmse": 1.0}}


def judged(
    champion: SplitParams | None,
    today: SplitParams,
    error: Exception | None = None,
    figures: dict[str, dict[str, float]] = GOOD,
    **params: Any,
) -> Decision:
    tracker, unused = cast("Tracker", OneVersion(champion, error)), cast("Any", None)
    lakehouse = cast("Lakehouse", SimpleNamespace(spark=None))
    params = {"split": today, **params}
    return decide_promotion(tracker, lakehouse, (unused, figures), unused, TrainParams(**params))


@pytest.mark.parametrize("gone", ["the run abc no longer exists", "version 3 no longer exists"])
def test_a_champion_that_is_gone_is_decided_on_as_a_missing_one(gone: str) -> None:
    decision = judged(TIME, TIME, ModelGoneError(gone))
    assert (decision.alias, decision.champion) == ("champion", "7")
    assert "champion 7 can no longer be compared" in decision.reason
    assert gone in decision.reason
    useless = judged(TIME, TIME, ModelGoneError(gone), USELESS)
    assert useless.alias == "challenger"


def test_a_purged_run_of_the_champion_does_not_stop_the_next_training(tmp_path: Path) -> None:
    tracker, params = tracker_in(tmp_path), TrainParams(split=TIME)
    with tracker.run("train") as run:
        saved(tmp_path / "model" / FACTORS)
        first = Decision("champion", "first")
        uri = run.log_model(pyfunc_flavor(tmp_path / "model"))
        made = run.register(uri, first, {SPLIT_TAG: params.split.model_dump_json()})
    purge(tracker, made)
    lakehouse, unused = cast("Lakehouse", SimpleNamespace(spark=None)), cast("Any", None)
    decision = decide_promotion(tracker, lakehouse, (unused, GOOD), unused, params)
    assert (decision.alias, decision.champion) == ("champion", "1")
    assert f"The run {made.run_id} of version 1 cannot be fetched" in decision.reason


@pytest.mark.parametrize("champion", [None, TIME])
def test_a_model_that_popularity_equals_is_not_made_champion(champion: SplitParams | None) -> None:
    decision = judged(champion, TIME, figures=USELESS)
    assert (decision.alias, decision.champion) == ("challenger", champion and "7")
    assert decision.reason == (
        "it is not better than the baselines: ndcg_at_10 0.100000 against 0.200000 of popularity; "
        "change the parameters of train.als, train on more interactions, or allow it with "
        "train.require_better_than_baselines=false"
    )
    equal = {**USELESS, "als": USELESS["popularity"]}
    assert judged(champion, TIME, figures=equal).alias == "challenger"


def test_conf_may_allow_a_champion_that_does_not_beat_popularity() -> None:
    decision = judged(None, TIME, figures=USELESS, require_better_than_baselines=False)
    assert decision == Decision("champion", "the first model: there was no champion")


def test_a_champion_of_another_split_is_not_compared_with() -> None:
    decision = judged(SplitParams(kind="time"), SplitParams(kind="time", test_fraction=0.1))
    assert decision == Decision("challenger", "champion 7 was evaluated on another split", "7")


def test_a_champion_of_which_nothing_is_known_stays() -> None:
    decision = judged(SplitParams(kind="time"), SplitParams(kind="time"))
    assert decision.alias == "challenger"
    told = (
        "champion 7 cannot be measured: its run does not record the version of silver.interactions"
    )
    assert told in decision.reason


def test_a_champion_that_cannot_be_fetched_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "without_champion_training_rows", lambda *given: given[3])
    decision = judged(SplitParams(kind="time"), SplitParams(kind="time"))
    assert decision.alias == "challenger"
    assert "champion 7 cannot be measured: models:/recommender/7 cannot" in decision.reason
