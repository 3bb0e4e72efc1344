"""Users and items as rows of factors and biases on Spark, and the methods that need no more."""

from dataclasses import dataclass

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from matchlake.engine.top_k import require_k
from matchlake.recommender.columns import id_types, with_id_types
from matchlake.recommender.protocol import (
    DEFAULT_POOLS,
    Metric,
    Pools,
    RankedLists,
    Recommender,
    require,
)
from matchlake.recommender.ranking import Ranking, RankingOptions, as_rows
from matchlake.recommender.related import related_lists, similar_lists
from matchlake.recommender.sides import INDICES, ITEM, KEYS, USER
from matchlake.schemas import ITEM_ID, SCORE, USER_ID

BROADCAST_BYTES = 256 << 20
"""Maximum size of the targets that the driver sends to all executors, in bytes."""

FOLDED_IN = 1 << 62
"""Indices from here on belong to rows that were folded in."""


@dataclass(frozen=True)
class Factors:
    """Rows of users and items as lazy frames.

    `users` has `user_id`, `user_idx` (long), `factors` (array of float, `rank` long), `bias`
    (float) and `n_interactions` (long, the interactions that trained the row); `items` likewise.
    A score is the mean, both biases and the dot product of both rows of factors. With
    `by_popularity` an unknown query gets the targets with the most interactions, otherwise those
    of the highest bias. `sizes` are the numbers of users and items, if known.
    """

    users: DataFrame
    items: DataFrame
    rank: int
    mean: float = 0.0
    by_popularity: bool = False
    sizes: tuple[int, int] | None = None

    def side(self, side: int) -> DataFrame:
        """The rows of one side."""
        return self.users if side == USER else self.items

    def score(self, pairs: DataFrame) -> DataFrame:
        """Adds `score` (float) and `is_cold_start` (user or item is unknown) to `pairs`; lazy."""
        pairs = with_id_types(pairs, id_types(self.users, self.items), "the pairs")
        users, items = (
            self.side(side).select(
                KEYS[side],
                F.col("factors").alias(f"_row_{side}"),
                F.col("bias").alias(f"_b_{side}"),
            )
            for side in (USER, ITEM)
        )
        joined = pairs.join(users, USER_ID, "left").join(items, ITEM_ID, "left")
        dot = F.aggregate(
            F.zip_with("_row_0", "_row_1", lambda a, b: a * b),
            F.lit(0.0).cast("float"),
            lambda total, product: total + product,
        )
        bias = F.coalesce("_b_0", F.lit(0.0)) + F.coalesce("_b_1", F.lit(0.0))
        score = F.lit(self.mean) + bias + F.coalesce(dot, F.lit(0.0))
        cold = F.col("_row_0").isNull() | F.col("_row_1").isNull()
        added = score.cast("float").alias(SCORE), cold.alias("is_cold_start")
        return joined.select(*pairs.columns, *added)

    def recommend(
        self,
        side: int,
        queries: DataFrame | None,
        k: int,
        exclude_seen: DataFrame | None,
        candidates: DataFrame | None,
    ) -> DataFrame:
        """The `k` best rows of the other side for each query of `side`; lazy.

        Query rows that have `factors` and `bias` of their own are ranked by those. See
        `Recommender.recommend_items`.
        """
        require_k(k)
        keys = KEYS[side], KEYS[1 - side]
        kinds = id_types(self.users, self.items)
        own = candidates is not None and keys[0] in candidates.columns
        if candidates is not None:
            needed = {key: kinds[key] for key in (keys if own else keys[1:])}
            candidates = with_id_types(candidates, needed, "the frame of candidates")
        if exclude_seen is not None:
            exclude_seen = with_id_types(exclude_seen, kinds, "the pairs to exclude")
        known, targets = (as_rows(self.side(n), KEYS[n], INDICES[n]) for n in (side, 1 - side))
        if queries is not None:
            queries = with_id_types(queries, {keys[0]: kinds[keys[0]]}, "the frame of queries")
        rows = known if queries is None else _query_rows(queries, keys[0], known)
        pairs = exclude_seen
        if candidates is not None and own:
            pairs = candidates.select(*keys).distinct()
            pairs = pairs if exclude_seen is None else pairs.join(exclude_seen, [*keys], "anti")
        elif candidates is not None:
            targets = targets.join(candidates.select(F.col(keys[1]).alias("id")), "id", "semi")
        if pairs is not None:
            pairs = pairs.select(F.col(keys[0]).alias("query"), F.col(keys[1]).alias("target"))
        options = RankingOptions(k, self.rank, self.mean, own, by_popularity=self.by_popularity)
        return Ranking(rows, targets, options, pairs, self._few(1 - side)).lists(*keys)

    def similar(
        self, side: int, queries: DataFrame | None, k: int, metric: Metric = "cosine"
    ) -> DataFrame:
        """The `k` most similar rows of the same side; see `Recommender.similar_items`; lazy.

        With `metric="co_rating"` it starts one job, over the other side's factors.
        """
        require_k(k)
        key = KEYS[side]
        if queries is not None:
            kinds = {key: self.side(side).schema[key].dataType}
            queries = with_id_types(queries, kinds, "the frame of queries")
        if metric == "co_rating":
            return similar_lists(self.side(side), self.side(1 - side), side, queries, k)
        targets = rows = as_rows(self.side(side), key, INDICES[side])
        if queries is not None:
            rows = rows.join(queries.select(F.col(key).alias("id")), "id", "semi")
        options = RankingOptions(k, self.rank, cosine=True)
        ranking = Ranking(rows, targets, options, broadcast=self._few(side))
        return ranking.lists(key, f"similar_{key}").drop("is_cold_start")

    def _few(self, side: int) -> bool:
        """Whether the rows of a side are known to be few enough for a broadcast."""
        row = 4 * self.rank + 64
        return self.sizes is not None and self.sizes[side] * row <= BROADCAST_BYTES


