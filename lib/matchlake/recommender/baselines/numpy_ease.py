"""An EASE model as NumPy arrays."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from matchlake.engine.arrow import combined, offsets_of
from matchlake.engine.top_k import Best, pick_lists, select_top_k
from matchlake.formulas.onnx import Graph
from matchlake.recommender.baselines.kernels import Floats, Positions, add_full_rows
from matchlake.recommender.id_types import exact_ids, places_of
from matchlake.recommender.numpy_answers import Choice
from matchlake.recommender.onnx_scores import ListsByUser, history_scores
from matchlake.recommender.parts import array_of, matrix_of
from matchlake.recommender.protocol import Capability, ModelParts, NumpyRecommender, refuse
from matchlake.recommender.sides import USER
from matchlake.schemas import ITEM_ID, USER_ID

History = tuple[Positions, Floats]
"""The items of one user, as indices, and their values."""


@dataclass(frozen=True)
class NumpyEaseModel(NumpyRecommender):
    """Item-item weights (items, items) in memory, and the history of each user."""

    histories: Mapping[Any, History]
    item_ids: Sequence[Any]
    weights: Floats
    item_interactions: npt.NDArray[np.int64]

    capabilities: ClassVar[frozenset[Capability]] = frozenset({"fold_in_users"})

    @property
    def user_ids(self) -> Sequence[Any]:
        """All users."""
        return list(self.histories)

    @property
    def trained_ids(self) -> tuple[frozenset[Any], frozenset[Any]]:
        """All users and items: each has interactions."""
        return frozenset(self.histories), frozenset(self.item_ids)

    def places(self, side: int) -> Mapping[Any, int]:
        """The row of each user (side 0) or item (side 1)."""
        return self._user_places if side == USER else self._places

    def onnx_scores(self, graph: Graph, user: str) -> str:
        """The scores of all items for a user, as nodes of a graph, [1, items]."""
        rows = list(self.histories.values())
        indptr = np.cumsum([0, *(len(items) for items, _ in rows)], dtype=np.int64)
        items = np.concatenate([items for items, _ in rows]).astype(np.int64)
        values = np.concatenate([values for _, values in rows]).astype(np.float32)
        lists = ListsByUser(indptr, items, values)
        plain = self.item_interactions.astype(np.float32)
        return history_scores(graph, user, self.user_ids, lists, (self.weights, plain))

    def scores_of(self, users: Sequence[Any], items: Sequence[Any]) -> Floats:
        """Scores of pairs; 0 for an unknown user or item."""
        indices = places_of(self._places, items)
        rows = {user: self._scores(user) for user in set(users) & self.histories.keys()}
        scores = [
            rows[user][index] if user in rows and index >= 0 else 0.0
            for user, index in zip(users, indices, strict=True)
        ]
        return np.array(scores, np.float32)

    def best_of(self, side: int, entries: Sequence[Any], k: int, choice: Choice) -> Best:
        """The best items of each user.

        An unknown user gets the items with the most interactions, and their number as the score.
        """
        if side != USER:
            refuse(self, "recommend_users")
        best = [self._best(user, k, choice, row) for row, user in enumerate(entries)]
        if not best:
            return select_top_k(np.zeros((0, len(self.item_ids)), np.float32), k)
        return Best(*(np.concatenate(each) for each in zip(*best, strict=True)))

    def fold_in(
        self,
        *,
        users: Mapping[Any, Mapping[Any, float]] | None = None,
        items: Mapping[Any, Mapping[Any, float]] | None = None,
    ) -> "NumpyEaseModel":
        """The model with new or changed users {user_id: {item_id: value}}."""
        if items is not None:
            refuse(self, "fold_in of items")
        new = {}
        for user, history in zip(
            exact_ids([*(users or {})], self._user_places), (users or {}).values(), strict=True
        ):
            indices = places_of(self._places, list(history))
            order = np.argsort(indices, kind="stable")
            order = order[indices[order] >= 0]
            if len(order):
                values = np.array(list(history.values()), np.float32)
                new[user] = indices[order].astype(np.int32), values[order]
        return replace(self, histories={**self.histories, **new})

    def _best(self, user: Any, k: int, choice: Choice, row: int) -> Best:
        known = user in self.histories
        scores = self._scores(user) if known else self.item_interactions.astype(np.float32)
        scores[pick_lists(choice.without, np.array([row])).places] = -np.inf
        among = choice.among and pick_lists(choice.among, np.array([row]))
        return select_top_k(scores[None], k, among)

    def _scores(self, user: Any) -> Floats:
        scores = np.zeros(len(self.item_ids), np.float32)
        add_full_rows(*self.histories[user], self.weights, scores)
        return scores

    @cached_property
    def _places(self) -> dict[Any, int]:
        return {key: index for index, key in enumerate(self.item_ids)}

    @cached_property
    def _user_places(self) -> dict[Any, int]:
        return {key: index for index, key in enumerate(self.histories)}


def load_numpy(parts: ModelParts[pa.Table]) -> NumpyEaseModel:
    """The model of saved parts, in memory."""
    lists = combined(parts.users["history"])
    bounds = offsets_of(lists)
    columns = np.asarray(lists.flatten()).astype(np.int32, copy=False)
    values = np.asarray(combined(parts.users["values"]).flatten()).astype(np.float32, copy=False)
    histories = {
        user: (columns[begin:end], values[begin:end])
        for user, begin, end in zip(
            parts.users[USER_ID].to_pylist(), bounds, bounds[1:], strict=False
        )
    }
    count = parts.items.num_rows
    return NumpyEaseModel(
        histories,
        parts.items[ITEM_ID].to_pylist(),
        matrix_of(parts.items, "weights", count),
        array_of(parts.items, "n_interactions", np.int64),
    )
