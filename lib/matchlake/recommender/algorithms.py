"""The registry of algorithms; importing it does not start Spark."""

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
        """Imports the object `name` of the algorithm."""
        module, _, attribute = name.partition(":")
        return getattr(import_module(f"matchlake.recommender.{module}"), attribute)


ALGORITHMS: dict[str, Algorithm] = {
    "als": Algorithm(
        "als.params:AlsParams", "als.fit:fit", "als.model:load", "als.numpy_model:load_numpy",
        "Matrix factorization by alternating least squares.",
    ),
    "matchbox": Algorithm(
        "matchbox.params:MatchboxParams", "matchbox.fit:fit", "matchbox.model:load",
        "matchbox.numpy_model:load_numpy",
        "Bayesian matrix factorization with side features, uncertainty and cold start.",
    ),
    "ease": Algorithm(
        "linear.params:EaseParams", "linear.ease:fit", "linear.model:load",
        "linear.numpy_model:load_numpy",
        "Item-item weights in closed form, for small catalogues.",
    ),
    "slim": Algorithm(
        "linear.params:SlimParams", "linear.slim:fit", "linear.model:load",
        "linear.numpy_model:load_numpy",
        "Sparse item-item weights by coordinate descent, also for large catalogues.",
    ),
    "blend": Algorithm(
        "blend.params:BlendParams", "blend.fit:fit", "blend.model:load",
        "blend.numpy_model:load_numpy",
        "Fuses the lists of several models, with weights chosen on a validation part.",
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
        raise ParameterError(
            f"There is no algorithm {name!r}; the algorithms are {', '.join(ALGORITHMS)}."
        )
    return ALGORITHMS[name]
