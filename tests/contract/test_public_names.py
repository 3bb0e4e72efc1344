"""The public surface: the names of `matchlake`, their parameters, and what importing it loads."""

import inspect
import subprocess
import sys

import pytest

import matchlake

NAMES = {
    *("ALGORITHMS", "Encoders", "Pools", "Recommender", "NumpyRecommender", "local_checkpoint"),
    *("fit_als", "AlsParams", "FactorModel", "NumpyFactorModel"),
    *("fit_matchbox", "MatchboxParams", "MatchboxModel", "NumpyMatchboxModel"),
    *("fit_ease", "EaseParams", "EaseModel", "fit_bias", "BiasParams", "BiasModel"),
    *("fit_blend", "BlendParams", "BlendModel"),
    *("fit_slim", "SlimParams", "SlimModel"),
    *("fit_popularity", "PopularityParams", "PopularityModel", "recommend_rated_items"),
    *("save_model", "load_model", "load_numpy", "log_weight", "time_decay"),
    *("split", "Split", "SplitParams", "RankingParams", "ranking_metrics", "rating_metrics"),
    *("calibration_metrics", "catalogue_metrics", "related_metrics"),
    *("FeatureSet", "FeatureModel", "fit_features", "OneHot", "MultiHot"),
    *("MinMax", "MaxAbs", "ZScore", "Robust", "load_feature_set"),
    *("load_config", "start", "start_notebook", "Runtime", "Secret", "SecretRef"),
    *("select_features", "SelectParams", "MatchlakeError"),
    *("sweep_clusters", "KmeansParams", "permutation_importance"),
}
FRAMES = "user_features item_features"
TAKES = {
    "fit_als": "interactions params checkpoint initial_model validation callback",
    "fit_matchbox": f"ratings {FRAMES} params encoders checkpoint",
    "fit_ease": "interactions params checkpoint",
    "fit_blend": "interactions params checkpoint",
    "fit_slim": "interactions params checkpoint",
    "fit_bias": "interactions params checkpoint",
    "fit_popularity": "interactions params checkpoint",
    "save_model": "model path",
    "load_model": "path spark",
    "load_numpy": "path",
    "split": "interactions params",
    "select_features": "frame label params columns categories task",
    "Recommender.score": "pairs clip",
    "Recommender.recommend_items": "users k exclude_seen candidates",
    "Recommender.recommend_users": "items k exclude_seen candidates",
    "Recommender.similar_items": "items k metric",
    "Recommender.similar_users": "users k metric",
    "Recommender.related_items": "items k rated pools",
    "Recommender.related_users": "users k rated pools",
    "Recommender.fold_in": f"users items {FRAMES} checkpoint",
    "NumpyRecommender.score": "user_ids item_ids",
    "NumpyRecommender.recommend_items": "user k exclude_seen candidates",
    "NumpyRecommender.recommend_users": "item k exclude_seen candidates",
    "NumpyRecommender.fold_in": "users items",
    "sweep_clusters": "rows columns params keys seed checkpoint",
    "permutation_importance": "model rows label params by seed",
    "load_config": "env overrides conf_dir",
    "start": "config name",
    "start_notebook": "name env overrides",
}


def test_all_holds_the_pinned_names() -> None:
    assert set(matchlake.__all__) == NAMES
    assert len(matchlake.__all__) == len(NAMES)
    assert set(matchlake.__all__) <= set(dir(matchlake))


@pytest.mark.parametrize("name", sorted(NAMES))
def test_a_public_name_resolves(name: str) -> None:
    assert getattr(matchlake, name).__module__ if name != "ALGORITHMS" else matchlake.ALGORITHMS


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'fit_svd'"):
        _ = matchlake.fit_svd


@pytest.mark.parametrize("path", TAKES)
def test_a_public_function_takes_the_pinned_parameters(path: str) -> None:
    first, _, rest = path.partition(".")
    function = getattr(matchlake, first)
    if rest:
        function = getattr(function, rest)
    found = [name for name in inspect.signature(function).parameters if name != "self"]
    assert found == TAKES[path].split()


def test_importing_names_and_parameters_loads_no_spark() -> None:
    code = (
        "import sys, matchlake;"
        "matchlake.AlsParams(), matchlake.MatchboxParams(), matchlake.EaseParams();"
        "[a.params_class() for a in matchlake.ALGORITHMS.values()];"
        "assert 'pyspark' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
