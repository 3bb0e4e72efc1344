"""The champion gate's decision, and the figures it goes by."""

import pytest

from matchlake.models.evaluation import flat_figures
from matchlake.models.gate import decide


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
    assert decision.alias == alias
    assert f"{metric} {new:.6f} against {champion:.6f} of champion 7" in decision.reason


def test_a_champion_without_the_metric_is_not_dethroned() -> None:
    decision = decide("rmse", {"rmse": 0.9}, {"ndcg_at_10": 0.3}, "7")
    assert decision.alias == "challenger"
    assert "champion 7 has no rmse" in decision.reason


def test_own_figures_keep_their_names_and_others_get_a_prefix() -> None:
    figures = {"als": {"rmse": 0.9}, "bias": {"rmse": 1.0, "mae": 0.8}}
    assert flat_figures(figures, "als") == {"rmse": 0.9, "bias/rmse": 1.0, "bias/mae": 0.8}
