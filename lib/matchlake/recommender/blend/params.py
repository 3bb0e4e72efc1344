"""Parameters of a blend."""

from functools import cached_property
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from matchlake.recommender.algorithms import algorithm_of
from matchlake.recommender.fit_params import FitParams
from matchlake.recommender.split.params import SplitParams

_NAME = "blend"
_SALT = 0x626C656E64
"""This number is added to the seed of the split. With an equal seed, a test part that was split off
before would already contain all rows that this split draws."""


class BlendParams(FitParams):
    """The models of a blend, and how a fit chooses their weights."""

    models: dict[str, dict[str, Any]] = Field(default={"als": {}, "ease": {}}, min_length=2)
    """The models by the name of their algorithm, with parameters that differ from its defaults."""
    depth: int = Field(200, ge=1)
    """The number of items of each model's list."""
    rank_constant: float = Field(60.0, gt=0)
    """The item at rank r of a model's list gets 1 / (rank_constant + r)."""
    split: Literal["random", "time", "user_time", "last_n"] = "random"
    """How the validation part is split off, see `split`; all kinds but `random` read
    `event_time`."""
    validation_fraction: float = Field(0.1, gt=0, lt=1)
    """Fraction of the interactions in the validation part."""
    validation_users: int = Field(5000, ge=1)
    """Maximum number of measured users of the validation part."""
    k: int = Field(10, ge=1)
    """The weights with the best NDCG at `k` are chosen."""
    steps: int = Field(10, ge=1, le=50)
    """The weights tried are the multiples of 1 / steps that add up to 1."""
    seed: int = Field(0, ge=0, lt=2**62)
    """Seed of the validation part, and of the sample of measured users."""

    @model_validator(mode="after")
    def _models_can_be_fitted(self) -> Self:
        for name, params in self.members.items():
            if getattr(params, "patience", None) is not None:
                raise ValueError(
                    f"models.{name}.patience needs a validation part, which a blend does not pass "
                    "to its models: leave it at null and choose iterations"
                )
        return self

    @cached_property
    def members(self) -> dict[str, FitParams]:
        """The parameters of each model; raises ParameterError for an unknown algorithm."""
        if _NAME in self.models:
            raise ValueError(f"models has {_NAME!r}: a blend cannot contain a blend")
        return {
            name: algorithm_of(name).params_class().model_validate(given)
            for name, given in self.models.items()
        }

    @property
    def reads_features(self) -> bool:
        """Returns whether the fit of any model reads features."""
        return any(params.reads_features for params in self.members.values())

    @property
    def validation(self) -> SplitParams:
        """Returns the split of the validation part."""
        given = {"test_fraction": self.validation_fraction} if self.split != "last_n" else {}
        return SplitParams.model_validate({"kind": self.split, "seed": _SALT + self.seed, **given})


BLEND = BlendParams()
"""The default parameters."""
