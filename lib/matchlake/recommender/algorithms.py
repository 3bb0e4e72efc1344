"""The registry of algorithms; reading it starts no Spark."""

from dataclasses import dataclass
from importlib import import_module
from typing import Any

from matchlake.errors import ParameterError
from matchlake.recommender.fit_params import FitParams


@dataclass(frozen=True)
class Algorithm:
    """One algorithm; each value names an object as `module:name` within this package.

    `params` is the class of parameters. `fit` takes (TrainingInputs, params, FitContext).
    `load` takes the saved parts as frames, and `load_numpy` takes them as Arrow tables.
    """

    params: str
    fit: str
    load: str
    load_numpy: str
    description: str

    def params_class(self) -> type[FitParams]:
        """The class of the algorithm's parameters."""
        resolved: type[FitParams] = self.resolve(self.params)
        return resolved

    @staticmethod
    def resolve(name: str) -> Any:
        """The object that `name` names."""
        module, _, attribute = name.partition(":")
        return getattr(import_module(f"matchlake.recommender.{module}"), attribute)


ALGORITHMS: dict[str, Algorithm] = {
    "als": Algorithm(
        "als.params:AlsParams", "als.fit:fit", "als.model:load", "als.numpy_model:load_numpy",
        "Factors by alternating least squares.",
    ),
    "matchbox": Algorithm(
        "matchbox.params:MatchboxParams", "matchbox.fit:fit", "matchbox.model:load",
        "matchbox.numpy_model:load_numpy",
        "Bayesian factors with side features: ratings with uncertainty, and cold start.",
    ),
    "ease": Algorithm(
        "linear.params:EaseParams", "linear.ease:fit", "linear.model:load",
        "linear.numpy_model:load_numpy",
        "Item-item weights in closed form, for small catalogues.",
    ),
    "slim": Algorithm(
        "linear.params:SlimParams", "linear.slim:fit", "linear.model:load",
        "linear.numpy_model:load_numpy",
        "Sparse item-item weights by coordinate descent, for large catalogues too.",
    ),
    "blend": Algorithm(
        "blend.params:BlendParams", "blend.fit:fit", "blend.model:load",
        "blend.numpy_model:load_numpy",
        "The lists of several models, fused with weights chosen on a validation part.",
    ),
    "popularity": Algorithm(
        "baselines.params:PopularityParams", "baselines.dispatch:train_popularity",
        "baselines.popularity:load", "baselines.numpy_bias:load_numpy",
        "The most popular items, the same for every user.",
    ),
    "bias": Algorithm(
        "baselines.params:BiasParams", "baselines.dispatch:train_bias", "baselines.bias:load",
        "baselines.numpy_bias:load_numpy",
        "The mean rating and a bias per user and item.",
    ),
}  # fmt: skip


def algorithm_of(name: str) -> Algorithm:
    """The algorithm of that name; raises ParameterError with the known names."""
    if name not in ALGORITHMS:
        raise ParameterError(f"No algorithm {name!r}; there are {', '.join(ALGORITHMS)}.")
    return ALGORITHMS[name]
