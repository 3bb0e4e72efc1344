"""Parameters of a blend."""

from functools import cached_property
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from matchlake.recommender.algorithms import algorithm_of
from matchlake.recommender.fit_params import FitParams
from matchlake.recommender.split.params import SplitParams

_NAME = "blend"
_SALT = 0x626C656E64
"""Added to the seed of the split: a test part cut off before with an equal seed and a larger
fraction has the very rows that a second cut would draw, so that nothing would be left."""


class BlendParams(FitParams):
    """The models of a blend, and how a fit chooses their weights."""

    models: dict[str, dict[str, Any]] = Field(default={"als": {}, "ease": {}}, min_length=2)
    """The models by the name of their algorithm, with parameters that differ from its defaults."""
    depth: int = Field(200, ge=1)
    """Items of each model's list that count."""
    rank_constant: float = Field(60.0, gt=0)
    """The item at rank r of a model's list counts 1 / (rank_constant + r)."""
    split: Literal["random", "time", "user_time", "last_n"] = "random"
    """How a fit cuts off the validation part: see `split`; all but `random` read `event_time`."""
    validation_fraction: float = Field(0.1, gt=0, lt=1)
    """Fraction of the interactions in the validation part."""
    validation_users: int = Field(5000, ge=1)
    """Users of the validation part that are measured at most."""
    k: int = Field(10, ge=1)
    """The weights with the best NDCG of the first `k` items are chosen."""
    steps: int = Field(10, ge=1, le=50)
    """The weights tried are the multiples of 1 / steps that add up to 1."""
    seed: int = Field(0, ge=0, lt=2**62)
    """Seed of the validation part, and of the users that are measured."""

    @model_validator(mode="after")
    def _models_can_be_fitted(self) -> Self:
        for name, params in self.members.items():
            if getattr(params, "patience", None) is not None:
                raise ValueError(
                    f"models.{name}.patience needs a validation part of its own, which a blend "
                    "does not give it: leave it at null and choose iterations"
                )
        return self

    @cached_property
    def members(self) -> dict[str, FitParams]:
        """The parameters of each model; raises ParameterError for an unknown algorithm."""
        if _NAME in self.models:
            raise ValueError(f"models has {_NAME!r}: a blend holds no blend")
        return {
            name: algorithm_of(name).params_class().model_validate(given)
            for name, given in self.models.items()
        }

    @property
    def reads_features(self) -> bool:
        """Whether the fit of a model reads features."""
        return any(params.reads_features for params in self.members.values())

    @property
    def validation(self) -> SplitParams:
        """The split that cuts off the validation part."""
        given = {"test_fraction": self.validation_fraction} if self.split != "last_n" else {}
        return SplitParams.model_validate({"kind": self.split, "seed": _SALT + self.seed, **given})


BLEND = BlendParams()
"""The default parameters."""