def _query_rows(queries: DataFrame, key: str, known: DataFrame) -> DataFrame:
    """Rows of the model; or the queries' own rows, if they have factors."""
    named = queries.withColumnRenamed(key, "id").where(F.col("id").isNotNull())
    if "factors" not in queries.columns:
        return named.select("id").distinct().join(known, "id", "left")
    return named.select("id", F.lit(None).cast("long").alias("idx"), "factors", "bias")


def with_rows(known: DataFrame, rows: DataFrame, side: int) -> DataFrame:
    """`known` with `rows` added, or replaced by id; their indices are beyond all others.

    Ids that cannot be cast to the type of `known` are dropped.
    """
    key = KEYS[side]
    kind = known.schema[key].dataType
    rows = rows.withColumn(key, F.col(key).try_cast(kind)).where(F.col(key).isNotNull())
    others = known.join(rows.select(key), key, "anti")
    index = F.shiftrightunsigned(F.xxhash64(key), 2) + F.lit(FOLDED_IN)
    return others.unionByName(rows.withColumn(INDICES[side], index), allowMissingColumns=True)


def within(column: Column, clip: tuple[float, float] | None) -> Column:
    """The scores limited to a range."""
    if clip is None:
        return column
    low, high = (F.lit(bound).cast("float") for bound in clip)
    return F.greatest(low, F.least(high, column))


class FactorRecommender(Recommender):
    """The methods of a model that is, or contains, `Factors`."""

    @property
    def factors(self) -> Factors:
        """The rows that score and rank."""
        raise NotImplementedError

    def known(self, side: int) -> DataFrame:
        """The ids of users (side 0) or items (side 1), with `n_interactions`; lazy."""
        return self.factors.side(side).select(KEYS[side], "n_interactions")

    def score(self, pairs: DataFrame, *, clip: tuple[float, float] | None = None) -> DataFrame:
        """Adds `score` (float) and `is_cold_start` (user or item is unknown) to `pairs`; lazy.

        A cold-start row gets the mean and the bias of the side that is known, within `clip`.
        """
        scored = self.factors.score(pairs)
        return scored.withColumn(SCORE, within(F.col(SCORE), clip))

    def recommend_items(
        self,
        users: DataFrame | None,
        k: int,
        *,
        exclude_seen: DataFrame | None = None,
        candidates: DataFrame | None = None,
    ) -> DataFrame:
        """The best items of each user; see `Recommender.recommend_items`.

        An unknown user (`is_cold_start`) gets the items of the highest bias, or, from an implicit
        fit, those with the most interactions; the score is then their share of the interactions.
        """
        return self.factors.recommend(USER, users, k, exclude_seen, candidates)

    def recommend_users(
        self,
        items: DataFrame | None,
        k: int,
        *,
        exclude_seen: DataFrame | None = None,
        candidates: DataFrame | None = None,
    ) -> DataFrame:
        """The `k` best users for each item: `item_id`, `rank`, `user_id`, `score`, ..."""
        require(self, "recommend_users", "recommend_users")
        return self.factors.recommend(ITEM, items, k, exclude_seen, candidates)

    def similar_items(
        self, items: DataFrame | None, k: int, *, metric: Metric = "cosine"
    ) -> DataFrame:
        """The `k` most similar items of each item; see `Recommender.similar_items`."""
        require(self, "similar", "similar_items")
        return self.factors.similar(ITEM, items, k, metric)

    def similar_users(
        self, users: DataFrame | None, k: int, *, metric: Metric = "cosine"
    ) -> DataFrame:
        """The `k` most similar users of each user: `user_id`, `rank`, `similar_user_id`, ..."""
        require(self, "similar", "similar_users")
        return self.factors.similar(USER, users, k, metric)

    def related_items(
        self,
        items: DataFrame | None = None,
        k: int = 5,
        *,
        rated: DataFrame | None = None,
        pools: Pools = DEFAULT_POOLS,
    ) -> RankedLists:
        """The items with the most similar rating patterns; see `Recommender.related_items`."""
        require(self, "related", "related_items")
        factors = self.factors
        return related_lists((factors.items, factors.users), ITEM, items, k, (rated, pools))

    def related_users(
        self,
        users: DataFrame | None = None,
        k: int = 5,
        *,
        rated: DataFrame | None = None,
        pools: Pools = DEFAULT_POOLS,
    ) -> RankedLists:
        """As `related_items`, with users and items exchanged."""
        require(self, "related", "related_users")
        factors = self.factors
        return related_lists((factors.users, factors.items), USER, users, k, (rated, pools))
