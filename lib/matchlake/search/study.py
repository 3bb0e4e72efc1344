"""Runs a search: trials run in threads, and each result is in the journal at once.

A trial is a thread that starts Spark jobs, or fits in this process. The thread that calls
`run_search` proposes trials, writes the journal and reports. The other threads only fit.
"""

import logging
import math
import queue
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, NamedTuple

from matchlake.errors import FitError
from matchlake.search.journal import Journal
from matchlake.search.params import SearchParams
from matchlake.search.proposals import proposals_of
from matchlake.search.pruning import MedianRule, Pruned
from matchlake.search.space import Space, values_text
from matchlake.search.trial import Proposal, Trial, best_of

_log = logging.getLogger(__name__)

_LONGEST_REASON = 500


class Report:
    """The callback by which the fit of a trial reports its progress."""

    def __init__(self, number: int, rule: MedianRule, *, prune: bool) -> None:
        self.number = number
        self._rule, self._prune = rule, prune

    def __call__(self, step: int, value: float) -> None:
        """Takes the metric after a step; raises Pruned if the trial should end."""
        if not math.isfinite(value):
            return
        reason = self._rule.report(self.number, step, value)
        if reason is not None and self._prune:
            raise Pruned(reason)


Objective = Callable[[Mapping[str, Any], Report], float]
"""Fits with the given hyperparameters, and returns the metric on the validation part."""


def _nothing(_: Any) -> None:
    """Does nothing."""


@dataclass(frozen=True)
class Hooks:
    """Callbacks of a search, called in the thread of `run_search`."""

    finished: Callable[[Trial], None] = _nothing
    """Called with each trial, after it is in the journal."""
    cancel: Callable[[int], None] = _nothing
    """Called with the number of a trial that exceeds its time, to stop its Spark jobs."""


@dataclass(frozen=True)
class Search:
    """A search: its space, its parameters, and whether a larger metric is better."""

    space: Space
    params: SearchParams
    maximize: bool


@dataclass(frozen=True)
class Result:
    """The trials of a search, in the order in which they ended, and the best one."""

    trials: tuple[Trial, ...]
    best: Trial
    reason: str
    """The reason why the search ended."""


class _Outcome(NamedTuple):
    number: int
    value: float | None
    error: Exception | None


@dataclass
class _Running:
    proposal: Proposal
    began: float
    started_at: datetime = field(default_factory=lambda: datetime.now(UTC))


def run_search(
    objective: Objective, search: Search, journal: Journal, hooks: Hooks | None = None
) -> Result:
    """Runs the trials that are not in the journal yet, and returns all trials.

    A trial fails if it raises, returns NaN or infinity, or exceeds `trial_seconds`. The trial has
    the reason. Raises FitError if all trials have failed, and ParameterError for an impossible
    grid.
    """
    return _Study(objective, search, journal, hooks or Hooks()).run()


