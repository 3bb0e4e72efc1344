"""Parameters of training and of batch recommendations; importing them does not start Spark."""

from typing import TYPE_CHECKING, Annotated, Any, Literal, Self, cast

from pydantic import AfterValidator, Field, create_model, field_validator, model_validator

from matchlake.features.params import FeatureTable
from matchlake.formulas.user_sql import check_expression
from matchlake.params import Params, Settable
from matchlake.recommender.algorithms import ALGORITHMS, algorithm_of
from matchlake.recommender.fit_params import FitParams
from matchlake.recommender.metrics.params import RankingParams
from matchlake.recommender.split.params import SplitParams
from matchlake.schemas import TableName
from matchlake.search.params import SearchParams
from matchlake.search.proposals import check_grid
from matchlake.search.space import check_space
from matchlake.search.target import FieldsTarget

LOWER_IS_BETTER = ("rmse", "mae")
"""Metrics of predicted ratings; implicit fits do not have them."""

_RANKING = ("ndcg", "map", "mrr", "precision", "recall", "hit_rate")
_CALIBRATION = ("log_likelihood", "interval_coverage_90")

ScoringTable = Literal[
    "recommendations", "related_items", "related_users", "predicted_ratings", "feature_effects"
]
"""The tables that the job recommend can write to gold."""


def _known_algorithm(name: str) -> str:
    algorithm_of(name)
    return name


if TYPE_CHECKING:

    class AlgorithmsParams(Params):
        """One key per algorithm, with its parameters."""

else:
    AlgorithmsParams = create_model(
        "AlgorithmsParams",
        __base__=Params,
        __doc__="One key per algorithm, with its parameters.",
        **{
            name: (
                Settable[kind],
                Field(default=kind(), description=f"The parameters of `{name}`."),
            )
            for name, kind in (
                (name, algorithm.params_class()) for name, algorithm in ALGORITHMS.items()
            )
        },
    )


class FeatureSetNames(Params):
    """The feature sets of users and items, by their names in `features.tables`."""

    users: str | None = None
    """The feature set of users; null: users have no features."""
    items: str | None = None
    """The feature set of items; null: items have no features."""


class SideTables(Params):
    """The feature tables of users and items that a fit reads; null: none."""

    users: FeatureTable | None = None
    items: FeatureTable | None = None


class AzureMlModesParams(Params):
    """How the other modes of Azure ML are measured: ranked test items, related users and items.

    Each mode uses only the test part. A user's test items are ranked (`rated_ndcg_at_K`, gain
    linear in the rating). Related users, and items, are those with common ratings in the test part
    (`related_users_ndcg_l1_at_K` and similar metrics).
    """

    k: int = Field(5, ge=1)
    """Length of a list."""
    min_co_ratings: int = Field(2, ge=1)
    """Minimum number of common ratings of two related users or items."""
    min_candidates: int = Field(2, ge=1)
    """Minimum number of candidates of a list."""

    def names(self) -> list[str]:
        """Returns the names of the measured metrics."""
        related = [f"related_{side}_ndcg_{norm}" for side in ("users", "items") for norm in _NORMS]
        return [f"{name}_at_{self.k}" for name in ("rated_ndcg", *related)]


_NORMS = ("l1", "l2")


