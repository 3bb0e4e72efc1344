"""Recommendation lists after each event: folds the history in, and finds the best items."""

import threading
from collections.abc import Callable, Container
from dataclasses import dataclass
from typing import Protocol

from matchlake.errors import InputError
from matchlake.serve.online.tables import OnlineTable
from matchlake.serve.stream.histories import Histories, History
from matchlake.serve.stream.params import ServeStreamParams

Listed = list[tuple[str, float]]
"""Items and their scores, best first."""


class Ranker(Protocol):
    """A version of a model that can fold a history in."""

    @property
    def version(self) -> str:
        """The version of the model."""

    def best(self, history: History, k: int) -> Listed:
        """Returns the `k` best items for a user with this history, without its items.

        Raises InputError for a value that the model cannot fold in.
        """


@dataclass(frozen=True)
class NewList:
    """The new list after one event."""

    user: str
    history: History
    items: Listed
    model_version: str


class LiveLists:
    """Adds events to users' histories, and computes their lists. It is thread-safe.

    `before` has the histories of users before their first event. `erased` has the users who get no
    list.
    """

    def __init__(
        self,
        params: ServeStreamParams,
        ranker: Ranker,
        before: OnlineTable | None = None,
        erased: Container[str] | None = None,
    ) -> None:
        self.params, self.ranker = params, ranker
        self.erased: Container[str] = () if erased is None else erased
        self.histories = Histories(params.cached_users)
        self._before = before
        self._lock = threading.RLock()
        self._merged: dict[str, Callable[[float, float], float]] = {
            "last": lambda _, new: new,
            "sum": lambda old, new: old + new,
            "max": max,
        }

    def apply(self, user: str, item: str, value: float) -> NewList:
        """Adds an event to the history of its user. Returns the new list.

        Raises InputError for a value that the model refuses; the history then stays as it is.
        """
        with self._lock:
            history = dict(self.history(user))
            old = history.pop(item, None)
            merge = self._merged[self.params.aggregation]
            history[item] = value if old is None else merge(old, value)
            while len(history) > self.params.max_history:
                del history[next(iter(history))]
            answer = self._answer(user, history, self.params.k)
            self.histories.put(user, history)
            return answer

    def recommend(self, user: str, k: int | None = None) -> NewList | None:
        """Returns the list of a user after all events so far; None for an erased user."""
        if user in self.erased:
            return None
        with self._lock:
            return self._answer(user, self.history(user), k or self.params.k)

    def history(self, user: str) -> History:
        """Returns the history of a user from the events, else the history in `before`."""
        found = self.histories.get(user)
        if found is None and self._before is not None:
            rows = self._before.rows(user)
            rows.sort(key=lambda row: str(row.get("event_time") or ""))
            found = {str(row["item_id"]): float(row["rating"]) for row in rows}
        return found or {}

    def forget(self, user: str) -> None:
        """Removes the history of a user."""
        with self._lock:
            self.histories.remove(user)

    def _answer(self, user: str, history: History, k: int) -> NewList:
        ranker = self.ranker
        return NewList(user, history, ranker.best(history, k), ranker.version)


def checked_value(value: object, name: str) -> float:
    """Returns a value of an event as a number; raises InputError for other values."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InputError(f"{name} is a {type(value).__name__}, but must be a number.")
    return float(value)
