"""`FactorModel`: what a fit leaves, as frames, and the answers it gives."""

from dataclasses import dataclass

from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from matchlake.recommender.columns import require_columns
from matchlake.recommender.params import AlsParams
from matchlake.schemas import ITEM_ID, RANK, SCORE, USER_ID


@dataclass(frozen=True)
class FactorModel:
    """A fitted factor model as lazy frames.

    `users` has `user_id`, `user_idx` (long, dense, in the order of the ids), `factors`
    (array of float, `rank` long), `bias` (float) and `observed` (long, the interactions that
    trained the row); `items` likewise.
    """

    users: DataFrame
    items: DataFrame
    mean: float
    params: AlsParams

    @property
    def predicts_ratings(self) -> bool:
        """Whether a score is a rating; that of an implicit fit only orders items."""
        return self.params.feedback == "explicit"

    def score(self, pairs: DataFrame) -> DataFrame:
        """Adds `score` (float) and `cold` (true where user or item is unknown) to `pairs`.

        A cold row gets the bias-only answer: the mean and the bias of the side that is known.
        """
        require_columns(pairs, (USER_ID, ITEM_ID), "the pairs")
        users = self.users.select(
            USER_ID, F.col("factors").alias("_user"), F.col("bias").alias("_user_bias")
        )
        items = self.items.select(
            ITEM_ID, F.col("factors").alias("_item"), F.col("bias").alias("_item_bias")
        )
        joined = pairs.join(users, USER_ID, "left").join(items, ITEM_ID, "left")
        dot = F.aggregate(
            F.zip_with("_user", "_item", lambda a, b: a * b),
            F.lit(0.0).cast("float"),
            lambda total, product: total + product,
        )
        bias = F.coalesce("_user_bias", F.lit(0.0)) + F.coalesce("_item_bias", F.lit(0.0))
        score = F.lit(self.mean) + bias + F.coalesce(dot, F.lit(0.0))
        cold = F.col("_user").isNull() | F.col("_item").isNull()
        return joined.select(*pairs.columns, score.cast("float").alias(SCORE), cold.alias("cold"))

    def recommend_items(
        self,
        users: DataFrame | None,
        k: int,
        *,
        exclude_seen: DataFrame | None = None,
        candidates: DataFrame | None = None,
    ) -> DataFrame:
        """The `k` best items of each user: `user_id`, `rank` (1 is best), `item_id`, `score`."""
        wanted = (self.users if users is None else users).select(USER_ID).distinct()
        pool = self.items.select(ITEM_ID)
        if candidates is not None:
            pool = pool.join(candidates.select(ITEM_ID).distinct(), ITEM_ID, "semi")
        pairs = wanted.crossJoin(pool)
        if exclude_seen is not None:
            pairs = pairs.join(exclude_seen.select(USER_ID, ITEM_ID), [USER_ID, ITEM_ID], "anti")
        place = F.row_number().over(Window.partitionBy(USER_ID).orderBy(F.desc(SCORE), ITEM_ID))
        ranked = self.score(pairs).withColumn(RANK, place).where(F.col(RANK) <= k)
        return ranked.select(USER_ID, RANK, ITEM_ID, SCORE)
