"""The users that were erased, as salted hashes in a file, so that no answer is about one of them.

`erase_user` writes the file for programs without Spark. A server looks at it again every second.
"""

import hmac
import json
from collections.abc import Callable
from pathlib import Path

from matchlake.errors import ConfigError

_SALT_ID = 16


class ErasedUsers:
    """The hashes of a file; `get_salt` gives the secret that they were made with."""

    def __init__(self, path: Path, get_salt: Callable[[], str]) -> None:
        self._path, self._get_salt = path, get_salt
        self._mark: tuple[int, int, int] | None = None
        self._key = b""
        self._hashes: frozenset[str] = frozenset()
        self.refresh()

    def refresh(self) -> None:
        """Reads the file again, if it changed.

        Raises ConfigError for a damaged file, and for hashes of another salt: erased users could
        then not be recognised. Without a file nobody was erased.
        """
        mark = self._current_mark()
        if mark == self._mark:
            return
        key, hashes = (b"", frozenset[str]()) if mark is None else self._read()
        self._key, self._hashes, self._mark = key, hashes, mark

    def _current_mark(self) -> tuple[int, int, int] | None:
        try:
            found = self._path.stat()
        except FileNotFoundError:
            return None
        return found.st_mtime_ns, found.st_size, found.st_ino

    def _read(self) -> tuple[bytes, frozenset[str]]:
        try:
            data = json.loads(self._path.read_text(encoding="utf-8"))
            salt_id, hashes = str(data["salt_id"]), frozenset(map(str, data["hashes"]))
        except (OSError, ValueError, KeyError, TypeError):
            raise ConfigError(
                f"{self._path} is not the file of erased users that erase_user writes. Run "
                "`matchlake erase-user` again for one of them, which writes it anew."
            ) from None
        key = self._get_salt().encode()
        if hashes and _hash(key, "")[:_SALT_ID] != salt_id:
            raise ConfigError(
                f"The secret of erase.salt has changed since users were erased, so the hashes in "
                f"{self._path} cannot be compared. Restore the earlier value of the secret."
            )
        return key, hashes

    def __contains__(self, user: str) -> bool:
        return bool(self._hashes) and _hash(self._key, user) in self._hashes


def _hash(key: bytes, user: str) -> str:
    """As `io.erased_users.Salt.hash`, which needs Spark."""
    return hmac.digest(key, user.encode(), "sha256").hex()
