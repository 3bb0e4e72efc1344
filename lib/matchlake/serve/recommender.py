"""A recommender in the server: recommends to known users and new users, finds similar items."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from matchlake.model_store.served_signature import RecommenderSignature
from matchlake.model_store.verified_lists import VerifiedLists, list_difference
from matchlake.serve.errors import RequestError
from matchlake.serve.fold_in import ItemFactors, Ranked
from matchlake.serve.session import Session

Ints = npt.NDArray[np.int64]

MOST_LISTED = 1000
"""The maximum length of a list."""
_ID_LENGTH = 1024
_NO_ID = "\u2205"
_LARGEST = 1e30
"""The maximum of ratings and weights, so that sums of their squares do not overflow."""


class Listed(NamedTuple):
    """A recommendation list: items, best first."""

    items: list[Any]
    scores: list[float]


class RecommenderServer:
    """One version of a recommender; immutable."""

    kind = "recommender"

    def __init__(
        self,
        session: Session,
        signature: RecommenderSignature,
        version: str,
        factors: ItemFactors | None = None,
        items: Sequence[str] = (),
    ) -> None:
        self.name, self.version, self.signature = signature.name, version, signature
        self._session, self._factors = session, factors
        self._items = list(items)
        self._places = {item: place for place, item in enumerate(self._items)}
        self._has_whole_items = signature.item_id_type == "integer"
        self.can_fold_in = factors is not None and signature.fold_in is not None
        self.can_list_similar = factors is not None

    def recommend(self, user: str | None, k: int, exclude: Sequence[str] = ()) -> Listed:
        """Returns the best items for a user, without the user's items in the fit.

        An unknown or null user gets the model's list for unknown users. `exclude` are further items
        to leave out.
        """
        inputs = {
            "user_id": np.array([_NO_ID if user is None else user], dtype=object),
            "exclude": np.array([*exclude], dtype=object),
            "k": np.array([k], np.int64),
        }
        items, scores = self._session.run(("item_id", "score"), inputs)
        return Listed(self._ids(items.tolist()), scores.tolist())

    def recommend_new(self, history: Mapping[str, float], k: int, exclude: Sequence[str]) -> Listed:
        """Returns the best new items for a user with these items; ignores unknown items.

        If the model knows none of the items, it returns the list of an unknown user.
        """
        if self._factors is None or not self.can_fold_in:
            raise RequestError(self._without("does not support new users"), "items", 404)
        known = [(self._places[i], v) for i, v in history.items() if i in self._places]
        if not known:
            return self.recommend(None, k, [*history, *exclude])
        places = np.array([place for place, _ in known], np.int64)
        row = self._factors.fold_in(places, np.array([value for _, value in known], np.float64))
        if not (np.abs(row) < _LARGEST).all():
            raise RequestError("The values are too large for a fold-in.", "items")
        without = self._known_places((*history, *exclude))
        return self._listed(self._factors.best(row, k, without))

    def similar(self, item: str, k: int) -> Listed:
        """Returns the items with the most similar factors.

        Raises RequestError for an unknown item.
        """
        if self._factors is None:
            raise RequestError(self._without("does not support similar items"), "item", 404)
        if item not in self._places:
            raise RequestError(f"The model has no item {item[:80]!r}.", "item", 404)
        return self._listed(self._factors.similar(self._places[item], k))

    def check_history(self, value: Any) -> dict[str, float]:
        """Returns the items of a request, with ratings or weights; raises RequestError."""
        ratings = self.signature.predicts_ratings
        if isinstance(value, list) and not ratings:
            found: dict[str, float] = {}
            for item in value:
                key = self.check_id(item, "items")
                found[key] = found.get(key, 0.0) + 1.0
            return found
        if not isinstance(value, dict):
            form = "" if ratings else "a list of ids, or "
            raise RequestError(f"items must be {form}an object of numbers by id.", "items")
        history = {self.check_id(item, "items"): number for item, number in value.items()}
        for item, number in history.items():
            is_number = isinstance(number, int | float) and not isinstance(number, bool)
            if not is_number or not -_LARGEST < number < _LARGEST or (number < 0 and not ratings):
                raise RequestError(
                    f"items, {item[:80]!r}: expected a number"
                    f"{'' if ratings else ' of at least 0'}, at most 1e30.",
                    "items",
                )
        return {item: float(number) for item, number in history.items()}

    def check_id(self, value: Any, field: str) -> str:
        """Returns an id of a request as a string; raises RequestError for other values."""
        if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63:
            return str(value)
        if not isinstance(value, str) or not value or len(value) > _ID_LENGTH:
            raise RequestError(
                f"{field} must be a string of 1 to {_ID_LENGTH} characters, or an integer.", field
            )
        try:
            value.encode()
        except UnicodeEncodeError:
            raise RequestError(f"{field} is not valid Unicode.", field) from None
        return value

    def verify(self, verified: VerifiedLists) -> float:
        """Answers the requests inside the export; returns the largest difference of a score."""
        largest = 0.0
        for user, *listed in zip(verified.users, verified.items, verified.scores, strict=True):
            found = self.recommend(user, verified.k)
            pair = [str(item) for item in found.items], np.array(found.scores)
            largest = max(largest, list_difference(user, pair, tuple(listed), verified.tolerance))
        return largest

    def _known_places(self, items: Sequence[str]) -> Ints:
        return np.array([self._places[i] for i in items if i in self._places], np.int64)

    def _listed(self, ranked: Ranked) -> Listed:
        items = [self._items[place] for place in ranked.places.tolist()]
        return Listed(self._ids(items), ranked.scores.tolist())

    def _ids(self, items: list[str]) -> list[Any]:
        return [int(item) for item in items] if self._has_whole_items else items

    def _without(self, lack: str) -> str:
        return (
            f"This export of the algorithm {self.signature.algorithm} {lack}. Export a model of "
            "factors with --format folder."
        )
