"""Feature and recommender jobs for Spark and Databricks, over Delta tables.

The public names are imported at their first use: importing matchlake starts nothing and loads no
Spark. Modules below this one may move.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matchlake.config import load_config as load_config
    from matchlake.config import load_feature_set as load_feature_set
    from matchlake.errors import MatchlakeError as MatchlakeError
    from matchlake.features.categories import MultiHot as MultiHot
    from matchlake.features.categories import OneHot as OneHot
    from matchlake.features.feature_set import FeatureSet as FeatureSet
    from matchlake.features.fit import fit_features as fit_features
    from matchlake.features.model import FeatureModel as FeatureModel
    from matchlake.features.scalers import MaxAbs as MaxAbs
    from matchlake.features.scalers import MinMax as MinMax
    from matchlake.features.scalers import Robust as Robust
    from matchlake.features.scalers import ZScore as ZScore
    from matchlake.formulas.weights import log_weight as log_weight
    from matchlake.formulas.weights import time_decay as time_decay
    from matchlake.io.secrets import Secret as Secret
    from matchlake.io.secrets import SecretRef as SecretRef
    from matchlake.learners.kmeans import sweep_clusters as sweep_clusters
    from matchlake.learners.params import KmeansParams as KmeansParams
    from matchlake.learners.selection.params import SelectParams as SelectParams
    from matchlake.learners.selection.select import select_features as select_features
    from matchlake.model_store.numpy import load_numpy as load_numpy
    from matchlake.model_store.spark import load_model as load_model
    from matchlake.model_store.spark import save_model as save_model
    from matchlake.recommender.algorithms import ALGORITHMS as ALGORITHMS
    from matchlake.recommender.als.fit import fit_als as fit_als
    from matchlake.recommender.als.model import FactorModel as FactorModel
    from matchlake.recommender.als.numpy_model import NumpyFactorModel as NumpyFactorModel
    from matchlake.recommender.als.params import AlsParams as AlsParams
    from matchlake.recommender.azure_modes import recommend_rated_items as recommend_rated_items
    from matchlake.recommender.baselines.bias import BiasModel as BiasModel
    from matchlake.recommender.baselines.dispatch import fit_bias as fit_bias
    from matchlake.recommender.baselines.dispatch import fit_popularity as fit_popularity
    from matchlake.recommender.baselines.params import BiasParams as BiasParams
    from matchlake.recommender.baselines.params import PopularityParams as PopularityParams
    from matchlake.recommender.baselines.popularity import PopularityModel as PopularityModel
    from matchlake.recommender.blend.fit import fit_blend as fit_blend
    from matchlake.recommender.blend.model import BlendModel as BlendModel
    from matchlake.recommender.blend.params import BlendParams as BlendParams
    from matchlake.recommender.checkpoint import local_checkpoint as local_checkpoint
    from matchlake.recommender.linear.ease import fit_ease as fit_ease
    from matchlake.recommender.linear.model import EaseModel as EaseModel
    from matchlake.recommender.linear.model import SlimModel as SlimModel
    from matchlake.recommender.linear.params import EaseParams as EaseParams
    from matchlake.recommender.linear.params import SlimParams as SlimParams
    from matchlake.recommender.linear.slim import fit_slim as fit_slim
    from matchlake.recommender.matchbox.encoders import Encoders as Encoders
    from matchlake.recommender.matchbox.fit import fit_matchbox as fit_matchbox
    from matchlake.recommender.matchbox.model import MatchboxModel as MatchboxModel
    from matchlake.recommender.matchbox.numpy_model import NumpyMatchboxModel as NumpyMatchboxModel
    from matchlake.recommender.matchbox.params import MatchboxParams as MatchboxParams
    from matchlake.recommender.metrics.dispatch import calibration_metrics as calibration_metrics
    from matchlake.recommender.metrics.dispatch import catalogue_metrics as catalogue_metrics
    from matchlake.recommender.metrics.dispatch import ranking_metrics as ranking_metrics
    from matchlake.recommender.metrics.dispatch import rating_metrics as rating_metrics
    from matchlake.recommender.metrics.dispatch import related_metrics as related_metrics
    from matchlake.recommender.metrics.params import RankingParams as RankingParams
    from matchlake.recommender.protocol import NumpyRecommender as NumpyRecommender
    from matchlake.recommender.protocol import Pools as Pools
    from matchlake.recommender.protocol import Recommender as Recommender
    from matchlake.recommender.split.dispatch import split as split
    from matchlake.recommender.split.params import SplitParams as SplitParams
    from matchlake.recommender.split.result import Split as Split
    from matchlake.runtime import Runtime as Runtime
    from matchlake.runtime import start as start
    from matchlake.runtime import start_notebook as start_notebook
    from matchlake.training.importance import permutation_importance as permutation_importance

__version__ = "0.1.0"

_MODULES = {
    "config": ("load_config", "load_feature_set"),
    "errors": ("MatchlakeError",),
    "features.categories": ("MultiHot", "OneHot"),
    "features.feature_set": ("FeatureSet",),
    "features.fit": ("fit_features",),
    "features.model": ("FeatureModel",),
    "features.scalers": ("MaxAbs", "MinMax", "Robust", "ZScore"),
    "io.secrets": ("Secret", "SecretRef"),
    "learners.selection.params": ("SelectParams",),
    "learners.selection.select": ("select_features",),
    "learners.kmeans": ("sweep_clusters",),
    "learners.params": ("KmeansParams",),
    "model_store.numpy": ("load_numpy",),
    "model_store.spark": ("load_model", "save_model"),
    "recommender.algorithms": ("ALGORITHMS",),
    "recommender.als.fit": ("fit_als",),
    "recommender.als.model": ("FactorModel",),
    "recommender.als.numpy_model": ("NumpyFactorModel",),
    "recommender.als.params": ("AlsParams",),
    "recommender.azure_modes": ("recommend_rated_items",),
    "recommender.baselines.bias": ("BiasModel",),
    "recommender.baselines.dispatch": ("fit_bias", "fit_popularity"),
    "recommender.baselines.params": ("BiasParams", "PopularityParams"),
    "recommender.baselines.popularity": ("PopularityModel",),
    "recommender.blend.fit": ("fit_blend",),
    "recommender.blend.model": ("BlendModel",),
    "recommender.blend.params": ("BlendParams",),
    "recommender.checkpoint": ("local_checkpoint",),
    "recommender.linear.ease": ("fit_ease",),
    "recommender.linear.model": ("EaseModel", "SlimModel"),
    "recommender.linear.params": ("EaseParams", "SlimParams"),
    "recommender.linear.slim": ("fit_slim",),
    "recommender.matchbox.encoders": ("Encoders",),
    "recommender.matchbox.fit": ("fit_matchbox",),
    "recommender.matchbox.model": ("MatchboxModel",),
    "recommender.matchbox.numpy_model": ("NumpyMatchboxModel",),
    "recommender.matchbox.params": ("MatchboxParams",),
    "recommender.metrics.dispatch": (
        *("calibration_metrics", "catalogue_metrics", "ranking_metrics"),
        *("rating_metrics", "related_metrics"),
    ),
    "recommender.metrics.params": ("RankingParams",),
    "recommender.protocol": ("NumpyRecommender", "Pools", "Recommender"),
    "recommender.split.dispatch": ("split",),
    "recommender.split.params": ("SplitParams",),
    "recommender.split.result": ("Split",),
    "formulas.weights": ("log_weight", "time_decay"),
    "runtime": ("Runtime", "start", "start_notebook"),
    "training.importance": ("permutation_importance",),
}
_HOMES = {name: module for module, names in _MODULES.items() for name in names}

__all__ = [
    "ALGORITHMS",
    "AlsParams",
    "BiasModel",
    "BiasParams",
    "BlendModel",
    "BlendParams",
    "EaseModel",
    "EaseParams",
    "Encoders",
    "FactorModel",
    "FeatureModel",
    "FeatureSet",
    "KmeansParams",
    "MatchboxModel",
    "MatchboxParams",
    "MatchlakeError",
    "MaxAbs",
    "MinMax",
    "MultiHot",
    "NumpyFactorModel",
    "NumpyMatchboxModel",
    "NumpyRecommender",
    "OneHot",
    "Pools",
    "PopularityModel",
    "PopularityParams",
    "RankingParams",
    "Recommender",
    "Robust",
    "Runtime",
    "Secret",
    "SecretRef",
    "SelectParams",
    "SlimModel",
    "SlimParams",
    "Split",
    "SplitParams",
    "ZScore",
    "calibration_metrics",
    "catalogue_metrics",
    "fit_als",
    "fit_bias",
    "fit_blend",
    "fit_ease",
    "fit_features",
    "fit_matchbox",
    "fit_popularity",
    "fit_slim",
    "load_config",
    "load_feature_set",
    "load_model",
    "load_numpy",
    "local_checkpoint",
    "log_weight",
    "permutation_importance",
    "ranking_metrics",
    "rating_metrics",
    "recommend_rated_items",
    "related_metrics",
    "save_model",
    "select_features",
    "split",
    "start",
    "start_notebook",
    "sweep_clusters",
    "time_decay",
]


def __getattr__(name: str) -> Any:
    """Imports a public name at its first use."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return [*globals(), *__all__]
