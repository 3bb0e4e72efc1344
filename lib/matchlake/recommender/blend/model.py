"""`BlendModel` fuses the lists of several models by weighted reciprocal ranks."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import reduce
from typing import ClassVar, NamedTuple, Self

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from matchlake.engine.top_k import require_k
from matchlake.recommender.algorithms import algorithm_of
from matchlake.recommender.blend.nested import member_parts, weight_of
from matchlake.recommender.blend.numpy_model import (
    NumpyBlendModel,
    common_capabilities,
    load_numpy,
)
from matchlake.recommender.blend.params import BlendParams
from matchlake.recommender.columns import id_types, with_id_types
from matchlake.recommender.factors import with_rows, within
from matchlake.recommender.parts import to_arrow
from matchlake.recommender.protocol import Capability, ModelParts, Recommender, refuse
from matchlake.recommender.sides import KEYS, USER
from matchlake.schemas import ITEM_ID, RANK, SCORE, USER_ID

_COLD = "is_cold_start"


class Member(NamedTuple):
    """One model of a blend."""

    model: Recommender
    weight: float


@dataclass(frozen=True, repr=False)
class BlendModel(Recommender):
    """Models with their weights: score(user, i) = sum of weight / (rank_constant + rank of i).

    The ranks are those in each model's list of `params.depth` items. `parts.users` has `user_id`,
    `user_idx`, `n_interactions`, and for each model a struct with its own row of the user; `items`
    likewise. Scores are comparable only within one list. `score` uses the list without exclusions,
    and gives 0 for items outside the list.
    """

    parts: ModelParts[DataFrame]
    members: Mapping[str, Member]
    params: BlendParams

    algorithm: ClassVar[str] = "blend"

    def __repr__(self) -> str:
        weights = ", ".join(f"{name}={each.weight:g}" for name, each in self.members.items())
        sizes = self.parts.sizes
        return f"BlendModel({weights}" + (
            f", users={sizes[0]:,}, items={sizes[1]:,})" if sizes else ")"
        )

    @property
    def capabilities(self) -> frozenset[Capability]:  # type: ignore[override]
        """Returns the capability of new users if all models have it."""
        return common_capabilities([member.model for member in self.members.values()])

    @property
    def predicts_ratings(self) -> bool:
        """Returns false: scores only order items."""
        return False

    def diagnostics(self) -> Mapping[str, float]:
        """Returns the weights, and the diagnostics of each model."""
        figures = {f"{name}_weight": member.weight for name, member in self.members.items()}
        for name, member in self.members.items():
            figures |= {f"{name}_{key}": v for key, v in member.model.diagnostics().items()}
        return figures

    def known(self, side: int) -> DataFrame:
        """The ids of users (side 0) or items (side 1), with `n_interactions`; lazy."""
        rows = (self.parts.users, self.parts.items)[side]
        return rows.select(KEYS[side], "n_interactions")

    def score(self, pairs: DataFrame, *, clip: tuple[float, float] | None = None) -> DataFrame:
        """Adds `score` (float) and `is_cold_start` (user or item is unknown) to `pairs`; lazy.

        A cold-start row, and an item outside all lists of the user, have the score 0.
        """
        pairs = with_id_types(pairs, id_types(self.parts.users, self.parts.items), "the pairs")
        users, items = (
            self.known(side).select(KEYS[side], F.lit(col=True).alias(f"_known_{side}"))
            for side in (0, 1)
        )
        asked = pairs.select(USER_ID).join(users, USER_ID, "semi").distinct()
        fused = self._fused(asked, self.params.depth, None, None)
        scored = fused.select(USER_ID, ITEM_ID, F.col(SCORE).alias("_score"))
        rows = pairs.join(scored, [USER_ID, ITEM_ID], "left")
        rows = rows.join(users, USER_ID, "left").join(items, ITEM_ID, "left")
        score = within(F.coalesce("_score", F.lit(0.0).cast("float")), clip)
        cold = F.col("_known_0").isNull() | F.col("_known_1").isNull()
        return rows.select(*pairs.columns, score.alias(SCORE), cold.alias(_COLD))

    def recommend_items(
        self,
        users: DataFrame | None,
        k: int,
        *,
        exclude_seen: DataFrame | None = None,
        candidates: DataFrame | None = None,
    ) -> DataFrame:
        """The best items of each user; see `Recommender.recommend_items`.

        An unknown user gets the fusion of the models' lists for unknown users.
        """
        require_k(k)
        users = self.known(USER) if users is None else users
        depth = max(k, self.params.depth)
        fused = self._fused(users, depth, exclude_seen, candidates)
        places = self.parts.items.select(ITEM_ID, "item_idx")
        order = Window.partitionBy(USER_ID).orderBy(F.desc(SCORE), "item_idx")
        ranked = fused.join(places, ITEM_ID).withColumn(RANK, F.row_number().over(order))
        return ranked.where(F.col(RANK) <= k).select(USER_ID, RANK, ITEM_ID, SCORE, _COLD)

    def fold_in(
        self,
        *,
        users: DataFrame | None = None,
        items: DataFrame | None = None,
        user_features: DataFrame | None = None,
        item_features: DataFrame | None = None,
        checkpoint: Callable[[DataFrame], DataFrame] | None = None,
    ) -> Self:
        """Returns the blend with new or changed users in every model; lazy.

        It reads `user_id`, `item_id` and the fitted columns of the models.
        """
        if items is not None or user_features is not None or item_features is not None:
            refuse(self, "fold_in of items or features")
        if users is None:
            return self
        if "fold_in_users" not in self.capabilities:
            refuse(self, "fold_in")
        members = {
            name: member._replace(model=member.model.fold_in(users=users, checkpoint=checkpoint))
            for name, member in self.members.items()
        }
        new = reduce(
            DataFrame.union, (member.model.known(USER) for member in members.values())
        ).join(users.select(USER_ID), USER_ID, "semi")
        new = new.groupBy(USER_ID).agg(F.max("n_interactions").alias("n_interactions"))
        rows = with_rows(self.parts.users, new, USER)
        return replace(self, members=members, parts=replace(self.parts, users=rows, sizes=None))

    def to_parts(self) -> ModelParts[DataFrame]:
        """All parts of the model, for saving."""
        return self.parts

    def to_numpy(self) -> NumpyBlendModel:
        """The model in this process's memory; two Spark jobs, and one per table of a model."""
        return load_numpy(to_arrow(self.parts))

    def _fused(
        self,
        users: DataFrame,
        depth: int,
        exclude_seen: DataFrame | None,
        candidates: DataFrame | None,
    ) -> DataFrame:
        """Returns `user_id`, `item_id`, `score`, `is_cold_start` of items in any model's list."""
        lists, parts = [], []
        for number, (model, weight) in enumerate(self.members.values()):
            if weight:
                found = model.recommend_items(
                    users, depth, exclude_seen=exclude_seen, candidates=candidates
                )
                columns = USER_ID, ITEM_ID, RANK, _COLD, F.lit(number).alias("_model")
                lists.append(found.select(*columns))
                parts.append(_part(number, weight, self.params.rank_constant))
        rows = reduce(DataFrame.union, lists).groupBy(USER_ID, ITEM_ID)
        score = reduce(lambda one, two: one + two, parts).cast("float")
        return rows.agg(score.alias(SCORE), F.min(_COLD).alias(_COLD))


def _part(number: int, weight: float, constant: float) -> Column:
    """Returns the part of one model in a score; parts are added in the order of the models."""
    rank = F.max(F.when(F.col("_model") == number, F.col(RANK)))
    return F.coalesce(F.lit(weight) / (F.lit(constant) + rank), F.lit(0.0))


def load(parts: ModelParts[DataFrame]) -> BlendModel:
    """The model of saved parts, as frames."""
    members = {}
    for name in parts.params.members:
        algorithm = algorithm_of(name)
        model = algorithm.resolve(algorithm.load)(member_parts(parts, name))
        members[name] = Member(model, weight_of(parts, name))
    return BlendModel(parts, members, parts.params)
