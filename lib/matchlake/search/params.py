"""Parameters of a hyperparameter search; reading them starts neither Spark nor Optuna."""

import math
from typing import Any, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from matchlake.params import Params

Number = int | float


def _or_list(schema: dict[str, Any]) -> None:
    """The JSON schema of a dimension: a list of values is the short form."""
    long_form = dict(schema)
    schema.clear()
    schema["anyOf"] = [{"type": "array", "minItems": 1}, long_form]


class DimensionParams(Params):
    """The values of one hyperparameter: a list `[3, 6, null]`, or a range."""

    model_config = ConfigDict(json_schema_extra=_or_list)

    values: tuple[Any, ...] | None = None
    """The values to choose from. A list in place of the whole mapping means the same."""
    low: Number | None = None
    """The smallest value of a range. A range of integers gives integers, unless the hyperparameter
    is a float."""
    high: Number | None = None
    """The largest value of a range."""
    step: Number | None = Field(None, gt=0)
    """The step between values of a range; null: every value is possible."""
    log: bool = False
    """Whether a range is searched on a logarithmic scale."""
    when: dict[str, tuple[Any, ...]] = Field(default_factory=dict)
    """A condition: other hyperparameters of the space, with the values for which this
    hyperparameter is searched. Otherwise this hyperparameter keeps its configured value."""

    @model_validator(mode="before")
    @classmethod
    def _from_list(cls, data: Any) -> Any:
        return {"values": data} if isinstance(data, list | tuple) else data

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.values is not None:
            self._check_values(self.values)
        else:
            self._check_range()
        return self

    def _check_values(self, values: tuple[Any, ...]) -> None:
        if not values:
            raise ValueError("the list is empty: give at least one value")
        if any(each is not None for each in (self.low, self.high, self.step)) or self.log:
            raise ValueError("values and a range exclude each other: give only one of them")
        for i, value in enumerate(values):
            if isinstance(value, float) and not math.isfinite(value):
                raise ValueError(f"the value {value} is not a finite number")
            if any(value == each for each in values[:i]):
                raise ValueError(f"the value {value!r} is twice in the list")

    def _check_range(self) -> None:
        low, high = self.low, self.high
        if low is None or high is None:
            raise ValueError("give a list of values, or a range: {low: ..., high: ...}")
        if low > high:
            raise ValueError(f"low {low} is above high {high}")
        if self.log and low <= 0:
            raise ValueError(f"a logarithmic range needs a low above 0, but low is {low}")
        if self.log and self.step is not None:
            raise ValueError("a logarithmic range cannot have a step")


class SearchParams(Params):
    """The parameters of a search: its space, its kind, and when it ends."""

    kind: Literal["grid", "random", "probabilistic"] = "probabilistic"
    """`grid`: every combination once. `random`: random combinations. `probabilistic`: Optuna's TPE,
    which learns from earlier trials."""
    space: dict[str, DimensionParams] = Field(min_length=1)
    """The hyperparameters by name, each with a list of values or a range."""
    trials: int | None = Field(None, ge=1, le=100_000)
    """The number of trials; null: 40, or all combinations of a grid."""
    seconds: float | None = Field(None, gt=0)
    """After this time in seconds no new trial starts; null: no limit."""
    no_improvement: int | None = Field(None, ge=1)
    """The search ends after this number of trials in a row without an improvement; null: never."""
    parallel: int = Field(1, ge=1, le=256)
    """The number of trials that run at the same time."""
    trial_seconds: float | None = Field(None, gt=0)
    """The time limit of a trial in seconds, after which the trial fails; null: no limit."""
    prune: bool = False
    """Stops a trial early if its best value so far is worse than the median of completed trials up
    to the same step (Optuna's MedianPruner)."""
    validation_fraction: float = Field(0.2, gt=0, lt=1)
    """The fraction of the training part that validates trials. The splits `last_n` and
    `recommender` have their own sizes."""
    seed: int = Field(0, ge=0, lt=2**32)
    """The seed of the sampler."""

    @model_validator(mode="after")
    def _check_conditions(self) -> Self:
        seen: set[str] = set()
        waiting = dict(self.space)
        while waiting:
            ready = [name for name, each in waiting.items() if seen.issuperset(each.when)]
            if not ready:
                self._refuse_conditions(waiting)
            seen.update(ready)
            for name in ready:
                del waiting[name]
        return self

    def _refuse_conditions(self, waiting: dict[str, DimensionParams]) -> None:
        for name, each in waiting.items():
            unknown = [other for other in each.when if other not in self.space]
            if unknown:
                raise ValueError(f"space.{name}.when names {unknown[0]}, which is not in the space")
        raise ValueError(f"the conditions of {', '.join(waiting)} depend on each other")

    @property
    def trial_count(self) -> int:
        """The number of trials of a search that is not a grid."""
        return 40 if self.trials is None else self.trials