class _Study:
    """The state of a running search."""

    def __init__(
        self, objective: Objective, search: Search, journal: Journal, hooks: Hooks
    ) -> None:
        self._objective, self._params, self._journal = objective, search.params, journal
        self._hooks, self._maximize = hooks, search.maximize
        self._proposals = proposals_of(search.space, search.params, maximize=search.maximize)
        self._rule = MedianRule(maximize=search.maximize)
        self._outcomes: queue.SimpleQueue[_Outcome] = queue.SimpleQueue()
        self._running: dict[int, _Running] = {}
        self._best: Trial | None = None
        self._since_best = 0
        self._before = max((each.elapsed for each in journal.trials), default=0.0)
        self._began = time.monotonic()

    def run(self) -> Result:
        if self._params.kind == "grid":
            _log.info("the grid has %d combinations", self._proposals.total)
        if self._journal.trials:
            _log.info("the search continues after %d trials", len(self._journal.trials))
            self._proposals.restore(self._journal.trials)
            for trial in self._journal.trials:
                self._count(trial)
        reason = None
        while True:
            while reason is None and len(self._running) < self._params.parallel:
                reason = self._limit() or self._start()
            if not self._running:
                break
            self._wait()
        return self._result(reason or "")

    def _limit(self) -> str | None:
        """Returns why no further trial starts; None if one may start."""
        params = self._params
        if params.seconds is not None and self._elapsed() >= params.seconds:
            return f"{params.seconds:g} seconds have passed"
        if params.no_improvement is not None and self._since_best >= params.no_improvement:
            return f"{self._since_best} trials in a row were not better"
        return None

    def _start(self) -> str | None:
        """Starts the next trial; returns why there is none."""
        proposal = self._proposals.ask()
        if proposal is None:
            return f"all {self._proposals.total} trials have run"
        self._running[proposal.number] = _Running(proposal, time.monotonic())
        # The thread is a daemon, so that a fit that hangs cannot keep the process alive.
        threading.Thread(
            target=self._fit, args=(proposal,), name=f"trial-{proposal.number}", daemon=True
        ).start()
        return None

    def _fit(self, proposal: Proposal) -> None:
        report = Report(proposal.number, self._rule, prune=self._params.prune)
        try:
            value = float(self._objective(proposal.values, report))
        except Exception as error:  # noqa: BLE001 - whatever a fit raises is the trial's reason
            self._outcomes.put(_Outcome(proposal.number, None, error))
        else:
            self._outcomes.put(_Outcome(proposal.number, value, None))

    def _wait(self) -> None:
        """Waits until a trial ends or exceeds its time."""
        limit = self._params.trial_seconds
        oldest = min(self._running.values(), key=lambda each: each.began)
        left = None if limit is None else max(0.0, oldest.began + limit - time.monotonic())
        try:
            outcome = self._outcomes.get(timeout=left)
        except queue.Empty:
            number = oldest.proposal.number
            reason = f"it took longer than search.trial_seconds, {limit:g}"
            self._finish(number, "failed", None, reason)
            self._hooks.cancel(number)
            return
        if outcome.number not in self._running:
            return  # the trial ended after its time limit
        if isinstance(outcome.error, Pruned):
            reports = self._rule.reports(outcome.number)
            self._finish(outcome.number, "pruned", reports[-1][1], str(outcome.error))
        elif outcome.error is not None:
            self._finish(outcome.number, "failed", None, _reason(outcome.error))
        elif outcome.value is None or not math.isfinite(outcome.value):
            self._finish(outcome.number, "failed", None, f"the metric is {outcome.value}")
        else:
            self._finish(outcome.number, "complete", outcome.value, None)

    def _finish(self, number: int, state: Any, value: float | None, reason: str | None) -> None:
        running = self._running.pop(number)
        now = time.monotonic()
        trial = Trial(
            number,
            running.proposal.values,
            state,
            running.started_at,
            now - running.began,
            self._elapsed(),
            value=value,
            reason=reason,
            reports=self._rule.reports(number),
        )
        self._proposals.tell(trial)
        self._journal.add(trial)
        self._count(trial)
        self._log_trial(trial)
        self._hooks.finished(trial)

    def _count(self, trial: Trial) -> None:
        """Updates the best trial, and the median of the pruning rule."""
        if trial.state == "complete":
            self._rule.complete(tuple(trial.reports))
        before = self._best
        known = [each for each in (before, trial) if each is not None]
        self._best = best_of(known, maximize=self._maximize)
        self._since_best = 0 if self._best is not before else self._since_best + 1

    def _log_trial(self, trial: Trial) -> None:
        """Logs the trial on one line."""
        best = self._best
        so_far = "" if best is None else f"; best {best.value:.6g} of trial {best.number}"
        what = f"{trial.value:.6g}" if trial.state == "complete" else f"{trial.state}"
        more = "" if trial.reason is None else f" ({trial.reason})"
        _log.log(
            logging.WARNING if trial.state == "failed" else logging.INFO,
            "trial %d, %d of %d: %s: %s%s in %.1f s%s",
            *(trial.number, len(self._journal.trials), self._proposals.total),
            *(values_text(trial.values), what, more, trial.seconds, so_far),
        )

    def _result(self, reason: str) -> Result:
        trials = tuple(self._journal.trials)
        if self._best is None:
            cause = next((each for each in trials if each.state == "failed"), None)
            told = "none has run" if cause is None else f"the first: {cause.reason}"
            values = "" if cause is None else f" with {values_text(cause.values)}"
            raise FitError(
                f"All {len(trials)} trials of the search failed; {told}{values}. Change the space, "
                "or the parameters outside of it."
            )
        best = replace(self._best)
        _log.info(
            "the search ends: %s. Best of %d trials: %.6g with %s",
            *(reason, len(trials), best.value, values_text(best.values)),
        )
        return Result(trials, best, reason)

    def _elapsed(self) -> float:
        return self._before + time.monotonic() - self._began


def _reason(error: Exception) -> str:
    """Returns the type and the first line of an error."""
    text = str(error).strip().partition("\n")[0][:_LONGEST_REASON]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
