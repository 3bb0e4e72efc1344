"""Popularity and bias models as NumPy arrays."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from matchlake.recommender.baselines.params import BiasParams, PopularityParams
from matchlake.recommender.id_types import places_of
from matchlake.recommender.numpy_factors import NumpyFactors, NumpySide, Row
from matchlake.recommender.parts import array_of
from matchlake.recommender.protocol import Capability, ModelParts, refuse
from matchlake.recommender.sides import ITEM, KEYS, USER


@dataclass(frozen=True)
class NumpyBiases(NumpyFactors):
    """Biases of users and items, and the mean."""

    params: PopularityParams | BiasParams = field(default_factory=PopularityParams)


class NumpyPopularityModel(NumpyBiases):
    """The same items for everyone."""

    capabilities: ClassVar[frozenset[Capability]] = frozenset()


class NumpyBiasModel(NumpyBiases):
    """Ratings as the mean and two biases."""

    capabilities: ClassVar[frozenset[Capability]] = frozenset(
        {"recommend_users", "fold_in_users", "fold_in_items"}
    )

    def fold_in(
        self,
        *,
        users: Mapping[Any, Mapping[Any, float]] | None = None,
        items: Mapping[Any, Mapping[Any, float]] | None = None,
    ) -> "NumpyBiasModel":
        """The model with new or changed users {user_id: {item_id: rating}}, and items likewise."""
        sides = [
            side.with_rows({key: self._folded(number, given) for key, given in (new or {}).items()})
            for number, (side, new) in enumerate(zip(self.sides, (users, items), strict=True))
        ]
        return replace(self, users=sides[USER], items=sides[ITEM])

    def _folded(self, side: int, history: Mapping[Any, float]) -> tuple[Row, int]:
        if not isinstance(self.params, BiasParams):
            refuse(self, "fold_in")
        names = self.params.user_regularization, self.params.item_regularization
        others = self.sides[1 - side]
        indices = places_of(others.places, list(history))
        known = indices >= 0
        ratings = np.array(list(history.values()), np.float64)[known]
        rest = ratings - self.mean - others.bias[indices[known]]
        count = int(known.sum())
        bias = float(rest.sum() / (count + names[side])) if count else 0.0
        return Row(np.zeros(0, np.float32), bias, is_cold_start=not count), count


def load_numpy(parts: ModelParts[pa.Table]) -> NumpyBiases:
    """The model of saved parts, in memory."""
    sides = [
        NumpySide(
            table[KEYS[side]].to_pylist(),
            np.zeros((table.num_rows, 0), np.float32),
            array_of(table, "bias", np.float32),
            array_of(table, "n_interactions", np.int64),
        )
        for side, table in ((USER, parts.users), (ITEM, parts.items))
    ]
    kind = NumpyBiasModel if isinstance(parts.params, BiasParams) else NumpyPopularityModel
    return kind(sides[USER], sides[ITEM], parts.values["mean"], parts.params)
