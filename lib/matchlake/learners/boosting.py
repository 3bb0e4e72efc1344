"""Checks the parameters of libraries of gradient boosting."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from matchlake.errors import ParameterError


class Library(NamedTuple):
    """The models of a library that a head can represent."""

    name: str
    objectives: Mapping[str, str]
    """The link of each objective. The first objective of a link is the default."""
    parameters: frozenset[str]
    kind: str
    """The parameter with the kind of booster."""
    kinds: tuple[str, ...]
    """The kinds of booster; the first kind is the default."""


def chosen_params(
    library: Library, given: Mapping[str, Any], labels: tuple[str, ...] | None
) -> dict[str, Any]:
    """Returns the given parameters with the objective and the number of classes.

    `labels` are the classes. Raises ParameterError for a parameter, a kind of booster or an
    objective that a head cannot represent.
    """
    for name in given:
        if name not in library.parameters:
            reason = f"{library.name} has no parameter {name!r} here."
            raise ParameterError.unknown(reason, name, "Parameters", sorted(library.parameters))
    kind = given.get(library.kind, library.kinds[0])
    if kind not in library.kinds:
        raise ParameterError(
            f"{library.kind} is {kind!r}; it must be one of {', '.join(library.kinds)}."
        )
    count = len(labels or ())
    links = ("identity", "exp") if not count else ("logit",) if count == 2 else ("softmax",)  # noqa: PLR2004
    usual = [name for name, link in library.objectives.items() if link in links]
    objective = given.get("objective", usual[0])
    if objective not in usual:
        task = f"{count} classes" if count else "regression"
        raise ParameterError(
            f"objective is {objective!r}; for {task} it must be one of {', '.join(usual)}."
        )
    classes = {"num_class": count} if "softmax" in links else {}
    return {**given, **classes, "objective": objective}
