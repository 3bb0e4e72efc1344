"""Models that score an item by the weights between it and the items of a user's history."""

from dataclasses import dataclass
from typing import ClassVar

import pyarrow as pa
from pydantic import Field
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import DoubleType, IntegerType, StructField, StructType

from matchlake.engine.packing import spread_keys
from matchlake.params import Params
from matchlake.recommender.baselines.histories import ITEM_IDX, OBSERVED
from matchlake.recommender.baselines.item_scores import OPEN, OWN, WITHOUT, Scorer
from matchlake.recommender.baselines.one_order import first_unseen
from matchlake.recommender.columns import require_columns
from matchlake.schemas import ITEM_ID, RANK, SCORE, USER_ID

_TASK = "_task"


class ItemWeightParams(Params):
    """What models of item weights have in common."""

    value_column: str | None = None
    """Column with the strength of an interaction; None gives every (user, item) strength 1."""
    tasks: int = Field(8, ge=1)
    """Tasks among which users are scored; every one gets a copy of the weights."""


@dataclass(frozen=True)
class ItemWeightModel:
    """score(user, i) = sum over the user's history j of strength(user, j) * weight(j, i).

    `users`: `user_id`, `columns`, `strengths`, the history that the scores are made from;
    `items`: `item_id`, `item_idx`, `observed` (users who met it); `weights`: `item_idx` j,
    `targets` (array of item_idx i; null where all items stand in order), `weights` (of float).

    Orders items and does not rate: a score is a sum of weights, so it has no place in rating
    metrics.
    """

    users: DataFrame
    items: DataFrame
    weights: DataFrame
    size: int
    params: ItemWeightParams
    predicts_ratings: ClassVar[bool] = False

    def score(self, pairs: DataFrame) -> DataFrame:
        """Adds `score` (double) and `cold`: user or item is unknown, and the score 0."""
        require_columns(pairs, (USER_ID, ITEM_ID), "pairs")
        known = self._indexed(pairs).join(self.users.select(USER_ID), USER_ID, "semi").distinct()
        own = known.groupBy(USER_ID).agg(F.collect_list(ITEM_IDX).alias(OWN))
        asked = self.users.join(own, USER_ID).withColumn(WITHOUT, F.lit(None).cast("array<int>"))
        scored = self._scored(asked, None, None).drop(RANK)
        joined = pairs.join(scored, [USER_ID, ITEM_ID], "left")
        return joined.select(
            *pairs.columns,
            F.coalesce(SCORE, F.lit(0.0)).alias(SCORE),
            F.col(SCORE).isNull().alias("cold"),
        )

    def recommend_items(
        self,
        users: DataFrame | None,
        k: int,
        *,
        exclude_seen: DataFrame | None = None,
        candidates: DataFrame | None = None,
    ) -> DataFrame:
        """The best items of each user: `user_id`, `rank`, `item_id`, `score`, `cold`; lazy.

        Reads `user_id` of `users` (all known ones when None), `user_id` and `item_id` of
        `exclude_seen`, and `item_id`, with `user_id` where each user has candidates of their own,
        of `candidates`. Equal scores go by item id. Nobody gets an item without any weight from
        their history. A user unknown to the fit (`cold`) gets the items that most users met, and
        their number as the score.
        """
        asked = self.users
        if users is not None:
            asked = asked.join(users.select(USER_ID), USER_ID, "semi")
        lists = self._best(asked, k, exclude_seen, candidates)
        lists = lists.withColumn("cold", F.lit(col=False))
        if users is None:
            return lists
        strangers = users.select(USER_ID).join(self.users, USER_ID, "anti")
        items = self.items.select(ITEM_ID, F.col(OBSERVED).cast("double").alias(SCORE))
        popular = first_unseen(
            items, strangers, k, exclude_seen=exclude_seen, candidates=candidates
        )
        return lists.unionByName(popular.withColumn("cold", F.lit(col=True)))

    def _best(
        self, asked: DataFrame, k: int, seen: DataFrame | None, candidates: DataFrame | None
    ) -> DataFrame:
        asked = self._with_lists(asked, seen, WITHOUT, "left")
        if candidates is not None and USER_ID in candidates.columns:
            return self._scored(self._with_lists(asked, candidates, OWN, "inner"), k, None)
        return self._scored(asked.withColumn(OWN, F.lit(None).cast("array<int>")), k, candidates)

    def _indexed(self, pairs: DataFrame) -> DataFrame:
        return pairs.select(USER_ID, ITEM_ID).join(self.items, ITEM_ID).select(USER_ID, ITEM_IDX)

    def _with_lists(
        self, asked: DataFrame, pairs: DataFrame | None, name: str, how: str
    ) -> DataFrame:
        """Adds each user's items of `pairs` as an array of item_idx."""
        if pairs is None:
            return asked.withColumn(name, F.lit(None).cast("array<int>"))
        require_columns(pairs, (USER_ID, ITEM_ID), "exclude_seen or candidates")
        lists = self._indexed(pairs).groupBy(USER_ID).agg(F.collect_list(ITEM_IDX).alias(name))
        return asked.join(lists, USER_ID, how)

    def _scored(self, asked: DataFrame, k: int | None, candidates: DataFrame | None) -> DataFrame:
        """Brings users and weights together, task by task."""
        opened = self.items.select(ITEM_IDX, F.lit(col=True).alias(OPEN))
        if candidates is not None:
            require_columns(candidates, (ITEM_ID,), "candidates")
            chosen = self.items.join(candidates.select(ITEM_ID), ITEM_ID, "semi")
            opened = chosen.select(ITEM_IDX, F.lit(col=True).alias(OPEN))
        keys = spread_keys(self.params.tasks)
        task = F.get(F.array(*map(F.lit, keys)), F.pmod(F.xxhash64(USER_ID), len(keys)).cast("int"))
        copies = F.explode(F.array(*map(F.lit, keys)))
        left = asked.withColumn(_TASK, task).repartition(len(keys), _TASK)
        right = self.weights.join(opened, ITEM_IDX, "left").withColumn(_TASK, copies)
        schema = StructType(
            [
                asked.schema[USER_ID],
                StructField(RANK, IntegerType()),
                StructField(ITEM_IDX, IntegerType()),
                StructField(SCORE, DoubleType()),
            ]
        )
        cogroups = left.groupBy(_TASK).cogroup(right.repartition(len(keys), _TASK).groupBy(_TASK))
        scorer = Scorer(self.size, k)

        # Spark counts the arguments, and would count the `self` of a method.
        def answer(ours: pa.Table, theirs: pa.Table) -> pa.Table:
            return scorer.answer(ours, theirs)

        scored = cogroups.applyInArrow(answer, schema)
        return scored.join(self.items, ITEM_IDX).select(USER_ID, RANK, ITEM_ID, SCORE)
