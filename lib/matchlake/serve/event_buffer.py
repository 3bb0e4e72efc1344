"""Keeps events in a SQLite file while no broker is reachable."""

import sqlite3
import threading
from collections.abc import Sequence
from pathlib import Path

from matchlake.errors import ConfigError


class EventBuffer:
    """A bounded queue on disk. Only one process may use a file; its threads may share it."""

    def __init__(self, path: Path, max_events: int) -> None:
        self._max_events, self._lock = max_events, threading.Lock()
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
        """Appends events, oldest first. Returns how many events were dropped."""
        try:
            room = max(0, self._max_events - len(self))
            with self._lock, self._store:
                self._store.executemany(
                    "INSERT OR IGNORE INTO events (key, value) VALUES (?, ?)", events[:room]
                )
        except sqlite3.Error:
            return len(events)
        return max(0, len(events) - room)

    def peek(self, count: int) -> list[tuple[int, bytes, bytes]]:
        """Returns the oldest events with their numbers."""
        with self._lock:
            found = self._store.execute(
                "SELECT number, key, value FROM events ORDER BY number LIMIT ?", (count,)
            )
            return list(found.fetchall())

    def remove(self, numbers: Sequence[int]) -> None:
        """Removes delivered events."""
        with self._lock, self._store:
            self._store.executemany(
                "DELETE FROM events WHERE number = ?", [(number,) for number in numbers]
            )

    def close(self) -> None:
        """Closes the file."""
        with self._lock:
            self._store.close()
