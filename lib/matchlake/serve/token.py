"""The bearer token of requests: a secret that may rotate while the server runs."""

import hmac
import time
from collections.abc import Callable

_PREFIX = b"bearer "


class Token:
    """A token that is asked for again after `seconds`; the last one stays if the store fails."""

    def __init__(
        self, get: Callable[[], str], seconds: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._get, self._seconds, self._clock = get, seconds, clock
        self._value = get().encode()
        self._until = clock() + seconds

    def refresh(self) -> None:
        """Asks the store again, if it is time; raises what the store raises."""
        if self._clock() >= self._until:
            self._until = self._clock() + self._seconds
            self._value = self._get().encode()

    def accepts(self, header: bytes | None) -> bool:
        """Whether an Authorization header has the token; its text does not change the time."""
        if header is None or header[: len(_PREFIX)].lower() != _PREFIX:
            return False
        return hmac.compare_digest(header[len(_PREFIX) :], self._value)
