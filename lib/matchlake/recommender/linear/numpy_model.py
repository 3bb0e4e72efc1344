"""A linear item-item model as NumPy arrays."""

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
from matchlake.recommender.id_types import exact_ids, known_place, places_of
from matchlake.recommender.linear.kernels import Floats
from matchlake.recommender.linear.params import EaseParams, SlimParams
from matchlake.recommender.linear.weights import History, ItemWeights, weights_of
from matchlake.recommender.numpy_answers import Choice
from matchlake.recommender.onnx_scores import ListsByUser
from matchlake.recommender.parts import array_of
from matchlake.recommender.protocol import Capability, ModelParts, NumpyRecommender, refuse
from matchlake.recommender.sides import USER
from matchlake.schemas import ITEM_ID, USER_ID


@dataclass(frozen=True)
class NumpyLinearModel(NumpyRecommender):
    """Item-item weights in memory, and the history of each user."""

    histories: Mapping[Any, History]
    item_ids: Sequence[Any]
    weights: ItemWeights
    item_interactions: npt.NDArray[np.int64]
    params: EaseParams | SlimParams

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
        return self.weights.onnx(graph, user, list(self.histories), lists, plain)

    def scores_of(self, users: Sequence[Any], items: Sequence[Any]) -> Floats:
        """Returns scores of pairs; 0 for an unknown user or item."""
        indices = places_of(self._places, items)
        rows = {user: self._scores(user) for user in set(users) & self.histories.keys()}
        scores = [
            rows[user][index] if user in rows and index >= 0 else 0.0
            for user, index in zip(users, indices, strict=True)
        ]
        return np.array(scores, np.float32)

    def best_of(self, side: int, entries: Sequence[Any], k: int, choice: Choice) -> Best:
        """Returns the best items of each user.

        An unknown user gets the items with the most interactions, with this number as the score.
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
    ) -> "NumpyLinearModel":
        """Returns the model with new or changed users {user_id: {item_id: value}}.

        As in the fit, each item has the value 1 if the parameters have no value column.
        """
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
                if self.params.value_column is None:
                    values = np.ones_like(values)
                new[user] = indices[order].astype(np.int32), values[order]
        return replace(self, histories={**self.histories, **new})

    def explain(self, item_id: Any, history: Mapping[Any, float]) -> list[tuple[Any, float]]:
        """The contribution of each item of a history to the score of `item_id`, largest first.

        The score of a user folded in from `history` is the sum of these contributions, value times
        weight. Raises KeyError if `item_id` is unknown.
        """
        weights = self.weights.onto(known_place(self._places, item_id, "item_id"))
        places = places_of(self._places, list(history))
        values = np.array(list(history.values()), np.float64)[places >= 0]
        places = places[places >= 0]
        parts = values * weights[places]
        order = np.argsort(-parts, kind="stable")
        return [(self.item_ids[places[n]], float(parts[n])) for n in order]

    def _best(self, user: Any, k: int, choice: Choice, row: int) -> Best:
        known = user in self.histories
        scores = self._scores(user) if known else self.item_interactions.astype(np.float32)
        scores[pick_lists(choice.without, np.array([row])).places] = -np.inf
        among = choice.among and pick_lists(choice.among, np.array([row]))
        return select_top_k(scores[None], k, among)

    def _scores(self, user: Any) -> Floats:
        scores = np.zeros(len(self.item_ids), np.float32)
        self.weights.add(self.histories[user], scores)
        return scores

    @cached_property
    def _places(self) -> dict[Any, int]:
        return {key: index for index, key in enumerate(self.item_ids)}

    @cached_property
    def _user_places(self) -> dict[Any, int]:
        return {key: index for index, key in enumerate(self.histories)}


def load_numpy(parts: ModelParts[pa.Table]) -> NumpyLinearModel:
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
    return NumpyLinearModel(
        histories,
        parts.items[ITEM_ID].to_pylist(),
        weights_of(parts.items),
        array_of(parts.items, "n_interactions", np.int64),
        parts.params,
    )
