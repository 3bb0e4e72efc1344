"""The salt of the hashes of erased users. Imports no Spark."""

import hmac
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Salt:
    """The key of the hashes. It does not print, and executors can have it."""

    key: bytes = field(repr=False)

    @property
    def id(self) -> str:
        """A name for the salt, by which a changed salt is noticed."""
        return self.hash("")[:16]

    def hash(self, user: str) -> str:
        """The HMAC-SHA256 of a user's id, as hex."""
        return hmac.digest(self.key, user.encode(), "sha256").hex()
