"""The histories of all users: the most recently used in memory, all on the local disk.

The file is a copy of the changelog topic. Each process builds it again from the topic at its start,
so the file need not survive the process.
"""

import json
import sqlite3
from collections import OrderedDict
from collections.abc import Iterator

History = dict[str, float]
"""The value of each item by id, the latest event last."""


class Histories:
    """Histories by user, of which `cached` are in memory. Not thread-safe."""

    def __init__(self, cached: int) -> None:
        self._cached = cached
        self._recent: OrderedDict[str, History] = OrderedDict()
        # The empty name makes a temporary file, which SQLite removes when it is closed.
        self._file = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        for setting in ("journal_mode = OFF", "synchronous = OFF", "cache_size = -8000"):
            self._file.execute(f"PRAGMA {setting}")
        self._file.execute(
            "CREATE TABLE histories (user TEXT PRIMARY KEY, items TEXT NOT NULL) WITHOUT ROWID"
        )

    def get(self, user: str) -> History | None:
        """Returns the history of a user, or None. Do not change it: `put` a new history."""
        if user in self._recent:
            self._recent.move_to_end(user)
            return self._recent[user]
        row = self._file.execute("SELECT items FROM histories WHERE user = ?", [user]).fetchone()
        if row is None:
            return None
        found: History = json.loads(row[0])
        self._remember(user, found)
        return found

    def put(self, user: str, history: History) -> None:
        """Replaces the history of a user."""
        self.put_text(user, json.dumps(history))
        self._remember(user, history)

    def put_text(self, user: str, items: str) -> None:
        """Replaces the history of a user on disk only, with JSON of the changelog."""
        self._recent.pop(user, None)
        self._file.execute("INSERT OR REPLACE INTO histories VALUES (?, ?)", [user, items])

    def remove(self, user: str) -> None:
        """Removes a user."""
        self._recent.pop(user, None)
        self._file.execute("DELETE FROM histories WHERE user = ?", [user])

    def users(self) -> Iterator[str]:
        """Yields all users."""
        yield from (row[0] for row in self._file.execute("SELECT user FROM histories"))

    def __len__(self) -> int:
        return int(self._file.execute("SELECT count(*) FROM histories").fetchone()[0])

    @property
    def in_memory(self) -> int:
        """The number of histories in memory."""
        return len(self._recent)

    def close(self) -> None:
        """Removes the file."""
        self._file.close()

    def _remember(self, user: str, history: History) -> None:
        self._recent[user] = history
        self._recent.move_to_end(user)
        if len(self._recent) > self._cached:
            self._recent.popitem(last=False)
