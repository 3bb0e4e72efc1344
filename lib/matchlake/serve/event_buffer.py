"""Events in a SQLite file, while there is no connection to a broker."""

import sqlite3
import threading
from collections.abc import Sequence
from pathlib import Path

from matchlake.errors import ConfigError


class EventBuffer:
    """A queue on disk with a greatest length. One process uses a file; its threads may share it."""

    def __init__(self, path: Path, most: int) -> None:
        self._most, self._lock = most, threading.Lock()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._store = sqlite3.connect(path, check_same_thread=False)
            self._store.execute("PRAGMA journal_mode = WAL")
            self._store.execute(
                "CREATE TABLE IF NOT EXISTS events "
                "(number INTEGER PRIMARY KEY AUTOINCREMENT, key BLOB UNIQUE, value BLOB)"
            )
            self._store.commit()
        except (OSError, sqlite3.Error) as error:
            raise ConfigError(f"serving.log.buffer {path} cannot be used: {error}.") from None

    def __len__(self) -> int:
        with self._lock:
            count: int = self._store.execute("SELECT count(*) FROM events").fetchone()[0]
        return count

    def add(self, events: Sequence[tuple[bytes, bytes]]) -> int:
        """Keeps events, oldest first; returns how many have no place, or could not be written."""
        try:
            room = max(0, self._most - len(self))
            with self._lock, self._store:
                self._store.executemany(
                    "INSERT OR IGNORE INTO events (key, value) VALUES (?, ?)", events[:room]
                )
        except sqlite3.Error:
            return len(events)
        return max(0, len(events) - room)

    def first(self, count: int) -> list[tuple[int, bytes, bytes]]:
        """The oldest events with their numbers."""
        with self._lock:
            found = self._store.execute(
                "SELECT number, key, value FROM events ORDER BY number LIMIT ?", (count,)
            )
            return list(found.fetchall())

    def remove(self, numbers: Sequence[int]) -> None:
        """Removes events that have arrived."""
        with self._lock, self._store:
            self._store.executemany(
                "DELETE FROM events WHERE number = ?", [(number,) for number in numbers]
            )

    def close(self) -> None:
        """Closes the file."""
        with self._lock:
            self._store.close()