class TrainParams(AlgorithmsParams):
    """Parameters of the job train_recommender: algorithm, evaluation and promotion."""

    algorithm: Settable[Annotated[str, AfterValidator(_known_algorithm)]] = "als"
    """The algorithm to fit: als, matchbox, ease, slim, blend, popularity or bias."""
    features: Settable[FeatureSetNames] = FeatureSetNames()
    """The feature sets that `matchbox` reads; their encoders are saved with the model."""
    weight: str = "1.0"
    """SQL expression over the columns of silver.interactions: the weight of an interaction in an
    implicit fit, such as `rating * rating`, or `exp(-datediff(current_date(), event_time) / 365)`
    for weights that decay with age. Only functions without side effects are allowed."""
    split: Settable[SplitParams] = SplitParams(kind="user_time")
    """How interactions are split; the kinds of time keep the future out of training."""
    ranking: Settable[RankingParams] = RankingParams(ks=(5, 10, 20))
    """How ranked lists are measured."""
    azure_ml_modes: Settable[AzureMlModesParams | None] = None
    """Also measure the other modes of Azure ML; null: only ratings and recommendations."""
    metric: Settable[str] = "ndcg_at_10"
    """Decides between champion and challenger: a ranking metric with `_at_` and one of
    `ranking.ks`; for predicted ratings also rmse or mae, for matchbox log_likelihood or
    interval_coverage_90 (the nearer to 0.9 the better); the metrics of `azure_ml_modes`."""
    require_better_than_baselines: Settable[bool] = True
    """A version, including the first, becomes champion only if it is strictly better in `metric`
    than the baselines popularity and bias. A baseline without the metric is ignored."""
    refit_on_all_data: Settable[bool] = True
    """After the evaluation, fit again on all interactions, including the test part, and register
    this model. Otherwise the evaluated model is registered, without the test part."""

    search: Settable[SearchParams | None] = None
    """Search the hyperparameters of the algorithm on a validation part, split off the training
    part. The final fit uses the best hyperparameters. Null: no search."""
    resume: Settable[bool] = False
    """Continue a failed run with the same table version and parameters from its last checkpoint, if
    there is one. Otherwise its checkpoints are removed."""

    @property
    def fit_params(self) -> FitParams:
        """Returns the parameters of the chosen algorithm."""
        return cast("FitParams", getattr(self, self.algorithm))

    @property
    def predicts_ratings(self) -> bool:
        """Returns whether scores are ratings."""
        return self.fit_params.predicts_ratings

    @field_validator("weight")
    @classmethod
    def _validate_weight(cls, sql: str) -> str:
        return check_expression(sql)

    @model_validator(mode="after")
    def _refuse_patience(self) -> Self:
        for name in ALGORITHMS:
            params: Any = getattr(self, name)
            if getattr(params, "patience", None) is not None:
                raise ValueError(
                    f"{name}.patience needs a validation part, which this job does not split off: "
                    f"leave it at null and choose {name}.iterations"
                )
        return self

    @model_validator(mode="after")
    def _search_is_possible(self) -> Self:
        if self.search is None:
            return self
        if self.search.prune and not self.fit_params.measures_validation:
            raise ValueError(
                f"search.prune: a fit of {self.algorithm} reports no metric during the fit; set "
                "prune to false"
            )
        if "patience" in self.search.space:
            raise ValueError(
                "search.space.patience: trials have no validation part for early stopping"
            )
        check_grid(check_space(self.search.space, FieldsTarget(self.fit_params)), self.search)
        return self

    @model_validator(mode="after")
    def _metric_is_measured(self) -> Self:
        measured = [f"{name}_at_{k}" for name in _RANKING for k in self.ranking.ks]
        if self.predicts_ratings:
            measured += LOWER_IS_BETTER
        if self.fit_params.predicts_uncertainty:
            measured += _CALIBRATION
        if self.azure_ml_modes is not None:
            measured += self.azure_ml_modes.names()
        if self.metric not in measured:
            raise ValueError(
                f"metric {self.metric!r} is not measured by this run. Measured metrics: "
                f"{', '.join(measured)}"
            )
        return self


class RecommendParams(Params):
    """Parameters of the job recommend."""

    k: Settable[int] = Field(20, ge=1)
    """Number of recommended items per user."""
    tables: Settable[tuple[ScoringTable, ...] | None] = None
    """The tables to write; null: all that the champion supports."""
    related: Settable[int] = Field(5, ge=1)
    """Number of related items per item, and of related users per user."""
    min_candidates: Settable[int] = Field(2, ge=1)
    """An item or user with fewer candidates gets no related items or users."""
    score_pairs_table: TableName | None = None
    """Table or view of `user_id` and `item_id` whose ratings to predict; null: the recommended
    items of each user of the model, including users without ratings."""
    clip_range: Settable[tuple[float, float] | None] = (1.0, 5.0)
    """The range of predicted ratings; null: no limits."""
