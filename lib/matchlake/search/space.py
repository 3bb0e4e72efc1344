"""The space of a search: its dimensions, checked against the trainer's parameters."""

import itertools
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from matchlake.errors import ParameterError
from matchlake.search.params import DimensionParams
from matchlake.search.target import Target

Values = Mapping[str, Any]
LARGEST_GRID = 100_000
"""The maximum number of combinations of a grid."""


@dataclass(frozen=True)
class Dimension:
    """One hyperparameter of a space."""

    name: str
    values: tuple[Any, ...] | None
    """The values of a list; None for a range."""
    low: float = 0.0
    high: float = 0.0
    step: float | None = None
    log: bool = False
    whole: bool = False
    """Whether a range has integers only."""
    when: tuple[tuple[str, tuple[Any, ...]], ...] = ()

    def is_active(self, chosen: Values) -> bool:
        """Returns whether the values chosen so far meet the condition."""
        return all(
            name in chosen and any(_same(chosen[name], each) for each in values)
            for name, values in self.when
        )

    def grid(self) -> tuple[Any, ...]:
        """All values; raises ParameterError for a range that has too many, or is continuous."""
        if self.values is not None:
            return self.values
        step = self.step or (1 if self.whole and not self.log else None)
        if step is None:
            what = "logarithmic" if self.log else "continuous"
            raise ParameterError(
                f"space.{self.name}: a grid needs separate values, but this range is {what}. Give "
                "it "
                "a step or a list of values, or choose the kind random or probabilistic."
            )
        count = math.floor((self.high - self.low) / step + 1e-9) + 1
        if count > LARGEST_GRID:
            raise ParameterError(
                f"space.{self.name}: {count:,} values are too many for a grid. Give it a larger "
                "step, or choose the kind random or probabilistic."
            )
        made = (self.low + i * step for i in range(count))
        return tuple(int(each) if self.whole else min(float(each), self.high) for each in made)


@dataclass(frozen=True)
class Space:
    """The dimensions, each after those that its condition reads."""

    dimensions: tuple[Dimension, ...]

    def combinations(self) -> Iterator[dict[str, Any]]:
        """Yields every combination once, in a fixed order, without inactive hyperparameters."""
        yield from self._from(0, {})

    def _from(self, at: int, chosen: dict[str, Any]) -> Iterator[dict[str, Any]]:
        if at == len(self.dimensions):
            yield dict(chosen)
            return
        dimension = self.dimensions[at]
        if not dimension.is_active(chosen):
            yield from self._from(at + 1, chosen)
            return
        for value in dimension.grid():
            yield from self._from(at + 1, {**chosen, dimension.name: value})

    def count(self) -> int:
        """The number of combinations, without making them all.

        It enumerates only the hyperparameters on which conditions depend.
        """
        deciding = {name for each in self.dimensions for name, _ in each.when}
        needed = [each for each in self.dimensions if each.name in deciding]
        _require_few(math.prod(len(each.grid()) for each in needed))
        rest = [each for each in self.dimensions if each.name not in deciding]
        return sum(
            math.prod(len(each.grid()) for each in rest if each.is_active(chosen))
            for chosen in Space(tuple(needed)).combinations()
        )


def _require_few(count: int) -> None:
    if count > LARGEST_GRID:
        raise ParameterError(
            f"The grid has {count:,} combinations, and at most {LARGEST_GRID:,} are possible. "
            "Choose the kind random or probabilistic."
        )


def check_space(space: Mapping[str, DimensionParams], target: Target) -> Space:
    """Returns the space with its types; refuses impossible values before the first fit.

    Raises ParameterError for an unknown hyperparameter, with the most similar name, and for a value
    that is never possible.
    """
    known = target.names()
    for name in space:
        if known is not None and name not in known:
            reason = f"search.space: the trainer has no hyperparameter {name!r}."
            raise ParameterError.unknown(reason, name, "It has", known)
    dimensions = {name: _dimension(name, each, target) for name, each in space.items()}
    for name, each in dimensions.items():
        probed = each.values if each.values is not None else _ends(each)
        for value in probed:
            problem = target.problem(name, value)
            if problem is not None:
                raise ParameterError(f"search.space.{name}: {value!r} is not possible: {problem}")
    ordered: list[Dimension] = []
    while len(ordered) < len(dimensions):
        placed = {each.name for each in ordered}
        ordered += [
            each
            for name, each in dimensions.items()
            if name not in placed and placed.issuperset(other for other, _ in each.when)
        ][:1]
    return Space(tuple(ordered))


def _dimension(name: str, params: DimensionParams, target: Target) -> Dimension:
    when = tuple(params.when.items())
    if params.values is not None:
        return Dimension(name, params.values, when=when)
    written = [each for each in (params.low, params.high, params.step) if each is not None]
    declared = target.is_whole(name)
    whole = all(isinstance(each, int) for each in written) if declared is None else declared
    if whole and not all(float(each).is_integer() for each in written):
        raise ParameterError(
            f"search.space.{name}: it takes integers, but the range has fractions. Write low, "
            "high and step as integers."
        )
    low, high = (int(each) if whole else float(each) for each in written[:2])
    step = None if params.step is None else int(params.step) if whole else float(params.step)
    return Dimension(name, None, low, high, step, params.log, whole, when)


def _ends(dimension: Dimension) -> tuple[Any, Any]:
    return dimension.low, dimension.high


def _same(one: Any, other: Any) -> bool:
    """Returns whether two values are equal; 1 and true are different."""
    return isinstance(one, bool) == isinstance(other, bool) and bool(one == other)


def value_text(value: Any) -> str:
    """Returns a value of a hyperparameter as JSON, but a string without quotes."""
    return value if isinstance(value, str) else json.dumps(value)


def values_text(values: Values) -> str:
    """All values on one line."""
    return ", ".join(f"{name}={value_text(value)}" for name, value in values.items()) or "defaults"


def grid_of(space: Space) -> list[dict[str, Any]]:
    """All combinations of a grid; raises ParameterError for too many of them."""
    _require_few(space.count())
    return list(itertools.islice(space.combinations(), LARGEST_GRID))
