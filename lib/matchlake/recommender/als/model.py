"""`FactorModel`: what a fit leaves, as frames, and the answers it gives."""

from dataclasses import dataclass

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from matchlake.engine.top_k import require_k
from matchlake.recommender.als.fold_in_spark import fold_in_frame
from matchlake.recommender.als.params import AlsParams
from matchlake.recommender.columns import require_columns
from matchlake.recommender.interactions import VALUE
from matchlake.recommender.ranking import Ranking, RankingParams, side
from matchlake.schemas import ITEM_ID, SCORE, USER_ID


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
        """The best items of each user: `user_id`, `rank` (1 is best), `item_id`, `score`, `cold`.

        Equal scores are ordered by the items' index. A user the model does not know (`cold` true)
        gets the items of the highest bias (explicit) or with the most interactions (implicit; the
        score is then their share of the interactions of all items to choose from).

        Args:
            users: The users, by `user_id`; None for all trained ones. Rows that bring `factors` and
                `bias` (from `fold_in_users`) are answered with those.
            k: Length of a list, 1 or more; shorter where fewer items are left.
            exclude_seen: Pairs `user_id`, `item_id` not to recommend.
            candidates: Items to choose from, by `item_id`; with a column `user_id` too, each
                user's own. Then `exclude_seen` is taken from them.

        Raises:
            SchemaError: A frame lacks columns.
            ParameterError: `k` is below 1.
        """
        return self._recommend((USER_ID, ITEM_ID), users, k, exclude_seen, candidates)

    def recommend_users(
        self,
        items: DataFrame | None,
        k: int,
        *,
        exclude_seen: DataFrame | None = None,
        candidates: DataFrame | None = None,
    ) -> DataFrame:
        """The `k` best users for each item: `item_id`, `rank`, `user_id`, `score`, `cold`.

        As `recommend_items`, with users and items exchanged.
        """
        return self._recommend((ITEM_ID, USER_ID), items, k, exclude_seen, candidates)

    def similar_items(self, items: DataFrame | None, k: int) -> DataFrame:
        """The `k` items most like each item by the cosine of their factors, without itself.

        Returns `item_id`, `rank`, `similar_item_id`, `score`; unknown items have no rows.
        """
        return self._similar(ITEM_ID, items, k)

    def similar_users(self, users: DataFrame | None, k: int) -> DataFrame:
        """The `k` users most like each user: `user_id`, `rank`, `similar_user_id`, `score`."""
        return self._similar(USER_ID, users, k)

    def fold_in_users(self, history: DataFrame) -> DataFrame:
        """Rows for new or changed users from `user_id`, `item_id` and `rating` or `strength`.

        Returns `user_id`, `factors`, `bias`, `observed` (the interactions with known items), one
        row for every user of `history`; lazy. `recommend_items` takes them as its users. The item
        side stays as it is: a row is what one more half-iteration would give it, solved exactly.
        Where `observed` is 0, `factors` is null: such a user gets what an unknown one gets.
        """
        return self._fold_in(history, USER_ID, ITEM_ID)

    def fold_in_items(self, history: DataFrame) -> DataFrame:
        """As `fold_in_users`, for items: `item_id`, `factors`, `bias`, `observed`."""
        return self._fold_in(history, ITEM_ID, USER_ID)

    def _fold_in(self, history: DataFrame, query: str, target: str) -> DataFrame:
        value = self.params.value_column
        require_columns(history, (query, target, value), "the history")
        pairs = history.select(
            F.col(query).alias("query"), F.col(target).alias("target"), F.col(value).alias(VALUE)
        )
        folded = fold_in_frame(pairs, self._side(target), self.mean, self.params)
        return folded.withColumnRenamed("query", query)

    def _side(self, key: str) -> DataFrame:
        if key == USER_ID:
            return side(self.users, USER_ID, "user_idx")
        return side(self.items, ITEM_ID, "item_idx")

    def _recommend(
        self,
        keys: tuple[str, str],
        wanted: DataFrame | None,
        k: int,
        exclude: DataFrame | None,
        candidates: DataFrame | None,
    ) -> DataFrame:
        require_k(k)
        if candidates is not None:
            require_columns(candidates, keys[1:], "the frame of candidates")
        if exclude is not None:
            require_columns(exclude, keys, "the pairs to leave out")
        queries, targets = self._side(keys[0]), self._side(keys[1])
        if wanted is not None:
            require_columns(wanted, keys[:1], "the frame of those to recommend for")
            queries = self._wanted(wanted, keys[0], queries)
        given = exclude
        own = candidates is not None and keys[0] in candidates.columns
        if candidates is not None and own:
            given = candidates.select(*keys).distinct()
            given = given if exclude is None else given.join(exclude, [*keys], "anti")
        elif candidates is not None:
            targets = targets.join(candidates.select(F.col(keys[1]).alias("id")), "id", "semi")
        if given is not None:
            given = given.select(F.col(keys[0]).alias("query"), F.col(keys[1]).alias("target"))
        implicit = self.params.feedback == "implicit"
        params = RankingParams(k, self.params.rank, self.mean, only_given=own, popular=implicit)
        return Ranking(queries, targets, params, given).lists(*keys)

    @staticmethod
    def _wanted(wanted: DataFrame, key: str, known: DataFrame) -> DataFrame:
        """Those to recommend for: rows of the model, or as they come where they were folded in."""
        named = wanted.withColumnRenamed(key, "id").where(F.col("id").isNotNull())
        if "factors" not in wanted.columns:
            return named.select("id").distinct().join(known, "id", "left")
        return named.select("id", F.lit(None).cast("long").alias("idx"), "factors", "bias")

    def _similar(self, key: str, wanted: DataFrame | None, k: int) -> DataFrame:
        require_k(k)
        targets = queries = self._side(key)
        if wanted is not None:
            require_columns(wanted, (key,), "the frame of those to find others for")
            queries = queries.join(wanted.select(F.col(key).alias("id")), "id", "semi")
        params = RankingParams(k, self.params.rank, alike=True)
        return Ranking(queries, targets, params).lists(key, f"similar_{key}").drop("cold")
