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
    """The values to choose from; in place of the whole mapping a list is enough."""
    low: Number | None = None
    """The smallest value of a range. Whole numbers give whole numbers, unless the hyperparameter
    takes fractions."""
    high: Number | None = None
    """The largest value of a range."""
    step: Number | None = Field(None, gt=0)
    """The distance of two values of a range; null: every value."""
    log: bool = False
    """Whether a range is searched on a logarithmic scale."""
    when: dict[str, tuple[Any, ...]] = Field(default_factory=dict)
    """The condition: other hyperparameters of the space, each with the values for which this one
    is searched. Otherwise it keeps its value."""

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
            raise ValueError("an empty list: give at least one value")
        if any(each is not None for each in (self.low, self.high, self.step)) or self.log:
            raise ValueError("values and a range exclude each other: give one of them")
        for i, value in enumerate(values):
            if isinstance(value, float) and not math.isfinite(value):
                raise ValueError(f"the value {value} is not a finite number")
            if any(value == each for each in values[:i]):
                raise ValueError(f"the value {value!r} stands twice in the list")

    def _check_range(self) -> None:
        low, high = self.low, self.high
        if low is None or high is None:
            raise ValueError("give a list of values, or a range: {low: ..., high: ...}")
        if low > high:
            raise ValueError(f"low {low} is above high {high}")
        if self.log and low <= 0:
            raise ValueError(f"a logarithmic range needs a low above 0, and it is {low}")
        if self.log and self.step is not None:
            raise ValueError("a logarithmic range takes no step")


class SearchParams(Params):
    """A search: the space, how it is searched, and when it ends."""

    kind: Literal["grid", "random", "probabilistic"] = "probabilistic"
    """`grid`: every combination once. `random`: drawn combinations. `probabilistic`: Optuna's TPE,
    which learns from the trials so far."""
    space: dict[str, DimensionParams] = Field(min_length=1)
    """The hyperparameters by name, each with a list of values or a range."""
    trials: int | None = Field(None, ge=1, le=100_000)
    """The number of trials; null: 40, or all combinations of a grid."""
    seconds: float | None = Field(None, gt=0)
    """No trial starts after so many seconds; null: no limit."""
    no_improvement: int | None = Field(None, ge=1)
    """The search ends after so many trials in a row without a better one; null: never."""
    parallel: int = Field(1, ge=1, le=256)
    """Trials that run at the same time."""
    trial_seconds: float | None = Field(None, gt=0)
    """A trial that takes longer has failed; null: no limit."""
    prune: bool = False
    """Whether a trial ends early if its fit reports a value below the median of earlier trials at
    the same step."""
    validation_fraction: float = Field(0.2, gt=0, lt=1)
    """The fraction of the training part on which trials are measured. The splits `last_n` and
    `recommender` have their own sizes."""
    seed: int = Field(0, ge=0, lt=2**32)
    """The seed of the draws."""

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
        """The number of trials of a search that is no grid."""
        return 40 if self.trials is None else self.trials
