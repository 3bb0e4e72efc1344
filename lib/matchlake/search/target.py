"""The target of a search: the parameters of a recommender, or of a model's trainer."""

import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from pydantic import ValidationError

from matchlake.errors import ParameterError
from matchlake.formulas.heads import Task
from matchlake.learners.params import (
    LightgbmParams,
    NetworkParams,
    SklearnParams,
    TrainerParams,
    XgboostParams,
)
from matchlake.params import Params

_NO_HYPERPARAMETERS = {
    *("kind", "params", "estimator", "function", "script", "program", "device", "timeout_seconds")
}


class Target(Protocol):
    """The parameters that a search changes."""

    def names(self) -> list[str] | None:
        """Returns the names of the hyperparameters; None: any name is possible."""

    def is_whole(self, name: str) -> bool | None:
        """Returns whether a hyperparameter takes only integers; None: unknown."""

    def with_values(self, values: Mapping[str, Any]) -> Any:
        """Returns the parameters with these values; raises ParameterError for impossible values."""

    def problem(self, name: str, value: Any) -> str | None:
        """Returns why a value is never possible.

        None if it is possible, or only the fit can tell.
        """


@dataclass(frozen=True)
class FieldsTarget:
    """The fields of a class of parameters, such as `AlsParams`."""

    params: Params

    def names(self) -> list[str]:
        """The fields."""
        return list(type(self.params).model_fields)

    def is_whole(self, name: str) -> bool | None:
        """Returns whether the field is declared as int, and not as float."""
        kind = type(self.params).model_fields[name].annotation
        parts = (
            typing.get_args(kind)
            if typing.get_origin(kind) in (typing.Union, types.UnionType)
            else (kind,)
        )
        return False if float in parts else True if int in parts else None

    def with_values(self, values: Mapping[str, Any]) -> Any:
        """Returns the parameters with these values; raises ParameterError for impossible values."""
        try:
            return type(self.params).model_validate(self.params.model_dump() | dict(values))
        except ValidationError as error:
            raise ParameterError(_first(error)) from None

    def problem(self, name: str, value: Any) -> str | None:
        """Validates one field; rules over several fields depend on the other values."""
        try:
            type(self.params).model_validate(self.params.model_dump() | {name: value})
        except ValidationError as error:
            found = [each for each in error.errors(include_url=False) if each["loc"][:1] == (name,)]
            return found[0]["msg"] if found else None
        return None


@dataclass(frozen=True)
class TrainerTarget:
    """The hyperparameters of a trainer of `models.NAME`: those of its estimator."""

    trainer: TrainerParams
    task: Task

    def names(self) -> list[str] | None:
        """Returns the parameters of the estimator, and the trainer's own, such as `rounds`."""
        if isinstance(self.trainer, SklearnParams):
            from matchlake.learners.sklearn import make_estimator  # noqa: PLC0415 - a second

            return list(make_estimator(self.trainer, self.task, 0).get_params())
        if isinstance(self.trainer, LightgbmParams):
            from matchlake.learners.lightgbm import PARAMETERS  # noqa: PLC0415 - its library

            return [*self._own, *sorted(PARAMETERS)]
        if isinstance(self.trainer, XgboostParams):
            from matchlake.learners.xgboost import PARAMETERS as KNOWN  # noqa: PLC0415 - its library

            return [*self._own, *sorted(KNOWN)]
        return self._own or None

    @property
    def _own(self) -> list[str]:
        """Returns the trainer's own hyperparameters, without those of its estimator."""
        if isinstance(self.trainer, NetworkParams) and self.trainer.function is not None:
            return []
        return [name for name in type(self.trainer).model_fields if name not in _NO_HYPERPARAMETERS]

    def is_whole(self, name: str) -> bool | None:
        """Returns whether it takes only integers; known only for the trainer's own."""
        return (
            type(self.trainer).model_fields[name].annotation is int if name in self._own else None
        )

    def with_values(self, values: Mapping[str, Any]) -> Any:
        """Returns the trainer's parameters; raises ParameterError for impossible values."""
        own = {name: value for name, value in values.items() if name in self._own}
        passed = getattr(self.trainer, "params", {})
        params = passed | {n: v for n, v in values.items() if n not in own}
        try:
            return type(self.trainer).model_validate(
                self.trainer.model_dump() | {"params": params} | own
            )
        except ValidationError as error:
            raise ParameterError(_first(error)) from None

    def problem(self, name: str, value: Any) -> str | None:
        """Validates one value by scikit-learn; other trainers validate during the fit."""
        try:
            trainer = self.with_values({name: value})
        except ParameterError as error:
            return str(error)
        if not isinstance(trainer, SklearnParams):
            return None
        from matchlake.learners.sklearn import make_estimator  # noqa: PLC0415 - a second

        try:
            made = make_estimator(trainer, self.task, 0)
            check = getattr(made, "_validate_params", None)
            if check is not None:
                check()
        except ValueError as error:
            return str(error).strip().partition("\n")[0]
        return None


def _first(error: ValidationError) -> str:
    """Returns the first problem, with the name of its field."""
    found = error.errors(include_url=False)[0]
    path = ".".join(map(str, found["loc"]))
    return f"{path}: {found['msg']}" if path else str(found["msg"])
