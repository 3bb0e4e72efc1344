"""What a champion says in each of its modes, as the rows of gold's tables."""

import logging
from collections.abc import Callable
from dataclasses import replace

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from matchlake.errors import ConfigError
from matchlake.recommender.als.model import FactorModel
from matchlake.recommender.azure_modes import Lists, Pools, related_items, related_users
from matchlake.recommender.checkpoint import Cut, keep_locally
from matchlake.recommender.columns import require_columns
from matchlake.recommender.matchbox.model import MatchboxModel
from matchlake.schemas import (
    EVENT_TIME,
    FEATURE_WEIGHTS,
    ITEM_ID,
    PREDICTED_RATINGS,
    RECOMMENDATIONS,
    RELATED_ITEMS,
    RELATED_USERS,
    SCORE,
    USER_ID,
    TableSpec,
)
from matchlake.training.params import RecommendParams
from matchlake.training.side_features import Sides
from matchlake.training.steps import known_and_new_users, with_newcomers

_log = logging.getLogger(__name__)

TABLES: dict[str, TableSpec] = {
    "recommendations": RECOMMENDATIONS,
    "related_items": RELATED_ITEMS,
    "related_users": RELATED_USERS,
    "predicted_ratings": PREDICTED_RATINGS,
    "feature_weights": FEATURE_WEIGHTS,
}


class Answers:
    """The answers of one model; `pairs` are those whose ratings to predict, if not its own.

    `cut` keeps who came after the fit, while the tables are written.
    """

    def __init__(
        self,
        model: FactorModel | MatchboxModel,
        history: DataFrame,
        sides: Sides,
        params: RecommendParams,
        pairs: DataFrame | None = None,
        *,
        cut: Cut = keep_locally,
    ) -> None:
        self._history, self._params, self._pairs = history, params, pairs
        if isinstance(model, MatchboxModel):
            model = with_newcomers(model, history, sides, cut)
        self._model = model
        self._flat = model if isinstance(model, FactorModel) else model.factor_model()
        self._makers: dict[str, Callable[[], DataFrame]] = {
            "recommendations": self.recommendations,
            "related_items": lambda: self._related(related_items, "items"),
            "related_users": lambda: self._related(related_users, "users"),
            "predicted_ratings": self.predicted_ratings,
            "feature_weights": self.feature_weights,
        }

    def tables(self) -> dict[str, DataFrame]:
        """The rows of each table that is asked for; raises ConfigError for what cannot be had."""
        able = ["recommendations", "related_items", "related_users"]
        able += ["predicted_ratings"] if self._model.predicts_ratings else []
        able += ["feature_weights"] if isinstance(self._model, MatchboxModel) else []
        wanted = able if self._params.tables is None else self._params.tables
        missing = [name for name in wanted if name not in able]
        if missing:
            raise ConfigError(
                f"recommend.tables asks for {', '.join(missing)}, which the champion cannot "
                f"answer; it can write {', '.join(able)}. Train one that predicts ratings: "
                "train.algorithm=matchbox."
            )
        return {name: self._makers[name]() for name in wanted}

    def recommendations(self) -> DataFrame:
        """The best items of every user that is known, without those he has rated."""
        users = None
        if isinstance(self._model, FactorModel):
            users = known_and_new_users(self._model, self._history)
        return self._model.recommend_items(users, self._params.k, exclude_seen=self._history)

    def predicted_ratings(self) -> DataFrame:
        """`user_id`, `item_id`, `rating`, `deviation` (null where the model has none), `cold`."""
        pairs = self.recommendations() if self._pairs is None else self._pairs
        require_columns(pairs, (USER_ID, ITEM_ID), "recommend.pairs")
        day = F.col(EVENT_TIME) if EVENT_TIME in pairs.columns else F.lit(None).cast("timestamp")
        pairs = pairs.select(USER_ID, ITEM_ID, day.alias(EVENT_TIME))
        if isinstance(self._model, MatchboxModel):
            scored = self._model.score(pairs, clip=self._params.stars)
        else:
            users = known_and_new_users(self._model, self._history)
            scored = replace(self._model, users=users).score(pairs)
            scored = scored.withColumn("deviation", F.lit(None).cast("double"))
            if self._params.stars is not None:
                low, high = map(F.lit, self._params.stars)
                scored = scored.withColumn(SCORE, F.greatest(low, F.least(high, SCORE)))
        return scored.withColumnRenamed(SCORE, "rating")

    def feature_weights(self) -> DataFrame:
        """Which feature of users and of items pulls which way; history features left out."""
        if not isinstance(self._model, MatchboxModel):
            raise ConfigError("Only a Matchbox model has feature weights.")
        users, items = (
            weights.where("source != 'history'").withColumn("side", F.lit(side))
            for side, weights in (
                ("user", self._model.user_weights()),
                ("item", self._model.item_weights()),
            )
        )
        return users.unionByName(items)

    def _related(self, relate: Callable[..., Lists], what: str) -> DataFrame:
        pools = Pools(smallest=self._params.smallest_pool)
        lists, skipped = relate(self._flat, None, self._params.related, pools=pools)
        count = skipped.count()
        if count:
            _log.warning("%d %s have too few others to be related to", count, what)
        return lists


def users_of(rows: DataFrame) -> str:
    """How many rows and, where there are users, how many of those; for the log. One Spark job."""
    if USER_ID not in rows.columns:
        return f"{rows.count():,} rows"
    users, count = rows.agg(F.count_distinct(USER_ID), F.count("*")).collect()[0]
    return f"{count:,} rows for {users:,} users"
