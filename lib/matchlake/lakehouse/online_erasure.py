"""Erases one user from the online store, and finds them there."""

from collections.abc import Iterator
from typing import NamedTuple

from matchlake.config import JobConfig
from matchlake.errors import MatchlakeError
from matchlake.io.secrets import secret_chain
from matchlake.lakehouse.online_publish import published_user_columns
from matchlake.serve.online.stores import OnlineStore, online_stores


class OnlinePlace(NamedTuple):
    """A table of a store that holds the user, or that could not be searched."""

    name: str
    rows: int | None
    """Rows of the user; None if the store was not reached."""
    reason: str = ""
    """Why the store was not reached."""


def erase_online(config: JobConfig, user: str) -> tuple[int, list[OnlinePlace]]:
    """Erases a user from all stores. Returns the number of rows, and the tables not reached.

    It waits for no other run: a table that another run is writing counts as not reached.
    """
    erased = 0
    missed: list[OnlinePlace] = []
    for name, store in _tables(config, missed):
        columns = published_user_columns(config, config.online.tables[name])
        try:
            with store.locked(name) as writer:
                erased += writer.erase(name, columns, user)
        except MatchlakeError as error:
            missed.append(OnlinePlace(f"{name} in {store}", None, str(error)))
    return erased, missed


def find_online(config: JobConfig, user: str) -> list[OnlinePlace]:
    """The tables of the stores that hold a user, or that could not be searched."""
    found: list[OnlinePlace] = []
    for name, store in _tables(config, found):
        columns = published_user_columns(config, config.online.tables[name])
        try:
            rows = store.count(name, columns, user)
        except MatchlakeError as error:
            found.append(OnlinePlace(f"{name} in {store}", None, str(error)))
        else:
            found += [OnlinePlace(f"{name} in {store}", rows)] if rows else []
    return found


def _tables(config: JobConfig, missed: list[OnlinePlace]) -> Iterator[tuple[str, OnlineStore]]:
    """Every table of every store that matchlake fills."""
    if not config.online.tables:
        return
    try:
        stores = list(online_stores(config.online, secret_chain(config.secrets, config.lakehouse)))
    except MatchlakeError as error:
        missed.append(OnlinePlace("all tables", None, str(error)))
        return
    yield from ((name, store) for store in stores for name in config.online.tables)
