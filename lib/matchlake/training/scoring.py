"""The gold tables that a champion writes."""

import logging
from collections.abc import Callable

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from matchlake.errors import ConfigError
from matchlake.recommender.checkpoint import Checkpointer, local_checkpoint
from matchlake.recommender.columns import require_columns
from matchlake.recommender.protocol import Pools, RankedLists, Recommender
from matchlake.recommender.sides import USER
from matchlake.schemas import (
    EVENT_TIME,
    FEATURE_EFFECTS,
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
from matchlake.training.steps import with_newcomers

_log = logging.getLogger(__name__)

TABLES: dict[str, TableSpec] = {
    "recommendations": RECOMMENDATIONS,
    "related_items": RELATED_ITEMS,
    "related_users": RELATED_USERS,
    "predicted_ratings": PREDICTED_RATINGS,
    "feature_effects": FEATURE_EFFECTS,
}


class BatchScoring:
    """The tables of one model; `pairs` to predict, by default its own recommendations.

    `checkpoint` keeps the rows of users and items that are new since the fit, while the tables are
    written.
    """

    def __init__(
        self,
        model: Recommender,
        history: DataFrame,
        sides: Sides,
        params: RecommendParams,
        pairs: DataFrame | None = None,
        *,
        checkpoint: Checkpointer = local_checkpoint,
    ) -> None:
        self._history, self._params, self._pairs = history, params, pairs
        self._model = with_newcomers(model, history, sides, checkpoint)
        self._makers: dict[str, Callable[[], DataFrame]] = {
            "recommendations": self.recommendations,
            "related_items": lambda: self._related(self._model.related_items, "items"),
            "related_users": lambda: self._related(self._model.related_users, "users"),
            "predicted_ratings": self.predicted_ratings,
            "feature_effects": self.feature_effects,
        }

    def tables(self) -> dict[str, DataFrame]:
        """Returns the rows of each requested table; raises ConfigError for an unsupported one."""
        able = ["recommendations"]
        able += ["related_items", "related_users"] if self._supports("related") else []
        able += ["predicted_ratings"] if self._model.predicts_ratings else []
        able += ["feature_effects"] if self._supports("feature_effects") else []
        requested = able if self._params.tables is None else self._params.tables
        missing = [name for name in requested if name not in able]
        if missing:
            raise ConfigError(
                f"recommend.tables asks for {', '.join(missing)}, which the champion does not "
                f"support; it can write {', '.join(able)}. Train a model that predicts ratings: "
                "train.algorithm=matchbox."
            )
        return {name: self._makers[name]() for name in requested}

    def recommendations(self) -> DataFrame:
        """Returns the best unrated items of every user of the model and the history."""
        known = self._model.known(USER).select(USER_ID)
        users = known.union(self._history.select(USER_ID)).distinct()
        return self._model.recommend_items(users, self._params.k, exclude_seen=self._history)

    def predicted_ratings(self) -> DataFrame:
        """Returns `user_id`, `item_id`, `rating`, `rating_std` (or null), `is_cold_start`."""
        pairs = self.recommendations() if self._pairs is None else self._pairs
        require_columns(pairs, (USER_ID, ITEM_ID), "recommend.score_pairs_table")
        day = F.col(EVENT_TIME) if EVENT_TIME in pairs.columns else F.lit(None).cast("timestamp")
        pairs = pairs.select(USER_ID, ITEM_ID, day.alias(EVENT_TIME))
        scored = self._model.score(pairs, clip=self._params.clip_range)
        if not self._supports("uncertainty"):
            scored = scored.withColumn("rating_std", F.lit(None).cast("double"))
        return scored.withColumnRenamed(SCORE, "rating")

    def feature_effects(self) -> DataFrame:
        """Returns the estimated effects of user and item features, without history features."""
        return self._model.feature_effects().where("source != 'history'")

    def _supports(self, capability: str) -> bool:
        return capability in self._model.capabilities

    def _related(self, relate: Callable[..., RankedLists], label: str) -> DataFrame:
        pools = Pools(min_candidates=self._params.min_candidates)
        lists, skipped = relate(None, self._params.related, pools=pools)
        count = skipped.count()
        if count:
            _log.warning("%d %s have too few candidates, so they get no related rows", count, label)
        return lists


def describe_rows(rows: DataFrame) -> str:
    """Returns the numbers of rows and of users, for the log. One Spark job."""
    if USER_ID not in rows.columns:
        return f"{rows.count():,} rows"
    users, count = rows.agg(F.count_distinct(USER_ID), F.count("*")).collect()[0]
    return f"{count:,} rows for {users:,} users"
