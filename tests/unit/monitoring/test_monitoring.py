"""Monitoring: false alarms at their level, planted changes found and named, nothing guessed."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from scipy.stats import chi2_contingency, ks_2samp

from matchlake.monitoring.input_drift import compare_inputs, moved_scores
from matchlake.monitoring.judgement import Judgement, judge_window
from matchlake.monitoring.params import MonitorParams
from matchlake.monitoring.quality import compare_quality
from matchlake.training.model_data import LABEL
from matchlake.training.task_metrics import Scored

WEIGHTS = {"age": 1.0, "visits": 2.0, "noise": 0.0}
CITIES = np.array(["a", "b", "c", "d"])


class LinearModel:
    """A regression with known weights, in the form that `judge_window` needs."""

    task = "regression"

    class features:  # noqa: N801 - the attribute of a model
        features = tuple(type("F", (), {"column": name}) for name in (*WEIGHTS, "city"))

    def score_numpy(self, columns: dict[str, pd.Series]) -> dict[str, np.ndarray]:
        total = sum(w * columns[n].to_numpy(dtype="float64") for n, w in WEIGHTS.items())
        return {"prediction": np.asarray(total) + (columns["city"].to_numpy() == "a")}


def rows(count: int, random: np.random.Generator, **changes: Callable[..., object]) -> pd.DataFrame:
    frame = pd.DataFrame(
        {
            "age": random.normal(40, 10, count),
            "visits": random.poisson(3, count).astype("float64"),
            "noise": random.normal(0, 1, count),
            "city": random.choice(CITIES, count, p=[0.4, 0.3, 0.2, 0.1]),
        }
    )
    for name, change in changes.items():
        frame[name] = change(frame[name])
    truth = LinearModel().score_numpy(dict(frame.items()))["prediction"]
    return frame.assign(**{LABEL: truth + random.normal(0, 3, count)})


def judged(before: pd.DataFrame, now: pd.DataFrame, seed: int, **keys: object) -> Judgement:
    params = MonitorParams.model_validate({"resamples": 199, **keys})
    model: object = LinearModel()
    return judge_window(model, "rmse", before, now, params, seed)  # type: ignore[arg-type]


def false_alarms(windows: int) -> tuple[int, int]:
    """Windows with an alarm, and how many there were."""
    random = np.random.default_rng(5)
    alarms = 0
    for seed in range(windows):
        alarms += bool(judged(rows(400, random), rows(150, random), seed, resamples=119).alarms)
    return alarms, windows


def test_forty_windows_without_a_change_have_few_alarms() -> None:
    alarms, _ = false_alarms(40)
    assert alarms <= 7, "2 are expected; more than 7 happen in 1 of 1,000 such tests"


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_a_thousand_windows_without_a_change_have_alarms_at_their_level(
    tell: Callable[[str], None],
) -> None:
    alarms, windows = false_alarms(1_000)
    tell(f"{alarms} alarms in {windows} windows at the level 0.05")
    assert 30 <= alarms <= 70


PLANTED: dict[str, Callable[..., object]] = {
    "age": lambda each: each + 3,
    "visits": lambda each: each + 0.55,
    "city": lambda each: each.where(np.arange(len(each)) % 20 > 0, "new"),
}


@pytest.mark.parametrize("feature", ["age", "visits"])
def test_a_planted_change_of_a_third_of_a_deviation_is_found_and_named(feature: str) -> None:
    random = np.random.default_rng(1)
    named = 0
    for seed in range(20):
        now = rows(1_000, random, **{feature: PLANTED[feature]})
        found = judged(rows(2_000, random), now, seed)
        assert "drift" in found.alarms, found.note
        named += found.main_feature == feature
    assert named >= 19


def test_a_new_category_of_five_percent_is_found() -> None:
    random = np.random.default_rng(2)
    found = judged(rows(2_000, random), rows(1_000, random, city=PLANTED["city"]), 0)
    assert "drift" in found.alarms
    assert found.drift is not None
    assert found.drift.features[0].feature == "city"


def test_a_change_without_an_effect_on_scores_is_not_the_one_named() -> None:
    random = np.random.default_rng(3)
    now = rows(1_000, random, noise=lambda each: each + 2, visits=lambda each: each + 1)
    found = judged(rows(2_000, random), now, 0)
    assert found.drift is not None
    assert found.drift.features[0].feature == "noise", "it changed most"
    assert found.main_feature == "visits", "it moved the scores"


def test_worse_labels_are_an_alarm_of_quality_alone() -> None:
    random = np.random.default_rng(4)
    now = rows(1_000, random)
    now[LABEL] += random.normal(0, 2, len(now))
    found = judged(rows(2_000, random), now, 0)
    assert found.alarms == ("quality",)
    assert found.quality is not None
    assert found.quality.now > found.quality.before
    assert found.main_feature is None


def test_few_rows_and_missing_labels_are_said_and_no_alarm() -> None:
    random = np.random.default_rng(6)
    before = rows(500, random)
    empty = judged(before, rows(0, random), 0)
    assert (empty.alarms, empty.note) == ((), "0 rows, fewer than 30: not judged")
    untested = judged(rows(0, random), before, 0)
    assert untested.alarms == ()
    assert untested.note == "the test part of the training version has no rows: not judged"
    unlabelled = judged(before, rows(500, random).assign(**{LABEL: np.nan}), 0)
    assert unlabelled.quality is None
    assert unlabelled.labels == 0
    assert "0 labels, fewer than 30: quality is not known" in unlabelled.note


def test_measures_equal_those_of_scipy() -> None:
    random = np.random.default_rng(7)
    values = random.integers(0, 8, 900).astype("float64")
    before, after = pd.DataFrame({"x": values[:600]}), pd.DataFrame({"x": values[600:]})
    (found,) = compare_inputs(before, after, 100, 0).features
    assert found.measure == pytest.approx(ks_2samp(before["x"], after["x"]).statistic)
    texts = before.assign(x=before["x"].astype(str)), after.assign(x=after["x"].astype(str))
    (found,) = compare_inputs(*texts, 100, 0).features
    counts = [each["x"].value_counts().sort_index() for each in texts]
    statistic = chi2_contingency(pd.concat(counts, axis=1).fillna(0), correction=False).statistic
    # Pearson's sum over both sides is that of the window, times all rows by those before.
    assert found.measure * 300 * 900 / 600 == pytest.approx(statistic)


def test_nulls_infinities_and_new_kinds_of_values_are_compared() -> None:
    before = pd.DataFrame({"x": [1.0, 2.0, np.nan, np.inf] * 50, "y": ["a", None, "b", "c"] * 50})
    after = pd.DataFrame({"x": [np.nan] * 100, "y": [None] * 100, "z": [1] * 100})
    found = compare_inputs(before, after, 100, 0)
    assert {each.feature for each in found.features} == {"x", "y"}
    assert found.p_value < 0.02
    constant = pd.DataFrame({"x": [1.0] * 100})
    assert compare_inputs(constant, constant, 100, 0).p_value == 1.0


def test_one_class_has_no_auc_and_is_no_alarm() -> None:
    truth = np.array(["no"] * 50, dtype=object)
    scored = Scored(truth, truth, np.tile([0.9, 0.1], (50, 1)), ("no", "yes"))
    assert compare_quality("roc_auc", scored, scored, 0.05, 50, 0) is None


def test_moved_scores_are_those_of_the_weights() -> None:
    random = np.random.default_rng(8)
    before = rows(4_000, random).drop(columns=LABEL)
    after = before.assign(visits=before["visits"] + 1)
    model = LinearModel()
    moved = moved_scores(
        lambda frame: model.score_numpy(dict(frame.items()))["prediction"].reshape(-1, 1),
        before,
        after,
        0,
    )
    assert moved["visits"] == pytest.approx(2, abs=0.1)
    assert moved["noise"] == 0


def test_a_feature_that_is_gone_and_leaves_no_score_is_the_one_named() -> None:
    random = np.random.default_rng(9)
    now = rows(500, random).assign(visits=np.nan)
    found = judged(rows(1_000, random), now, 0)
    assert found.alarms == ("drift",)
    assert found.main_feature == "visits"
    assert found.quality is None
    before = rows(100, random)
    scores = np.column_stack([np.full(100, np.nan), np.ones(100)])
    assert set(moved_scores(lambda _: scores, before, before, 0).values()) == {0.0}
