"""Names and descriptions of runs, models and metrics, for people."""

from collections.abc import Mapping
from datetime import datetime

from matchlake.training.evaluation import Figures
from matchlake.training.params import LOWER_IS_BETTER, TrainParams

_TITLES = {
    "ndcg": "NDCG",
    "map": "Mean average precision",
    "mrr": "Mean reciprocal rank",
    "precision": "Precision",
    "recall": "Recall",
    "hit_rate": "Hit rate",
    "rmse": "Root mean squared error",
    "mae": "Mean absolute error",
    "log_likelihood": "Log likelihood per rating",
    "interval_coverage_90": "Ratings in the 90 % interval",
    "rated_ndcg": "NDCG of rated items",
    "related_users_ndcg_l1": "Related users: NDCG, L1",
    "related_users_ndcg_l2": "Related users: NDCG, L2",
    "related_items_ndcg_l1": "Related items: NDCG, L1",
    "related_items_ndcg_l2": "Related items: NDCG, L2",
}


def title_of(metric: str) -> str:
    """Returns the metric in words: `NDCG at 10` for `ndcg_at_10`."""
    name, _, length = metric.partition("_at_")
    title = _TITLES.get(name, name.replace("_", " ").capitalize())
    return f"{title} at {length}" if length else title


def direction_of(metric: str) -> str:
    """Returns which values are better."""
    if metric == "interval_coverage_90":
        return "0.9 is best"
    return "lower is better" if metric in LOWER_IS_BETTER else "higher is better"


MODEL = (
    "The recommender of the job train_recommender. The version with the alias champion is in "
    "use; the alias challenger is the newest other version. The description of each version says "
    "why it has its alias."
)
"""The description of the registered model."""


def run_name(params: TrainParams, at: datetime) -> str:
    """A name that identifies a run: `train_recommender als ndcg 2026-05-01 10:00`."""
    metric = params.metric.partition("_at_")[0]
    return f"train_recommender {params.algorithm} {metric} {at:%Y-%m-%d %H:%M}"


def describe_run(params: TrainParams, versions: Mapping[str, int]) -> str:
    """Returns what a run does: algorithm, data, split and deciding metric."""
    tables = ", ".join(f"{table} version {version}" for table, version in versions.items())
    refit = " The registered model is fitted again on all rows." if params.refit_on_all_data else ""
    return (
        f"Fits **{params.algorithm}** on {tables}, and measures it on a test part (split by "
        f"`{params.split.kind}`). The deciding metric is {title_of(params.metric)} "
        f"({direction_of(params.metric)}); the picture to look at first is "
        f"`plots/1_comparison.png`.{refit}"
    )


def describe_version(figures: Mapping[str, Figures], params: TrainParams, reason: str) -> str:
    """Describes a version: algorithm, deciding metric, those of the baselines, and the reason."""
    values = ", ".join(
        f"{model} {metrics[params.metric]:.4f}"
        for model, metrics in figures.items()
        if params.metric in metrics
    )
    title, direction = title_of(params.metric), direction_of(params.metric)
    return f"{params.algorithm}. {title} ({direction}): {values}. Decision: {reason}"
