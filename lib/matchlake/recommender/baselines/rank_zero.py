"""Models of biases alone: factor models of rank 0."""

from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from matchlake.recommender.baselines.numpy_bias import NumpyBiases, load_numpy
from matchlake.recommender.factors import FactorRecommender, Factors
from matchlake.recommender.parts import to_arrow
from matchlake.recommender.protocol import ModelParts
from matchlake.recommender.sides import INDICES, ITEM, KEYS, USER

COLUMNS = ("bias", "n_interactions")


@dataclass(frozen=True, repr=False)
class RankZeroModel(FactorRecommender):
    """`users` has `user_id`, `user_idx`, `bias` (double) and `n_interactions`; `items` likewise.

    A score is the sum of the mean rating, the user's bias and the item's bias.
    """

    users: DataFrame
    items: DataFrame
    mean: float
    params: Any
    sizes: tuple[int, int] | None = None

    def __repr__(self) -> str:
        sizes = f"users={self.sizes[0]:,}, items={self.sizes[1]:,}" if self.sizes else ""
        return f"{type(self).__name__}({sizes})"

    @property
    def predicts_ratings(self) -> bool:
        """Whether a score is a rating."""
        return bool(self.params.predicts_ratings)

    @property
    def factors(self) -> Factors:
        """The biases as factors of rank 0."""
        none = F.array().cast("array<float>").alias("factors")
        users, items = (
            rows.select(
                KEYS[side], INDICES[side], none, F.col("bias").cast("float"), "n_interactions"
            )
            for side, rows in ((USER, self.users), (ITEM, self.items))
        )
        return Factors(users, items, rank=0, mean=self.mean)

    def to_parts(self) -> ModelParts[DataFrame]:
        """All parts of the model, for saving."""
        return ModelParts(self.users, self.items, self.params, values={"mean": self.mean})

    def to_numpy(self) -> NumpyBiases:
        """The model in this process's memory; two Spark jobs."""
        parts: ModelParts[pa.Table] = to_arrow(self.to_parts())
        return load_numpy(parts)
