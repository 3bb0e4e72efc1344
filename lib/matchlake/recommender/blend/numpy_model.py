"""A blend of models in memory."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from matchlake.engine.csr import Floats, Ints
from matchlake.engine.top_k import Best, TargetLists, lists_of, pick_lists, select_top_k
from matchlake.recommender.algorithms import algorithm_of
from matchlake.recommender.blend.nested import member_parts, weight_of
from matchlake.recommender.blend.params import BlendParams
from matchlake.recommender.id_types import places_of
from matchlake.recommender.numpy_answers import Choice
from matchlake.recommender.protocol import Capability, ModelParts, NumpyRecommender, refuse
from matchlake.recommender.sides import ITEM, KEYS, USER

_TOGETHER = 128
"""The number of users whose scores of all items are in memory at a time."""


class Member(NamedTuple):
    """One model of a blend."""

    model: NumpyRecommender
    weight: float


@dataclass(frozen=True)
class NumpyBlendModel(NumpyRecommender):
    """Models in memory, with their weights."""

    members: Mapping[str, Member]
    user_ids: Sequence[Any]
    item_ids: Sequence[Any]
    params: BlendParams

    @property
    def capabilities(self) -> frozenset[Capability]:  # type: ignore[override]
        """Returns the capability of new users if all models have it."""
        return common_capabilities([member.model for member in self.members.values()])

    @cached_property
    def trained_ids(self) -> tuple[frozenset[Any], frozenset[Any]]:
        """The users and the items that had interactions in the fit of any model."""
        trained = [member.model.trained_ids for member in self.members.values()]
        users, items = (frozenset().union(*each) for each in zip(*trained, strict=True))
        return users, items

    def places(self, side: int) -> Mapping[Any, int]:
        """The row of each user (side 0) or item (side 1)."""
        return self._all_places[side]

    def scores_of(self, users: Sequence[Any], items: Sequence[Any]) -> Floats:
        """Returns scores of pairs by the lists without exclusions.

        0 if the item is not in a list.
        """
        known = [user for user in dict.fromkeys(users) if user in self._all_places[USER]]
        row_of = {user: row for row, user in enumerate(known)}
        scores = np.zeros(len(users), np.float32)
        rows = np.array([row_of.get(user, -1) for user in users], np.int64)
        places = places_of(self._all_places[ITEM], items)
        for begin in range(0, len(known), _TOGETHER):
            part = known[begin : begin + _TOGETHER]
            none = TargetLists(np.zeros(len(part) + 1, np.int64), np.zeros(0, np.int32))
            found = self._scores(part, Choice(none), self.params.depth)
            mine = (rows >= begin) & (rows < begin + len(part)) & (places >= 0)
            scores[mine] = found[rows[mine] - begin, places[mine]]
        return np.where(np.isfinite(scores), scores, np.float32(0.0))

    def best_of(self, side: int, entries: Sequence[Any], k: int, choice: Choice) -> Best:
        """The best items of each user."""
        if side != USER:
            refuse(self, "recommend_users")
        best = []
        for begin in range(0, max(1, len(entries)), _TOGETHER):
            rows = np.arange(begin, min(begin + _TOGETHER, len(entries)), dtype=np.int32)
            part = Choice(
                pick_lists(choice.without, rows),
                choice.among and pick_lists(choice.among, rows),
            )
            scores = self._scores(entries[begin : begin + _TOGETHER], part, k)
            best.append(select_top_k(scores, k))
        return Best(*(np.concatenate(each) for each in zip(*best, strict=True)))

    def fold_in(
        self,
        *,
        users: Mapping[Any, Mapping[Any, float]] | None = None,
        items: Mapping[Any, Mapping[Any, float]] | None = None,
    ) -> "NumpyBlendModel":
        """Adds or changes users in every model, given as {user_id: {item_id: value}}."""
        if items is not None or "fold_in_users" not in self.capabilities:
            refuse(self, "fold_in of items" if items is not None else "fold_in")
        members = {
            name: member._replace(model=member.model.fold_in(users=users))
            for name, member in self.members.items()
        }
        return blend_of(members, self.params)

    def _scores(self, users: Sequence[Any], choice: Choice, k: int) -> Floats:
        """Returns scores (users, items); minus infinity for items in no model's list."""
        scores = np.zeros((len(users), len(self.item_ids)))
        listed = np.zeros(scores.shape, bool)
        for name, (model, weight) in self.members.items():
            if not weight:
                continue
            to_member, to_blend = self._moves[name]
            among = choice.among and _moved(choice.among, to_member)
            own = Choice(_moved(choice.without, to_member), among)
            best = model.best_of(USER, users, max(k, self.params.depth), own)
            rows, ranks = np.nonzero(best.places >= 0)
            places = to_blend[best.places[rows, ranks]]
            scores[rows, places] += weight / (self.params.rank_constant + ranks + 1.0)
            listed[rows, places] = True
        return np.where(listed, scores, -np.inf).astype(np.float32)

    @cached_property
    def _moves(self) -> dict[str, tuple[Ints, Ints]]:
        """Returns the rows of the items in each model, -1 if missing, and in the blend."""
        moves = {}
        for name, member in self.members.items():
            own, ids = member.model.places(ITEM), member.model.item_ids
            moves[name] = places_of(own, self.item_ids), places_of(self._all_places[ITEM], ids)
        return moves

    @cached_property
    def _all_places(self) -> tuple[dict[Any, int], dict[Any, int]]:
        users, items = (
            {key: row for row, key in enumerate(ids)} for ids in (self.user_ids, self.item_ids)
        )
        return users, items


def common_capabilities(models: Sequence[Any]) -> frozenset[Capability]:
    """Returns the capabilities of a blend of these models."""
    able = all("fold_in_users" in model.capabilities for model in models)
    return frozenset({"fold_in_users"}) if able else frozenset()


def blend_of(members: Mapping[str, Member], params: BlendParams) -> NumpyBlendModel:
    """Makes a blend; its ids are those of its models, sorted."""
    ids = [
        sorted(set().union(*(each.model.places(side) for each in members.values())), key=_order)
        for side in (USER, ITEM)
    ]
    return NumpyBlendModel(members, ids[USER], ids[ITEM], params)


def load_numpy(parts: ModelParts[pa.Table]) -> NumpyBlendModel:
    """The model of saved parts, in memory."""
    members = {}
    for name in parts.params.members:
        model = algorithm_of(name).resolve(algorithm_of(name).load_numpy)(member_parts(parts, name))
        members[name] = Member(model, weight_of(parts, name))
    users, items = (
        table[KEYS[n]].to_pylist() for n, table in enumerate((parts.users, parts.items))
    )
    return NumpyBlendModel(members, users, items, parts.params)


def _order(key: Any) -> Any:
    """Returns a sort key: strings by their UTF-8 bytes, as Spark sorts them."""
    return key.encode() if isinstance(key, str) else key


def _moved(lists: TargetLists, to_member: Ints) -> TargetLists:
    owners = np.repeat(np.arange(len(lists.indptr) - 1), np.diff(lists.indptr))
    return lists_of(owners, to_member[lists.places], len(lists.indptr) - 1, len(to_member))
