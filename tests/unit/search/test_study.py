"""Searches whose fit is a formula: against Optuna, failures, limits, pruning."""

import math
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import optuna
import pytest
from tests.support.searches import loss, run

from matchlake.errors import FitError, ParameterError
from matchlake.learners.params import CustomParams
from matchlake.search.journal import Journal
from matchlake.search.params import SearchParams
from matchlake.search.space import check_space
from matchlake.search.study import Hooks, Report, Result, Search, run_search
from matchlake.search.target import TrainerTarget


def by_optuna(sampler: optuna.samplers.BaseSampler, trials: int) -> list[dict[str, Any]]:
    """The parameters of the trials of Optuna's own loop over the same space."""

    def objective(trial: optuna.Trial) -> float:
        trial.suggest_int("rank", 8, 128)
        trial.suggest_float("regularization", 1e-4, 1.0, log=True)
        if trial.suggest_categorical("solver", ["cholesky", "cg"]) == "cg":
            trial.suggest_int("cg_steps", 1, 5)
        return loss(trial.params)

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=sampler)
    study.optimize(objective, n_trials=trials)
    return [trial.params for trial in study.trials]


@pytest.mark.parametrize("kind", ["probabilistic", "random"])
def test_one_trial_at_a_time_is_optunas_own_loop_to_the_bit(tmp_path: Path, kind: str) -> None:
    samplers = {
        "probabilistic": optuna.samplers.TPESampler(seed=3),
        "random": optuna.samplers.RandomSampler(seed=3),
    }
    found = run(tmp_path, kind=kind, trials=50, seed=3)
    assert [dict(trial.values) for trial in found.trials] == by_optuna(samplers[kind], 50)
    assert found.best.value == min(loss(trial.values) for trial in found.trials)


def test_the_largest_metric_is_the_best_where_larger_is_better(tmp_path: Path) -> None:
    found = run(tmp_path, lambda values, _: values["rank"], maximize=True, trials=30)
    assert found.best.value == max(trial.values["rank"] for trial in found.trials)


def test_a_grid_runs_every_combination_in_parallel(tmp_path: Path) -> None:
    space = {"rank": [8, 16, 32], "nu": {"low": 0, "high": 1, "step": 0.25}}
    together, lock, most = set(), threading.Lock(), 0

    def objective(values: Mapping[str, Any], _: Report) -> float:
        nonlocal most
        with lock:
            together.add(threading.get_ident())
            most = max(most, len(together))
        time.sleep(0.01)
        with lock:
            together.discard(threading.get_ident())
        return float(values["rank"] * values["nu"])

    found = run(tmp_path, objective, kind="grid", space=space, parallel=3)
    assert {trial.number for trial in found.trials} == set(range(15))
    assert len({tuple(trial.values.items()) for trial in found.trials}) == 15
    assert most == 3
    assert found.reason == "all 15 trials have run"


def test_a_failed_trial_has_its_reason_and_the_search_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bad = {0: ValueError("no memory\nmore"), 1: math.nan, 2: math.inf, 3: KeyError()}

    def objective(values: Mapping[str, Any], report: Report) -> float:
        found = bad.get(report.number, loss(values))
        if isinstance(found, Exception):
            raise found
        return found

    found = run(tmp_path, objective, trials=6)
    reasons = {trial.number: trial.reason for trial in found.trials if trial.state == "failed"}
    assert reasons == {
        0: "ValueError: no memory",
        1: "the metric is nan",
        2: "the metric is inf",
        3: "KeyError",
    }
    assert found.best.number in (4, 5)
    assert "failed (ValueError: no memory)" in caplog.text


def test_all_trials_failing_is_an_error_with_the_first_reason(tmp_path: Path) -> None:
    def objective(_: Mapping[str, Any], report: Report) -> float:
        raise RuntimeError(f"broken {report.number}")

    with pytest.raises(FitError, match=r"All 3 trials .*failed; the first: RuntimeError: broken 0"):
        run(tmp_path, objective, trials=3, parallel=2)


def test_a_trial_that_hangs_fails_and_its_jobs_are_cancelled(tmp_path: Path) -> None:
    release, cancelled = threading.Event(), []

    def objective(values: Mapping[str, Any], report: Report) -> float:
        if report.number == 1:
            release.wait(20)
        return loss(values)

    began = time.monotonic()
    hooks = Hooks(cancel=cancelled.append)
    found = run(tmp_path, objective, hooks, trials=4, trial_seconds=0.3)
    release.set()
    assert time.monotonic() - began < 10
    assert cancelled == [1]
    states = {trial.number: trial.state for trial in found.trials}
    assert states == {0: "complete", 1: "failed", 2: "complete", 3: "complete"}
    reason = next(trial.reason for trial in found.trials if trial.number == 1)
    assert reason == "it took longer than search.trial_seconds, 0.3"


def test_the_budget_may_be_seconds_or_no_improvement(tmp_path: Path) -> None:
    def slow(values: Mapping[str, Any], _: Report) -> float:
        time.sleep(0.05)
        return loss(values)

    found = run(tmp_path / "a", slow, kind="random", trials=1000, seconds=0.3)
    assert 2 <= len(found.trials) <= 8
    assert found.reason == "0.3 seconds have passed"
    found = run(tmp_path / "b", lambda _, report: float(report.number), no_improvement=4)
    assert [trial.number for trial in found.trials] == [0, 1, 2, 3, 4]
    assert found.reason == "4 trials in a row were not better"


def pruned(folder: Path, **params: Any) -> Result:
    """Fits of three steps; the even trials are twice as bad from the first step on."""

    def objective(_: Mapping[str, Any], report: Report) -> float:
        value = 2.0 if report.number % 2 == 0 else 1.0
        for step in range(3):
            report(step, value / (step + 1))
        return value / 3

    return run(folder, objective, trials=20, **params)


def test_a_trial_below_the_median_is_pruned(tmp_path: Path) -> None:
    found = pruned(tmp_path / "a", prune=True)
    states = [trial.state for trial in found.trials]
    assert states[:5] == ["complete"] * 5
    # The median of five is that of three bad and two good trials; a bad one is not worse than it.
    assert states[8::2] == ["pruned"] * 6
    late = found.trials[8]
    assert (late.value, [step for step, _ in late.reports]) == (2.0, [0])
    assert late.reason is not None
    assert late.reason.startswith("pruned at step 0: 2 against the median")
    assert {trial.state for trial in found.trials[1::2]} == {"complete"}
    assert {trial.state for trial in pruned(tmp_path / "b").trials} == {"complete"}


def test_lists_may_hold_null_and_lists(tmp_path: Path) -> None:
    params = SearchParams.model_validate(
        {"space": {"layers": [None, [8], [8, 4]]}, "trials": 12, "seed": 1}
    )
    space = check_space(params.space, TrainerTarget(CustomParams(function="a:b"), "regression"))

    def objective(values: Mapping[str, Any], _: Report) -> float:
        return -float(len(values["layers"] or ()))

    for _ in range(2):  # the second time from the journal
        found = run_search(
            objective, Search(space, params, maximize=False), Journal(tmp_path / "j.jsonl", "a")
        )
        assert found.best.values == {"layers": [8, 4]}
        assert len(found.trials) == 12


def test_without_optuna_only_a_grid_is_possible(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "matchlake.search.optuna_study", raising=False)
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(ParameterError, match=r"pip install 'matchlake\[search\]'"):
        run(tmp_path, trials=2)
    assert run(tmp_path, kind="grid", space={"rank": [8, 9], "regularization": [0.1]}).best
