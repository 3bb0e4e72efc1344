"""A search whose fit is a formula; as a program, one that a test kills."""

import math
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matchlake.recommender.als.params import AlsParams
from matchlake.search.journal import Journal
from matchlake.search.params import SearchParams
from matchlake.search.space import check_space
from matchlake.search.study import Hooks, Report, Result, Search, run_search
from matchlake.search.target import FieldsTarget

SPACE: dict[str, Any] = {
    "rank": {"low": 8, "high": 128},
    "regularization": {"low": 1e-4, "high": 1.0, "log": True},
    "solver": ["cholesky", "cg"],
    "cg_steps": {"low": 1, "high": 5, "when": {"solver": ["cg"]}},
}


def loss(values: Mapping[str, Any], report: Report | None = None) -> float:
    """Smallest at rank 40 and regularization 0.03, with `cholesky`."""
    del report
    extra = 0.1 * values.get("cg_steps", 0)
    near = math.log(values["regularization"] / 0.03) ** 2 + ((values["rank"] - 40) / 30) ** 2
    return near + extra


def search_of(*, maximize: bool = False, **params: Any) -> Search:
    """A search of the space of ALS."""
    chosen = SearchParams.model_validate({"space": SPACE, **params})
    space = check_space(chosen.space, FieldsTarget(AlsParams()))
    return Search(space, chosen, maximize)


def run(folder: Path, objective: Any = loss, hooks: Hooks | None = None, **params: Any) -> Result:
    """Runs or continues the search whose journal is in `folder`."""
    return run_search(objective, search_of(**params), Journal(folder / "j.jsonl", "a"), hooks)


def main() -> None:
    """Runs a search slowly, and says the number of each trial once it is in the journal."""
    folder, parallel, trials = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])

    def slow(values: Mapping[str, Any], report: Report) -> float:
        time.sleep(0.004)
        return loss(values, report)

    hooks = Hooks(finished=lambda trial: print(trial.number, flush=True))  # noqa: T201
    run(folder, slow, hooks, seed=5, parallel=parallel, trials=trials)


if __name__ == "__main__":
    main()
