"""Runs a search and logs its trials as child runs of MLflow and in `gold.trials`."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from matchlake.io.delta import Lakehouse
from matchlake.io.job_tags import cancel_jobs, job_tag
from matchlake.io.mlflow_children import Child
from matchlake.io.mlflow_tracking import Run
from matchlake.search.journal import Journal
from matchlake.search.plots import search_plots
from matchlake.search.space import value_text
from matchlake.search.study import Hooks, Objective, Report, Result, Search, run_search
from matchlake.search.trial import TRIALS, Trial, trial_rows

_log = logging.getLogger(__name__)

_EVERY = 20
"""The number of trials between two writes of `gold.trials`."""


@dataclass
class TrialLog:
    """Logs the trials of one search.

    A trial is first written to the journal. After a crash, trials that are missing or incomplete in
    MLflow are logged again, and the table gets all rows.
    """

    lake: Lakehouse
    run: Run
    journal: Journal
    search: Search
    metric: str
    """The metric of the search."""
    _waiting: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self._children = self.run.children(self.journal.search_id)

    def run_search(self, objective: Objective) -> Mapping[str, Any]:
        """Runs the trials and logs them; returns the hyperparameters of the best one.

        If a trial exceeds its time, its Spark jobs are cancelled. Raises FitError if all trials
        fail.
        """
        spark = self.lake.spark

        def tag(number: int) -> str:
            return f"matchlake-{self.journal.search_id}-trial-{number}"

        def tagged(values: Mapping[str, Any], report: Report) -> float:
            with job_tag(spark, tag(report.number)):
                return objective(values, report)

        hooks = Hooks(self.finished, cancel=lambda number: cancel_jobs(spark, tag(number)))
        with self._open():
            found = run_search(tagged, self.search, self.journal, hooks)
        self._log_result(found)
        return found.best.values

    @contextmanager
    def _open(self) -> Iterator[None]:
        """Logs what an earlier run left out.

        At the end, also after errors, writes the last rows.
        """
        if self.journal.trials:
            logged = self._children.finished()
            for trial in self.journal.trials:
                if _name(trial) not in logged:
                    self._children.log(self._child(trial))
        try:
            yield
        finally:
            self._write()

    def finished(self, trial: Trial) -> None:
        """Logs a trial that is in the journal."""
        self._children.log(self._child(trial))
        self._waiting += 1
        if self._waiting >= _EVERY:
            self._write()

    def _log_result(self, result: Result) -> None:
        """Logs the plots and the best hyperparameters to the run itself."""
        search = self.search
        figures = search_plots(result.trials, search.space, self.metric, maximize=search.maximize)
        for file, figure in figures.items():
            self.run.log_figure(figure, file)
        best = {name: value_text(value) for name, value in result.best.values.items()}
        self.run.log_params({"best": {"trial": result.best.number, **best}})
        value = {} if result.best.value is None else {"search/best": result.best.value}
        self.run.log_metrics({"search/trials": len(result.trials), **value})

    def _child(self, trial: Trial) -> Child:
        value = {} if trial.value is None else {self.metric: trial.value}
        return Child(
            name=_name(trial),
            started_at=trial.started_at,
            seconds=trial.seconds,
            params={name: value_text(each) for name, each in trial.values.items()},
            metrics=value if trial.state == "complete" else {},
            steps={"progress": tuple(trial.reports)} if trial.reports else {},
            failure=trial.reason if trial.state == "failed" else None,
            tags={"state": trial.state},
        )

    def _write(self) -> None:
        """Writes all trials so far; existing rows of the table are not written again."""
        self._waiting = 0
        trials = self.journal.trials
        if not trials:
            return
        names = {
            "model": self.run.model,
            "search_id": self.journal.search_id,
            "metric": self.metric,
            "run_id": self.run.run_id,
        }
        rows = trial_rows(trials, names, maximize=self.search.maximize)
        self.lake.merge(self.lake.frame(rows, TRIALS), TRIALS, retry_on_conflict=True)
        _log.debug("%s has %d trials of the search", TRIALS.name, len(rows))


def _name(trial: Trial) -> str:
    return f"trial {trial.number}"
