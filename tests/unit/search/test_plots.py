"""The pictures of a search, and the importance of its hyperparameters."""

from pathlib import Path

import numpy as np
import pytest
from tests.support.searches import run, search_of

from matchlake.search.plots import importances, search_plots


def test_the_pictures_of_a_search(tmp_path: Path) -> None:
    def objective(values: dict[str, float], _: object) -> float:
        if values["rank"] > 60:
            raise ValueError("too large")
        return -abs(values["rank"] - 40.0)

    found = run(tmp_path, objective, maximize=True, trials=40, seed=2)
    space = search_of().space
    assert {trial.state for trial in found.trials} == {"complete", "failed"}
    plots = search_plots(found.trials, space, "ndcg_at_10", maximize=True)
    assert list(plots) == [
        *("search/1_trials.png", "search/2_parallel_coordinates.png", "search/3_importance.png")
    ]
    (score,) = plots["search/1_trials.png"].axes
    best = score.lines[0].get_ydata()
    assert (np.diff(best) >= 0).all()
    assert best[-1] == found.best.value
    lines = plots["search/2_parallel_coordinates.png"].axes[0].lines
    complete = [trial for trial in found.trials if trial.state == "complete"]
    assert len(lines) == len(complete) + len(space.dimensions)
    failed = [trial for trial in found.trials if trial.state == "failed"]
    assert list(search_plots(failed, space, "ndcg_at_10", maximize=True)) == list(plots)[:1]
    for name, figure in plots.items():
        figure.savefig(tmp_path / Path(name).name)


def test_what_decides_the_metric_is_the_most_important(tmp_path: Path) -> None:
    found = run(tmp_path, lambda values, _: float(values["rank"]), kind="random", trials=200)
    shares = importances(found.trials, search_of().space)
    assert next(iter(shares)) == "rank"
    assert shares["rank"] > 0.9
    assert max(shares["regularization"], shares["cg_steps"], shares["solver"]) < 0.1


def test_the_share_is_epsilon_squared(tmp_path: Path) -> None:
    space = {"solver": ["cholesky", "cg"]}
    values = {"cholesky": iter([1.0, 2.0, 3.0] * 9), "cg": iter([4.0, 5.0, 9.0] * 9)}
    found = run(
        tmp_path, lambda chosen, _: next(values[chosen["solver"]]), space=space,
        kind="random", trials=12, seed=1,
    )  # fmt: skip
    groups = [[t.value for t in found.trials if t.values["solver"] == name] for name in values]
    total = np.concatenate(groups)
    within = sum(np.var(each) * len(each) for each in groups) / (len(total) - 2)
    expected = 1 - within / np.var(total, ddof=1)
    shares = importances(found.trials, search_of(space=space).space)
    assert shares["solver"] == pytest.approx(expected, rel=1e-12)
