"""Who becomes champion: a clear difference does, one by chance does not."""

import numpy as np
import pytest

from matchlake.io.model_versions import CHAMPION, Decision
from matchlake.training.model_gate import Comparison, compare, decide
from matchlake.training.model_params import GateParams
from matchlake.training.task_metrics import Scored, classified

GATE = GateParams(resamples=100)
WITHOUT = Decision("challenger", "not compared", "7")


def regression(noise: float, seed: int = 1, rows: int = 400) -> Scored:
    truth = np.random.default_rng(0).normal(size=rows)
    return Scored(truth + np.random.default_rng(seed).normal(0, noise, rows), truth)


def decided(found: Comparison, gate: GateParams = GATE) -> Decision:
    return decide(found, None, gate, WITHOUT)


def test_a_clearly_better_model_becomes_champion() -> None:
    found = compare("rmse", regression(0.5), regression(1.0), GATE, 3)
    assert (found.won, found.resamples) == (1.0, 100)
    assert found.low < found.high < 0
    decision = decided(found)
    assert (decision.alias, decision.champion) == (CHAMPION, "7")
    assert decision.reason.startswith(f"better: rmse {found.value:.6f} against {found.other:.6f}")


def test_a_difference_by_chance_does_not_change_the_champion() -> None:
    better, worse = sorted(
        (regression(1.0, seed=1, rows=60), regression(1.0, seed=4, rows=60)),
        key=lambda each: float(np.mean((each.prediction - each.truth) ** 2)),
    )
    found = compare("rmse", better, worse, GATE, 3)
    assert found.is_better
    assert 0.5 < found.won < 0.95
    assert decided(found).reason.startswith("not significantly better: rmse")
    assert decided(found).alias == "challenger"
    sure = GateParams(confidence=None)
    assert decided(compare("rmse", better, worse, sure, 3), sure).alias == CHAMPION


def test_an_equal_model_is_not_better() -> None:
    found = compare("mae", regression(1.0), regression(1.0), GATE, 3)
    assert found.won == 0
    assert decided(found).reason.startswith("not better: mae")


@pytest.mark.parametrize("name", ["log_loss", "roc_auc", "f1"])
def test_the_direction_of_a_metric_counts(name: str) -> None:
    random = np.random.default_rng(2)
    truth = random.choice(np.array(["a", "b"], object), 300)
    chance = np.where(truth == "b", 0.8, 0.2)
    good = classified(truth, np.column_stack([1 - chance, chance]), ("a", "b"))
    noise = random.uniform(size=300)
    bad = classified(truth, np.column_stack([1 - noise, noise]), ("a", "b"))
    assert decided(compare(name, good, bad, GATE, 0)).alias == CHAMPION
    assert decided(compare(name, bad, good, GATE, 0)).alias == "challenger"


def test_a_model_no_better_than_a_constant_stays_challenger() -> None:
    constant = Comparison("rmse", 1.0, 1.0, 0.0, 0.0, 0.0, 0)
    better = compare("rmse", regression(0.5), regression(1.0), GATE, 3)
    decision = decide(better, constant, GATE, WITHOUT)
    assert decision.alias == "challenger"
    assert (
        "not better than a constant prediction: rmse 1.000000 against 1.000000" in decision.reason
    )
    allowed = GateParams(resamples=100, require_better_than_constant=False)
    assert decide(better, constant, allowed, WITHOUT).alias == CHAMPION
    assert decide(None, None, GATE, WITHOUT) is WITHOUT


def test_equal_seeds_give_equal_comparisons_and_large_parts_are_drawn_from() -> None:
    pair = (regression(0.5), regression(1.0))
    small = GateParams(resamples=50, sample_rows=100)
    assert compare("mae", *pair, small, 1) == compare("mae", *pair, small, 1)
    assert compare("mae", *pair, small, 1) != compare("mae", *pair, small, 2)
