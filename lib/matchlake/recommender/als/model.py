"""`FactorModel`: the result of an ALS fit, as frames."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, Self

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from matchlake.errors import ParameterError
from matchlake.recommender.als.fold_in_spark import fold_in_frame
from matchlake.recommender.als.numpy_model import NumpyFactorModel, load_numpy
from matchlake.recommender.als.params import AlsParams
from matchlake.recommender.columns import require_columns
from matchlake.recommender.factors import FactorRecommender, Factors, with_rows
from matchlake.recommender.interaction_stats import VALUE
from matchlake.recommender.parts import to_arrow
from matchlake.recommender.protocol import Capability, ModelParts
from matchlake.recommender.ranking import as_rows
from matchlake.recommender.sides import INDICES, ITEM, KEYS, USER


@dataclass(frozen=True, repr=False)
class FactorModel(FactorRecommender):
    """A fitted factor model as lazy frames.

    `user_factors` has `user_id`, `user_idx` (long, dense, in the order of the ids), `factors`
    (array of float, `rank` long), `bias` (float) and `n_interactions` (long). `item_factors` has
    the same columns for items. `sizes` are the numbers of users and items, if known.
    """

    user_factors: DataFrame
    item_factors: DataFrame
    mean: float
    params: AlsParams
    sizes: tuple[int, int] | None = None

    algorithm: ClassVar[str] = "als"
    capabilities: ClassVar[frozenset[Capability]] = frozenset(
        {"recommend_users", "similar", "related", "fold_in_users", "fold_in_items"}
    )

    def __repr__(self) -> str:
        sizes = f", users={self.sizes[0]:,}, items={self.sizes[1]:,}" if self.sizes else ""
        return f"FactorModel({self.params.feedback}, rank={self.params.rank}{sizes})"

    @property
    def predicts_ratings(self) -> bool:
        """Whether a score is a rating; that of an implicit fit only orders items."""
        return self.params.predicts_ratings

    @property
    def factors(self) -> Factors:
        """The rows that score and rank."""
        return Factors(
            self.user_factors,
            self.item_factors,
            self.params.rank,
            self.mean,
            by_popularity=self.params.feedback == "implicit",
            sizes=self.sizes,
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
        """The model with new or changed users and items, from their interactions; lazy.

        Reads `user_id`, `item_id` and `rating` or `weight`. All other rows stay as they are. A new
        row is the exact solution of one more half-iteration. A user without a known item, or an
        item without a known user, stays unknown. Tasks that compute the rows fail on invalid
        values, and show one.
        """
        if user_features is not None or item_features is not None:
            raise ParameterError(
                "FactorModel has no features: leave user_features and item_features out, or fit "
                "matchbox."
            )
        keep = checkpoint or (lambda frame: frame)
        sides = [self.user_factors, self.item_factors]
        for side, history in ((USER, users), (ITEM, items)):
            if history is not None:
                rows = keep(self.fold_in_rows(side, history)).where(F.col("factors").isNotNull())
                sides[side] = with_rows(sides[side], rows, side)
        return replace(self, user_factors=sides[USER], item_factors=sides[ITEM], sizes=None)

    def fold_in_rows(self, side: int, history: DataFrame) -> DataFrame:
        """The rows that `fold_in` adds: id, `factors`, `bias`, `n_interactions`; lazy.

        There is one row per id of `history`. If `n_interactions`, which counts known ids of the
        other side, is 0, `factors` is null.
        """
        key, other, value = KEYS[side], KEYS[1 - side], self.params.value_column
        require_columns(history, (key, other, value), "the history")
        pairs = history.select(
            F.col(key).alias("query"), F.col(other).alias("target"), F.col(value).alias(VALUE)
        )
        fixed = as_rows(self.factors.side(1 - side), other, INDICES[1 - side])
        rows = fold_in_frame(pairs, fixed, self.mean, self.params)
        return rows.withColumnRenamed("query", key)

    def diagnostics(self) -> Mapping[str, float]:
        """The numbers of an implicit fit, given or chosen from its data."""
        if self.params.feedback == "explicit":
            return {}
        names = ("alpha", "weight_scale", "unobserved_weight", "regularization")
        numbers = {f"fit/{name}": getattr(self.params, name) for name in names}
        return {name: float(number) for name, number in numbers.items() if number is not None}

    def to_parts(self) -> ModelParts[DataFrame]:
        """All parts of the model, for saving."""
        return ModelParts(
            self.user_factors, self.item_factors, self.params, values={"mean": self.mean}
        )

    def to_numpy(self) -> NumpyFactorModel:
        """The model in this process's memory; two Spark jobs."""
        return load_numpy(to_arrow(self.to_parts()))


def load(parts: ModelParts[DataFrame]) -> FactorModel:
    """The model of saved parts, as frames."""
    return FactorModel(parts.users, parts.items, parts.values["mean"], parts.params, parts.sizes)
