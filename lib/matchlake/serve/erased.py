"""The erased users, as salted hashes in a file, for processes without Spark.

`erase_user` writes the file. Conf has its path (`erase.hash_file`).
"""

import json
import logging
from collections.abc import Callable
from pathlib import Path

from matchlake.errors import ConfigError
from matchlake.io.salt import Salt
from matchlake.io.secrets.value import SecretRef, SecretStore

_log = logging.getLogger(__name__)

Mark = tuple[int, int, int]


class ErasedUsers:
    """The hashes of a file; `get_salt` reads the secret with which they were made.

    If there is no file, nobody was erased. Raises ConfigError for a damaged file, and for hashes
    without their salt, because erased users could not be recognised.
    """

    def __init__(self, path: Path, get_salt: Callable[[], str] | None) -> None:
        self._path, self._get_salt = path, get_salt
        self._mark: Mark | None = None
        self._salt = Salt(b"")
        self._hashes: frozenset[str] = frozenset()
        self.refresh()

    def refresh(self) -> bool:
        """Reads the file again if it changed. Returns whether it did.

        Raises as the constructor does, and if the file was deleted; the known users stay erased.
        """
        mark = self._current_mark()
        if mark == self._mark:
            return False
        if mark is None:
            raise ConfigError(
                f"{self._path} was deleted. Its users stay erased in this process. Run "
                "`matchlake erase-user` again for one of them, which writes the file again."
            )
        self._salt, self._hashes = self._read()
        self._mark = mark
        return True

    def _current_mark(self) -> Mark | None:
        try:
            found = self._path.stat()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise ConfigError(f"{self._path} cannot be read: {error.strerror}.") from None
        return found.st_mtime_ns, found.st_size, found.st_ino

    def _read(self) -> tuple[Salt, frozenset[str]]:
        try:
            data = json.loads(self._path.read_text(encoding="utf-8"))
            salt_id, hashes = str(data["salt_id"]), frozenset(map(str, data["hashes"]))
        except (OSError, ValueError, KeyError, TypeError):
            raise ConfigError(
                f"{self._path} is not a file of erased users, as erase_user writes it. Run "
                "`matchlake erase-user` again for one of them, which writes the file again."
            ) from None
        if not hashes:
            return self._salt, hashes
        if self._get_salt is None:
            raise ConfigError(
                f"{self._path} has {len(hashes)} erased user(s), but conf has no erase.salt, so "
                "they cannot be recognised. Set erase.salt to the secret that the erasure used."
            )
        salt = Salt(self._get_salt().encode())
        if salt.id != salt_id:
            raise ConfigError(
                f"The secret of erase.salt has changed since users were erased, so the hashes in "
                f"{self._path} cannot be compared. Restore the earlier value of the secret."
            )
        return salt, hashes

    def __contains__(self, user: object) -> bool:
        return bool(self._hashes) and self._salt.hash(str(user)) in self._hashes


def erased_users(
    path: Path | None, salt: SecretRef | None, secrets: SecretStore
) -> ErasedUsers | None:
    """Returns the erased users of conf; None if conf names no file. Raises as `ErasedUsers`."""
    if path is None:
        if salt is not None:
            _log.warning(
                "erased users are unknown here: conf has erase.salt, but no erase.hash_file"
            )
        return None
    return ErasedUsers(path, None if salt is None else lambda: secrets.get(salt).reveal())
