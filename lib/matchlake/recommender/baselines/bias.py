"""The bias baseline: a rating is the mean, a bias of the user and a bias of the item."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar, Self

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from matchlake.errors import InputError
from matchlake.recommender.baselines.params import BIAS, BiasParams
from matchlake.recommender.baselines.rank_zero import RankZeroModel
from matchlake.recommender.checkpoint import Checkpointer, local_checkpoint
from matchlake.recommender.columns import require_columns
from matchlake.recommender.factors import with_rows
from matchlake.recommender.ids import number_rows
from matchlake.recommender.protocol import (
    Capability,
    ModelParts,
    refuse,
)
from matchlake.recommender.sides import ITEM, KEYS, USER
from matchlake.schemas import ITEM_ID, RATING, USER_ID

_REST = "_rest"


@dataclass(frozen=True, repr=False)
class BiasModel(RankZeroModel):
    """Biases of users and items, and the mean rating."""

    algorithm: ClassVar[str] = "bias"
    capabilities: ClassVar[frozenset[Capability]] = frozenset(
        {"recommend_users", "fold_in_users", "fold_in_items"}
    )

    def fold_in(
        self,
        *,
        users: DataFrame | None = None,
        items: DataFrame | None = None,
        user_features: DataFrame | None = None,
        item_features: DataFrame | None = None,
        checkpoint: Callable[[DataFrame], DataFrame] | None = None,
    ) -> Self:
        """Returns the model with new or changed biases, from `user_id`, `item_id`, `rating`.

        Lazy.
        """
        if user_features is not None or item_features is not None:
            refuse(self, "features")
        keep = checkpoint or (lambda frame: frame)
        sides = [self.users, self.items]
        penalties = self.params.user_regularization, self.params.item_regularization
        for side, history in ((USER, users), (ITEM, items)):
            if history is not None:
                require_columns(history, (USER_ID, ITEM_ID, RATING), "the history")
                rated = history.where(F.col(RATING).isNotNull())
                rests = rated.select(USER_ID, ITEM_ID, (F.col(RATING) - self.mean).alias(_REST))
                fixed = (self.users, self.items)[1 - side].select(KEYS[1 - side], "bias")
                rests = _without(rests, fixed, KEYS[1 - side])
                rows = keep(_biases(rests, KEYS[side], penalties[side]))
                sides[side] = with_rows(sides[side], rows, side)
        return replace(self, users=sides[USER], items=sides[ITEM], sizes=None)


def fit_bias(
    interactions: DataFrame,
    params: BiasParams = BIAS,
    *,
    checkpoint: Checkpointer = local_checkpoint,
) -> BiasModel:
    """Implements `dispatch.fit_bias` on a Spark frame."""
    require_columns(interactions, (USER_ID, ITEM_ID, RATING), "interactions")
    rated = interactions.where(F.col(RATING).isNotNull())
    row = rated.agg(F.avg(RATING)).first()
    if row is None or row[0] is None:
        raise InputError("interactions have no rating, but a bias model needs at least one.")
    mean = float(row[0])
    rests = rated.select(USER_ID, ITEM_ID, (F.col(RATING) - mean).alias(_REST))
    items = _biases(rests, ITEM_ID, params.item_regularization)
    for _ in range(params.iterations - 1):
        users = _biases(_without(rests, items, ITEM_ID), USER_ID, params.user_regularization)
        items = _biases(_without(rests, users, USER_ID), ITEM_ID, params.item_regularization)
    items, item_count = number_rows(items, ITEM_ID, checkpoint)
    users = _biases(_without(rests, items, ITEM_ID), USER_ID, params.user_regularization)
    users, user_count = number_rows(users, USER_ID, checkpoint)
    return BiasModel(
        users.withColumnRenamed("idx", "user_idx"),
        items.withColumnRenamed("idx", "item_idx"),
        mean,
        params,
        (user_count, item_count),
    )


def load(parts: ModelParts[DataFrame]) -> BiasModel:
    """The model of saved parts, as frames."""
    return BiasModel(parts.users, parts.items, parts.values["mean"], parts.params, parts.sizes)


def _biases(rests: DataFrame, side: str, regularization: float) -> DataFrame:
    """Returns the least squares biases of one side, from the residuals of the other side."""
    bias = F.sum(_REST) / (F.count(_REST) + regularization)
    return rests.groupBy(side).agg(bias.alias("bias"), F.count(_REST).alias("n_interactions"))


def _without(rests: DataFrame, biases: DataFrame, side: str) -> DataFrame:
    return rests.join(biases, side).select(
        USER_ID, ITEM_ID, (F.col(_REST) - F.col("bias")).alias(_REST)
    )
