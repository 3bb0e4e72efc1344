"""Rows of bench_experiments on searches: equality with Optuna, overhead, what a search finds."""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import optuna
import pandas as pd
from tests.benchmarks.accuracy_data import ml_100k
from tests.benchmarks.marks import Claim
from tests.support.searches import loss, run

from matchlake import AlsParams, RankingParams, fit_als, ranking_metrics
from matchlake.io.mlflow_children import Child, ChildRuns
from matchlake.io.mlflow_tracking import Tracker
from matchlake.io.params import TrackingParams
from matchlake.search.study import Hooks, Report
from matchlake.search.trial import Trial

TRIALS, EQUAL = 200, 50
ALS_SPACE: dict[str, Any] = {
    "rank": {"low": 8, "high": 96},
    "regularization": {"low": 1e-4, "high": 0.3, "log": True},
    "unobserved_weight": {"low": 1e-3, "high": 1.0, "log": True},
    "alpha": {"low": 0.3, "high": 30.0, "log": True},
    "nu": {"low": 0.0, "high": 1.0},
}


def search_equality(options: argparse.Namespace) -> dict[str, Any]:
    """Trials, one at a time, whose parameters differ from those of Optuna's own loop."""
    del options
    optuna.logging.set_verbosity(optuna.logging.WARNING)

    def objective(trial: optuna.Trial) -> float:
        trial.suggest_int("rank", 8, 128)
        trial.suggest_float("regularization", 1e-4, 1.0, log=True)
        if trial.suggest_categorical("solver", ["cholesky", "cg"]) == "cg":
            trial.suggest_int("cg_steps", 1, 5)
        return loss(trial.params)

    other = 0
    for seed in range(5):
        study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=seed))
        study.optimize(objective, n_trials=EQUAL)
        with tempfile.TemporaryDirectory() as folder:
            found = run(Path(folder), trials=EQUAL, seed=seed)
        pairs = zip(found.trials, study.trials, strict=True)
        other += sum(dict(ours.values) != theirs.params for ours, theirs in pairs)
    return {"trials": 5 * EQUAL, "other": other}


def search_overhead(options: argparse.Namespace) -> dict[str, Any]:
    """Milliseconds of a trial without its fit: journal alone, and with a child run of MLflow."""
    plain, tracked = [], []
    for _ in range(options.rounds):
        plain.append(_overhead(lambda _: None))
        with tempfile.TemporaryDirectory() as folder:
            tracker = Tracker(TrackingParams(), folder)
            with tracker.run("search") as active:
                tracked.append(_overhead(partial(_log, active.children("bench"))))
    return {"trials": TRIALS, "plain": _middle(plain), "mlflow": _middle(tracked)}


def _overhead(finished: Callable[[Trial], None]) -> dict[str, float]:
    """Of one search: milliseconds of a trial around trial 200, and last 50 against first 50.

    The growth is that of CPU time, which does not depend on what else the machine does.
    """
    clocks = (time.perf_counter, time.process_time)
    ends: list[tuple[float, ...]] = []

    def note(trial: Trial) -> None:
        finished(trial)
        ends.append(tuple(clock() for clock in clocks))

    with tempfile.TemporaryDirectory() as folder:
        begin = tuple(clock() for clock in clocks)
        run(Path(folder), hooks=Hooks(finished=note), trials=TRIALS, seed=1)
    wall, cpu = (
        [1000 * (after[i] - before[i]) for before, after in zip([begin, *ends], ends, strict=False)]
        for i in range(len(clocks))
    )
    first, last = (sum(part) / len(part) for part in (cpu[:50], cpu[-50:]))
    return {
        "ms_at_200": statistics.median(wall[-50:]),
        "cpu_ms_at_200": statistics.median(cpu[-50:]),
        "growth": last / first,
    }


def _middle(found: list[dict[str, float]]) -> dict[str, float]:
    return {key: round(statistics.median(each[key] for each in found), 3) for key in found[0]}


def _log(children: ChildRuns, trial: Trial) -> None:
    params = {name: str(value) for name, value in trial.values.items()}
    name, metrics = f"trial {trial.number}", {"loss": trial.value or 0.0}
    children.log(Child(name, trial.started_at, trial.seconds, params, metrics))


def search_quality(options: argparse.Namespace) -> dict[str, Any]:
    """NDCG at 10 of ALS on ml-100k: TPE's best of 30 trials, random's best of 60, mean of seeds."""
    train, test = ml_100k().parts(1)
    train, test = (
        part.rename(columns={"rating": "weight"})[["user_id", "item_id", "weight"]]
        for part in (train, test)
    )
    best = {
        kind: [_best(train, test, kind, trials, seed) for seed in range(options.seeds)]
        for kind, trials in (("probabilistic", 30), ("random", 60))
    }
    mean = {kind: sum(values) / len(values) for kind, values in best.items()}
    return {
        "best": best,
        "mean": mean,
        "difference": mean["probabilistic"] - mean["random"],
        "default": _ndcg(train, test, AlsParams()),
    }


def _best(
    train: pd.DataFrame, test: pd.DataFrame, kind: str, trials: int, seed: int
) -> float | None:
    def objective(values: Mapping[str, Any], _: Report) -> float:
        return _ndcg(train, test, AlsParams(**values))

    with tempfile.TemporaryDirectory() as folder:
        found = run(
            Path(folder), objective, space=ALS_SPACE, kind=kind, trials=trials, seed=seed,
            maximize=True,
        )  # fmt: skip
    return found.best.value


def _ndcg(train: pd.DataFrame, test: pd.DataFrame, params: AlsParams) -> float:
    model = fit_als(train, params)
    lists = model.recommend_items(test[["user_id"]].drop_duplicates(), 10, exclude_seen=train)
    rows = ranking_metrics(lists, test, RankingParams(ks=(10,)))
    return float(rows.query("metric == 'ndcg'")["value"].iloc[0])


ROWS = {
    "search_equality": search_equality,
    "search_overhead": search_overhead,
    "search_quality": search_quality,
}
CLAIMS = {
    "search_equality": (
        Claim(
            "search: trials with other parameters, of 5 times 50, one at a time",
            "Optuna's own loop",
            0,
            "lower",
            ("search_equality", "other"),
        ),
    ),
    "search_overhead": tuple(
        Claim(work, "none", mark, "lower", ("search_overhead", side, figure))
        for work, mark, side, figure in (
            ("search: milliseconds of trial 200 without its fit", 60, "plain", "ms_at_200"),
            ("search: the same with a child run in MLflow", 150, "mlflow", "ms_at_200"),
            (
                "search: CPU time of the last 50 trials / first 50, with MLflow",
                1.2,
                "mlflow",
                "growth",
            ),
        )
    ),
    "search_quality": (
        Claim(
            "ALS on ml-100k: NDCG at 10, TPE's best of 30 minus random's best of 60",
            "random search",
            0,
            "higher",
            ("search_quality", "difference"),
        ),
    ),
}
