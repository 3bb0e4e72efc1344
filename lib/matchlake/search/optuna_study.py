"""Optuna's samplers for a search: one study in memory, used by `ask` and `tell`.

Optuna's storages read all trials at each step, so a search becomes slower with each trial. Here the
journal is the storage, and a resumed search rebuilds the study from the journal.
"""

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.trial import TrialState, create_trial

from matchlake.search.params import SearchParams
from matchlake.search.space import Dimension, Space
from matchlake.search.trial import Proposal, Trial

_log = logging.getLogger(__name__)

_STATES = {
    "complete": TrialState.COMPLETE,
    "pruned": TrialState.PRUNED,
    "failed": TrialState.FAIL,
}
_PLAIN = (bool, int, float, str, type(None))


class OptunaProposals:
    """Proposes trials by Optuna's TPE or random sampler."""

    def __init__(self, space: Space, params: SearchParams, *, maximize: bool) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.total = self._end = params.trial_count
        self._space, self._params = space, params
        self._direction: Literal["maximize", "minimize"] = "maximize" if maximize else "minimize"
        self._asked: dict[int, optuna.Trial] = {}
        self._lists = {each.name: _by_choice(each) for each in space.dimensions}
        self._next = 0
        self._study = self._new_study(params.seed)

    def ask(self) -> Proposal | None:
        """The next trial; None after the last one."""
        if self._next >= self._end:
            return None
        trial = self._study.ask()
        chosen: dict[str, Any] = {}
        for dimension in self._space.dimensions:
            if dimension.is_active(chosen):
                chosen[dimension.name] = self._suggest(trial, dimension)
        number, self._next = self._next, self._next + 1
        self._asked[number] = trial
        return Proposal(number, chosen)

    def tell(self, trial: Trial) -> None:
        """Takes the result of a trial that `ask` returned."""
        asked = self._asked.pop(trial.number)
        for step, reported in trial.reports:
            asked.report(reported, step)
        value = trial.value if trial.state == "complete" else None
        self._study.tell(asked, value, _STATES[trial.state])

    def restore(self, trials: Sequence[Trial]) -> None:
        """Continues after the finished trials of an earlier run.

        A search with one trial at a time continues as if it had not stopped: the same seed proposes
        the same trials. A parallel search depends on the order in which trials ended, so it gets
        the results and a new seed.
        """
        ordered = sorted(trials, key=lambda each: each.number)
        if self._params.parallel == 1 and self._repeat(ordered):
            return
        seed = hashlib.sha256(f"{self._params.seed} {len(ordered)}".encode()).digest()[:4]
        self._study, self._asked = self._new_study(int.from_bytes(seed)), {}
        self._study.add_trials([self._frozen(each) for each in ordered])
        self._next = max((each.number for each in ordered), default=-1) + 1
        # Trials that were running at the crash have no result, and their numbers stay free.
        self._end = self.total + self._next - len(ordered)

    def _repeat(self, trials: Sequence[Trial]) -> bool:
        """Asks for the trials again. Returns whether Optuna proposed the same trials."""
        for trial in trials:
            asked = self.ask()
            if asked is None or asked.number != trial.number or asked.values != trial.values:
                _log.warning(
                    "Optuna proposes different trials than before; the search continues with them"
                )
                return False
            self.tell(trial)
        return True

    def _new_study(self, seed: int) -> optuna.Study:
        self._next = 0
        return optuna.create_study(direction=self._direction, sampler=self._sampler(seed))

    def _sampler(self, seed: int) -> BaseSampler:
        if self._params.kind == "random":
            return RandomSampler(seed=seed)
        return TPESampler(seed=seed)

    def _suggest(self, trial: optuna.Trial, dimension: Dimension) -> Any:
        name = dimension.name
        if dimension.values is not None:
            choice = trial.suggest_categorical(name, list(self._lists[name]))
            return self._lists[name][choice]
        if dimension.whole:
            low, high, step = int(dimension.low), int(dimension.high), int(dimension.step or 1)
            return trial.suggest_int(name, low, high, step=step, log=dimension.log)
        return trial.suggest_float(
            name, dimension.low, dimension.high, step=dimension.step, log=dimension.log
        )

    def _frozen(self, trial: Trial) -> optuna.trial.FrozenTrial:
        by_name = {each.name: each for each in self._space.dimensions if each.name in trial.values}
        return create_trial(
            state=_STATES[trial.state],
            value=trial.value if trial.state == "complete" else None,
            params={name: _choice(each, trial.values[name]) for name, each in by_name.items()},
            distributions={name: self._distribution(each) for name, each in by_name.items()},
            intermediate_values=dict(trial.reports),
        )

    def _distribution(self, dimension: Dimension) -> BaseDistribution:
        if dimension.values is not None:
            return CategoricalDistribution(list(self._lists[dimension.name]))
        if dimension.whole:
            low, high = int(dimension.low), int(dimension.high)
            return IntDistribution(low, high, log=dimension.log, step=int(dimension.step or 1))
        return FloatDistribution(
            dimension.low, dimension.high, log=dimension.log, step=dimension.step
        )


def _choice(dimension: Dimension, value: Any) -> Any:
    """Returns a value as Optuna stores it: lists and mappings as JSON."""
    if dimension.values is None or isinstance(value, _PLAIN):
        return value
    return json.dumps(value, sort_keys=True)


def _by_choice(dimension: Dimension) -> Mapping[Any, Any]:
    """Returns the values of a list by Optuna's choice; empty for a range."""
    return {_choice(dimension, each): each for each in dimension.values or ()}
