"""The recommenders that a factor model has to beat, behind the same door.

Every `fit_*` returns a model with `score(pairs)` and `recommend_items(users, k, exclude_seen=...,
candidates=...)`, as the factor model has them, and `predicts_ratings`: whether a score is a
rating. Only the biases' is; the others order items, and belong in ranking metrics alone.
"""

from matchlake.recommender.baselines.bias import BiasModel, BiasParams, fit_bias
from matchlake.recommender.baselines.ease import EaseParams, fit_ease
from matchlake.recommender.baselines.item_knn import ItemKnnParams, fit_item_knn
from matchlake.recommender.baselines.item_weights import ItemWeightModel
from matchlake.recommender.baselines.popularity import (
    PopularityModel,
    PopularityParams,
    fit_popularity,
)

__all__ = [
    "BiasModel",
    "BiasParams",
    "EaseParams",
    "ItemKnnParams",
    "ItemWeightModel",
    "PopularityModel",
    "PopularityParams",
    "fit_bias",
    "fit_ease",
    "fit_item_knn",
    "fit_popularity",
]
