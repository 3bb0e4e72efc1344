"""Recommendation lists for a request: checks parameters, handles erased users, writes the log."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from matchlake.serve.errors import RequestError
from matchlake.serve.recommender import MOST_LISTED, Listed, RecommenderServer
from matchlake.serve.state import State

DEFAULT_K = 10
_MOST_ITEMS = 100_000
"""The maximum number of items of a response. Encoding this many as JSON blocks other requests for
about 0.1 s."""
_INLINE_LISTS = 4
"""The maximum number of lists computed in the event loop; a thread computes larger requests."""


async def lists_of(
    state: State,
    model: RecommenderServer,
    columns: Mapping[str, Sequence[Any]],
    params: Mapping[str, Any],
) -> tuple[list[Listed], dict[str, str]]:
    """Returns the list of each user in the column user_id, and the header with the log id.

    The optional column exclude_seen has further items to leave out. A null user gets the list of an
    unknown user. Raises RequestError for other columns and parameters.
    """
    check_names(columns, {"user_id"}, {"exclude_seen"}, "column")
    check_names(params, set(), {"k"}, "parameter")
    k = checked_k(params.get("k", DEFAULT_K))
    if len(columns["user_id"]) > state.params.max_rows:
        raise RequestError(
            f"The request has {len(columns['user_id'])} users; at most {state.params.max_rows} "
            "are allowed.",
            "user_id",
        )
    if len(columns["user_id"]) * k > _MOST_ITEMS:
        raise RequestError(f"The lists of one answer have at most {_MOST_ITEMS} items.", "k")
    users = [
        None if user is None else model.check_id(user, "user_id") for user in columns["user_id"]
    ]
    without = columns.get("exclude_seen", [None] * len(users))
    excluded = [[] if each is None else checked_items(model, each) for each in without]
    shown = [None if user is None or state.is_erased(user) else user for user in users]

    def work() -> list[Listed]:
        pairs = zip(shown, excluded, strict=True)
        return [model.recommend(user, k, items) for user, items in pairs]

    few = len(shown) <= _INLINE_LISTS
    loop = asyncio.get_running_loop()
    found = work() if few else await loop.run_in_executor(state.pool, work)
    state.metrics.count("matchlake_rows_total", len(found))
    inputs: dict[str, Sequence[Any]] = {"k": [k] * len(found), "exclude": excluded}
    return found, logged(state, model, inputs, found, shown)


def logged(
    state: State,
    model: RecommenderServer,
    inputs: Mapping[str, Sequence[Any]],
    lists: Sequence[Listed],
    users: Sequence[str | None],
) -> dict[str, str]:
    """Logs lists, erased users as null.

    Returns the header with the log id, or none without a log.
    """
    outputs = {
        "item_id": [each.items for each in lists],
        "score": [each.scores for each in lists],
    }
    return state.logged(model, inputs, outputs, users)


def checked_k(value: Any) -> int:
    """Returns the length of a list; raises RequestError for other values."""
    if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) < 9:  # noqa: PLR2004
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= MOST_LISTED:
        raise RequestError(f"k must be an integer from 1 to {MOST_LISTED}.", "k")
    return value


def checked_items(model: RecommenderServer, value: Any) -> list[str]:
    """Returns ids of items to leave out; raises RequestError for other values."""
    if not isinstance(value, list):
        raise RequestError("Items to leave out must be a list of ids.", "exclude")
    return [model.check_id(item, "exclude") for item in value]


def check_names(found: Mapping[str, Any], needed: set[str], more: set[str], what: str) -> None:
    """Raises RequestError for a name that is missing or unknown."""
    for name in found:
        if name not in needed | more:
            known = ", ".join(sorted(needed | more)) or "none"
            raise RequestError(
                f"There is no {what} {str(name)[:80]!r}; this model has {known}.", name
            )
    for name in sorted(needed):
        if name not in found:
            raise RequestError(f"The {what} {name} is missing.", name)
