"""The names that users import, and what they take."""

import inspect
from importlib import import_module

import pytest

TAKES = {
    "matchlake.recommender.als.fit:fit_als": "interactions params",
    "matchlake.recommender.matchbox.fit:fit_matchbox": (
        "ratings user_features item_features params"
    ),
    "matchlake.recommender.als.model:FactorModel.score": "pairs",
    "matchlake.recommender.als.model:FactorModel.recommend_items": (
        "users k exclude_seen candidates"
    ),
    "matchlake.recommender.als.model:FactorModel.recommend_users": "items k",
    "matchlake.recommender.als.model:FactorModel.similar_items": "items k",
    "matchlake.recommender.als.model:FactorModel.similar_users": "users k",
    "matchlake.recommender.als.model:FactorModel.fold_in_users": "",
    "matchlake.model_store.spark:save_model": "model",
    "matchlake.model_store.spark:load_model": "spark",
    "matchlake.features.fit:fit_features": "",
    "matchlake.features.model:FeatureModel.transform": "",
    "matchlake.features.model:FeatureModel.to_sql": "relation dialect",
    "matchlake.features.model:FeatureModel.transform_pandas": "",
    "matchlake.features.model:FeatureModel.transform_numpy": "",
    "matchlake.features.per_category:split_by": "",
    "matchlake.config:load_config": "env overrides conf_dir",
    "matchlake.runtime:start": "config name",
}
CLASSES = (
    "matchlake.recommender.als.fit:AlsParams",
    "matchlake.recommender.matchbox.params:MatchboxParams",
    "matchlake.features.feature_set:FeatureSet",
    "matchlake.features.categories:OneHot",
    "matchlake.features.categories:MultiHot",
    "matchlake.features.scalers:MinMax",
    "matchlake.io.secrets:SecretRef",
    "matchlake.io.secrets:Secret",
    "matchlake.runtime:Runtime",
)


def _named(path: str) -> object:
    module, _, names = path.partition(":")
    found: object = import_module(module)
    for name in names.split("."):
        found = getattr(found, name)
    return found


@pytest.mark.parametrize("path", TAKES)
def test_a_public_function_takes_what_it_took(path: str) -> None:
    function = _named(path)
    assert callable(function)
    taken = inspect.signature(function).parameters
    assert set(TAKES[path].split()) <= taken.keys(), list(taken)


@pytest.mark.parametrize("path", CLASSES)
def test_a_public_class_is_where_it_was(path: str) -> None:
    assert inspect.isclass(_named(path))
