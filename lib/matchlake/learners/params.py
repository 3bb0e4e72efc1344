"""What a user chooses of a learner; imports neither Spark nor a library of models."""

from typing import Annotated, Any, Literal

from pydantic import Field

from matchlake.params import Params


class SklearnParams(Params):
    """An estimator of scikit-learn. The page of learners lists the estimators."""

    kind: Literal["sklearn"] = "sklearn"
    estimator: str
    """The name of the estimator's class, such as HistGradientBoostingClassifier."""
    params: dict[str, Any] = Field(default_factory=dict)
    """Parameters of its constructor. The job's seed is its random_state unless given here."""


class LightgbmParams(Params):
    """Gradient boosting by LightGBM."""

    kind: Literal["lightgbm"] = "lightgbm"
    rounds: int = Field(100, ge=1, le=100_000)
    """The number of boosting rounds."""
    params: dict[str, Any] = Field(default_factory=dict)
    """Parameters of LightGBM, by their full names."""


class CustomParams(Params):
    """A Python function that fits a model and returns a head."""

    kind: Literal["custom"] = "custom"
    function: str = Field(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")
    """The function as module:function. It takes (data, params, seed) and returns a head."""
    params: dict[str, Any] = Field(default_factory=dict)
    """What the function gets as its params."""
    timeout_seconds: float = Field(3600.0, gt=0)
    """The function is stopped after this time."""


TrainerParams = Annotated[
    SklearnParams | LightgbmParams | CustomParams, Field(discriminator="kind")
]
"""The parameters of a learner, by its `kind`."""
