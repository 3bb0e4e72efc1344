"""`MatchboxModel` has the posterior as frames, and predicts from it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, Self

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from matchlake.errors import ParameterError
from matchlake.features.model import FeatureModel
from matchlake.recommender.columns import id_types, require_columns, with_id_types
from matchlake.recommender.factors import FactorRecommender, Factors, with_rows
from matchlake.recommender.matchbox.convergence import Convergence, measure_convergence
from matchlake.recommender.matchbox.encoders import FittedEncoders
from matchlake.recommender.matchbox.feature_effects import side_effects
from matchlake.recommender.matchbox.fold_in_spark import fold_in_rows
from matchlake.recommender.matchbox.frames import MatchboxFrames
from matchlake.recommender.matchbox.numpy_model import (
    ENCODERS,
    REPORT,
    NumpyMatchboxModel,
    load_numpy,
)
from matchlake.recommender.matchbox.posterior import low_rank_row
from matchlake.recommender.matchbox.report import PosteriorReport
from matchlake.recommender.matchbox.scoring import score_cells
from matchlake.recommender.parts import to_arrow
from matchlake.recommender.protocol import Capability, ModelParts
from matchlake.recommender.sides import ITEM, KEYS, USER
from matchlake.schemas import EVENT_TIME, ITEM_ID, SCORE, USER_ID

_DAYS = "days"


@dataclass(frozen=True, repr=False)
class MatchboxModel(MatchboxFrames, FactorRecommender):
    """A fitted posterior; see `MatchboxFrames` for its data.

    Rankings use the low-rank posterior mean, with an error within `params.low_rank_tolerance`.
    `score` uses all samples. Rankings have no day effects.
    """

    algorithm: ClassVar[str] = "matchbox"
    capabilities: ClassVar[frozenset[Capability]] = frozenset(
        {
            "recommend_users",
            "similar",
            "related",
            "fold_in_users",
            "fold_in_items",
            "features",
            "uncertainty",
            "feature_effects",
        }
    )

    def __repr__(self) -> str:
        users, items = self.report.sizes[:2]
        kind = "ratings" if self.rating_levels is None else f"{len(self.rating_levels)} levels"
        size = f"samples={self.params.samples}, users={users:,}, items={items:,}"
        return f"MatchboxModel({kind}, rank={self.params.rank}, {size})"

    @property
    def predicts_ratings(self) -> bool:
        """Returns true: scores are ratings."""
        return True

    @property
    def factors(self) -> Factors:
        """Returns the low-rank posterior mean of users and items.

        For numeric ratings its scores are expected ratings. For rating levels its scores are
        expected latent numbers.
        """
        columns = (F.col("low_rank").alias("factors"), _mean_bias().alias("bias"), "n_interactions")
        return Factors(
            users=self.user_factors.select(USER_ID, "user_idx", *columns),
            items=self.item_factors.select(ITEM_ID, "item_idx", *columns),
            rank=self.report.sides[USER].projection.shape[1],
            mean=self.mean,
        )

    def recommend_items(
        self,
        users: DataFrame | None,
        k: int,
        *,
        exclude_seen: DataFrame | None = None,
        candidates: DataFrame | None = None,
    ) -> DataFrame:
        """The best items of each user; see `Recommender.recommend_items`.

        `score` is the expected rating. Users with features but no ratings get lists, too. An
        unknown user gets the list of the average user. In both cases `is_cold_start` is true.
        """
        return self._recommend(USER, users, k, exclude_seen, candidates)

    def recommend_users(
        self,
        items: DataFrame | None,
        k: int,
        *,
        exclude_seen: DataFrame | None = None,
        candidates: DataFrame | None = None,
    ) -> DataFrame:
        """Like `recommend_items`, with users and items exchanged."""
        return self._recommend(ITEM, items, k, exclude_seen, candidates)

    def _recommend(
        self,
        side: int,
        queries: DataFrame | None,
        k: int,
        exclude_seen: DataFrame | None,
        candidates: DataFrame | None,
    ) -> DataFrame:
        factors = self.factors
        rows = self._query_rows(queries, factors.side(side), side)
        lists = factors.recommend(side, rows, k, exclude_seen, candidates)
        return self._rated(lists, side)

    def _query_rows(
        self, queries: DataFrame | None, known: DataFrame, side: int
    ) -> DataFrame | None:
        """Adds low-rank factors and bias to the queries.

        Unknown ids get those of the average row.
        """
        if queries is None:
            return None
        key = KEYS[side]
        kinds = {key: known.schema[key].dataType}
        queries = with_id_types(queries, kinds, "the frame of queries")
        factors, bias = low_rank_row(self.report.sides[side])
        rows = known.select(key, "factors", "bias")
        ids = queries.select(key).where(F.col(key).isNotNull()).distinct()
        average = F.array(*map(F.lit, factors.tolist())).cast("array<float>")
        return ids.join(rows, key, "left").withColumns(
            {
                "factors": F.coalesce("factors", average),
                "bias": F.coalesce("bias", F.lit(bias).cast("float")),
            }
        )

    def _rated(self, lists: DataFrame, side: int) -> DataFrame:
        """Adds `is_cold_start`; for rating levels, replaces `score` by the expected rating."""
        key = KEYS[side]
        trained = self.side(side).where(F.col("n_interactions") > 0)
        trained = trained.select(key, F.lit(col=False).alias("_cold"))
        cold = F.coalesce("_cold", F.lit(col=True))
        flagged = lists.join(trained, key, "left").withColumn("is_cold_start", cold).drop("_cold")
        if self.rating_levels is None:
            return flagged
        pairs = flagged.drop(SCORE).withColumnRenamed("is_cold_start", "_cold")
        if self.params.day_effects:
            pairs = pairs.withColumn(EVENT_TIME, F.lit(None).cast("timestamp"))
        scored = self.score(pairs).drop("is_cold_start")
        return scored.withColumnRenamed("_cold", "is_cold_start").select(*lists.columns)

    def score(self, pairs: DataFrame, *, clip: tuple[float, float] | None = None) -> DataFrame:
        """Adds `score`, `rating_std`, `is_cold_start` and, for levels, `level_probabilities`; lazy.

        `score` (float) is the expected rating, limited to `clip`. `rating_std` (float) is the
        standard deviation of a new rating, with its noise. `is_cold_start` is true if the user or
        the item had no ratings in the fit. Their factors are the prior mean of their features; an
        unknown id has the average row. `level_probabilities` (array<float>) has the probability of
        each of `rating_levels`. With `params.day_effects` the day of `event_time` is used; an
        unknown or null day counts as an average day.
        """
        timed = (EVENT_TIME,) if self.params.day_effects else ()
        require_columns(pairs, timed, "the pairs")
        pairs = with_id_types(pairs, id_types(self.user_factors, self.item_factors), "the pairs")
        return score_cells(self, pairs, clip)

    def fold_in(
        self,
        *,
        users: DataFrame | None = None,
        items: DataFrame | None = None,
        user_features: DataFrame | None = None,
        item_features: DataFrame | None = None,
        checkpoint: Callable[[DataFrame], DataFrame] | None = None,
    ) -> Self:
        """Adds or changes users and items, from ratings, features or both; lazy.

        In each sample, a new row is the conditional mean given the other rows. Without ratings, the
        conditional mean is the prior mean of its features. A rating is ignored if the item (for new
        items: the user) had no ratings in the fit. Day effects are ignored. Absent features count
        as missing. A task fails on an invalid rating, and shows it. Raises ParameterError without
        any argument.
        """
        if all(each is None for each in (users, items, user_features, item_features)):
            raise ParameterError(
                "There is nothing to fold in: pass users, items, user_features or item_features."
            )
        keep = checkpoint or (lambda frame: frame)
        sides = [self.user_factors, self.item_factors]
        for side, history, features in ((USER, users, user_features), (ITEM, items, item_features)):
            if history is not None or features is not None:
                rows = keep(fold_in_rows(self, side, history, features))
                sides[side] = with_rows(sides[side], rows, side)
        return replace(self, user_factors=sides[USER], item_factors=sides[ITEM])

    def user_feature_effects(self) -> DataFrame:
        """Returns the estimated effect of each user feature on the rating: one row per feature.

        Columns `feature`, `source` (the feature's column, or `history`), `category` (an item
        id for history), `effect` (float: what one unit of the feature adds to the rating of an
        average item), `effect_std` (float: its posterior standard deviation) and
        `effect_heterogeneity` (float: the standard deviation of the effect over items).
        """
        return side_effects(self, USER)

    def item_feature_effects(self) -> DataFrame:
        """Like `user_feature_effects`, for features of items."""
        return side_effects(self, ITEM)

    def feature_effects(self) -> DataFrame:
        """Returns the effects of both sides, with `side` (user or item)."""
        users, items = (
            side_effects(self, side).withColumn("side", F.lit(name))
            for side, name in ((USER, "user"), (ITEM, "item"))
        )
        return users.unionByName(items)

    def convergence_diagnostics(self) -> list[Convergence]:
        """Returns R-hat and effective sample sizes of error, noise and link scales."""
        return measure_convergence(self.report.trace, self.params.burn_in)

    def diagnostics(self) -> Mapping[str, float]:
        """`convergence_diagnostics` as numbers by name."""
        return {
            f"convergence/{diagnostic.name}/{name}": value
            for diagnostic in self.convergence_diagnostics()
            for name, value in (
                ("mean", diagnostic.mean),
                ("r_hat", diagnostic.r_hat),
                ("ess", diagnostic.ess),
            )
        }

    def to_parts(self) -> ModelParts[DataFrame]:
        """All parts of the model, for saving."""
        files = {REPORT: self.report.to_bytes()}
        for name, encoder in zip(ENCODERS, self.encoders, strict=True):
            if encoder is not None:
                files[name] = encoder.to_json().encode()
        users, items = (
            self.side(side).withColumn("mean_bias", _mean_bias()) for side in (USER, ITEM)
        )
        tables = {} if self.days is None else {_DAYS: self.days}
        return ModelParts(users, items, self.params, tables=tables, files=files)

    def to_numpy(self) -> NumpyMatchboxModel:
        """The model as NumPy arrays in the memory of the driver; one Spark job per frame."""
        return load_numpy(to_arrow(self.to_parts()))


def _mean_bias() -> Column:
    total = F.aggregate("biases", F.lit(0.0), lambda a, b: a + b)
    return (total / F.size("biases")).cast("float")


def load(parts: ModelParts[DataFrame]) -> MatchboxModel:
    """The model of saved parts, as frames."""
    encoders = [
        FeatureModel.from_json(parts.files[name].decode()) if name in parts.files else None
        for name in ENCODERS
    ]
    return MatchboxModel(
        user_factors=parts.users.drop("mean_bias"),
        item_factors=parts.items.drop("mean_bias"),
        days=parts.tables.get(_DAYS),
        report=PosteriorReport.from_bytes(parts.files[REPORT]),
        params=parts.params,
        encoders=FittedEncoders(*encoders),
    )
