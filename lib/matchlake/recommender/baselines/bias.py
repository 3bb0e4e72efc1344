"""The bias baseline: how high a user rates, how high an item is rated, and nothing between them."""

from dataclasses import dataclass
from typing import ClassVar

from pydantic import Field
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from matchlake.errors import InputError
from matchlake.params import Params
from matchlake.recommender.baselines.one_order import first_unseen
from matchlake.recommender.checkpoint import Cut, keep_locally
from matchlake.recommender.columns import require_columns
from matchlake.schemas import ITEM_ID, RANK, RATING, SCORE, USER_ID

BIAS = "bias"

_REST = "_rest"


class BiasParams(Params):
    """How far biases may go from the mean."""

    user_regularization: float = Field(5.0, ge=0)
    """Ratings at the mean that every user is taken to have given besides their own."""
    item_regularization: float = Field(3.0, ge=0)
    """Ratings at the mean that every item is taken to have got besides its own."""
    iterations: int = Field(2, ge=1)
    """How often items and users are fitted in turn; more than two hardly changes a rating."""


@dataclass(frozen=True)
class BiasModel:
    """`users` (`user_id`, `bias`), `items` (`item_id`, `bias`) and the mean rating."""

    users: DataFrame
    items: DataFrame
    mean: float
    params: BiasParams
    predicts_ratings: ClassVar[bool] = True

    def score(self, pairs: DataFrame) -> DataFrame:
        """Adds `score` = mean + the biases that are known (double), and `cold`: one is not."""
        require_columns(pairs, (USER_ID, ITEM_ID), "pairs")
        users = self.users.select(USER_ID, F.col(BIAS).alias("_user"))
        items = self.items.select(ITEM_ID, F.col(BIAS).alias("_item"))
        joined = pairs.join(users, USER_ID, "left").join(items, ITEM_ID, "left")
        biases = F.coalesce("_user", F.lit(0.0)) + F.coalesce("_item", F.lit(0.0))
        cold = F.col("_user").isNull() | F.col("_item").isNull()
        return joined.select(*pairs.columns, (biases + self.mean).alias(SCORE), cold.alias("cold"))

    def recommend_items(
        self,
        users: DataFrame | None,
        k: int,
        *,
        exclude_seen: DataFrame | None = None,
        candidates: DataFrame | None = None,
    ) -> DataFrame:
        """The items of highest bias: `user_id`, `rank`, `item_id`, `score`, `cold`; lazy.

        Reads what `PopularityModel.recommend_items` does. A score is the rating predicted.
        """
        wanted = self.users if users is None else users
        order = self.items.select(ITEM_ID, F.col(BIAS).alias(SCORE))
        ranked = first_unseen(order, wanted, k, exclude_seen=exclude_seen, candidates=candidates)
        scored = ranked.join(self.users.select(USER_ID, BIAS), USER_ID, "left")
        rating = F.col(SCORE) + F.coalesce(BIAS, F.lit(0.0)) + self.mean
        cold = F.col(BIAS).isNull().alias("cold")
        return scored.select(USER_ID, RANK, ITEM_ID, rating.alias(SCORE), cold)


def fit_bias(
    interactions: DataFrame, params: BiasParams | None = None, *, cut: Cut = keep_locally
) -> BiasModel:
    """Learns biases from `user_id`, `item_id` and `rating`; a null rating is passed over.

    Least squares: sum (rating - mean - user - item)^2 + regularization * sum of squared biases,
    each side's, solved for one side at a time (Koren and Bell 2011, section 5.2.1). Starts one
    job for the mean, and what `cut` starts, for the items and for the users.
    """
    params = params or BiasParams()
    require_columns(interactions, (USER_ID, ITEM_ID, RATING), "interactions")
    rated = interactions.where(F.col(RATING).isNotNull())
    row = rated.agg(F.avg(RATING)).first()
    if row is None or row[0] is None:
        raise InputError("interactions hold no rating; a bias model needs one at least.")
    mean = float(row[0])
    rests = rated.select(USER_ID, ITEM_ID, (F.col(RATING) - mean).alias(_REST))
    items = _biases(rests, ITEM_ID, params.item_regularization)
    for _ in range(params.iterations - 1):
        users = _biases(_without(rests, items, ITEM_ID), USER_ID, params.user_regularization)
        items = _biases(_without(rests, users, USER_ID), ITEM_ID, params.item_regularization)
    items = cut(items)
    users = cut(_biases(_without(rests, items, ITEM_ID), USER_ID, params.user_regularization))
    return BiasModel(users=users, items=items, mean=mean, params=params)


def _biases(rests: DataFrame, side: str, regularization: float) -> DataFrame:
    """The biases of one side that fit best what the other side leaves."""
    return rests.groupBy(side).agg((F.sum(_REST) / (F.count(_REST) + regularization)).alias(BIAS))


def _without(rests: DataFrame, biases: DataFrame, side: str) -> DataFrame:
    return rests.join(biases, side).select(
        USER_ID, ITEM_ID, (F.col(_REST) - F.col(BIAS)).alias(_REST)
    )
