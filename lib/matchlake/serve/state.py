"""The shared state of the routes of one process."""

import asyncio
import hmac
import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from matchlake.errors import MatchlakeError
from matchlake.serve.current import CurrentModel
from matchlake.serve.erased import ErasedUsers
from matchlake.serve.loading import Served
from matchlake.serve.metrics import Metrics
from matchlake.serve.params import ServingParams
from matchlake.serve.prediction_log import Answered, PredictionLog

_log = logging.getLogger(__name__)
_LOOK_SECONDS = 1.0
_PREFIX = b"bearer "


class Token:
    """A token that is read again after `seconds`; if the store fails, the last token stays."""

    def __init__(
        self, get: Callable[[], str], seconds: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._get, self._seconds, self._clock = get, seconds, clock
        self._value = get().encode()
        self._until = clock() + seconds

    def refresh(self) -> None:
        """Reads the token again if it is old; raises the errors of the store."""
        if self._clock() >= self._until:
            self._until = self._clock() + self._seconds
            self._value = self._get().encode()

    def accepts(self, header: bytes | None) -> bool:
        """Returns whether an Authorization header has the token, in constant time."""
        if header is None or header[: len(_PREFIX)].lower() != _PREFIX:
            return False
        return hmac.compare_digest(header[len(_PREFIX) :], self._value)


@dataclass
class State:
    """The state of a server process; the model may change between requests."""

    params: ServingParams
    current: CurrentModel
    metrics: Metrics
    log: PredictionLog | None = None
    erased: ErasedUsers | None = None
    token: Token | None = None
    pool: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1))
    """Scores large requests, so that small requests do not wait."""
    is_stopping: bool = False

    @property
    def model(self) -> Served:
        """Returns the current model; a request calls this only once."""
        return self.current.model

    def is_erased(self, user: str) -> bool:
        """Returns whether the user was erased, and counts the request if so."""
        found = self.erased is not None and user in self.erased
        if found:
            self.metrics.count("matchlake_erased_user_requests_total")
        return found

    def logged(
        self,
        model: Served,
        inputs: Mapping[str, Sequence[Any]],
        outputs: Mapping[str, Sequence[Any]],
        users: Sequence[str | None] = (),
        features_hash: str | None = None,
    ) -> dict[str, str]:
        """Logs the rows of a response.

        Returns the header with the log id, or none without a log.
        """
        if self.log is None:
            return {}
        request_id, when = os.urandom(12).hex(), time.time()
        self.log.offer(
            Answered(
                *(request_id, when, model.name, model.version),
                *(inputs, outputs, features_hash, users),
            )
        )
        return {"x-prediction-id": request_id}

    async def watch(self) -> None:
        """Checks for a changed export, erased users and a changed token, until it is cancelled.

        A repeated error is logged once; the old model, users or token stay in use.
        """
        parts = [each for each in (self.current, self.erased, self.token) if each is not None]
        told: list[str] = [""] * len(parts)
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            for number, part in enumerate(parts):
                problem = await asyncio.to_thread(_problem, part.refresh)
                if problem and problem != told[number]:
                    _log.error("%s", problem)
                told[number] = problem


def _problem(refresh: Callable[[], object]) -> str:
    """Calls `refresh`. Returns the message of its error; empty without an error."""
    try:
        refresh()
    except MatchlakeError as error:
        return str(error)
    except Exception as error:  # noqa: BLE001 - the next look may succeed
        return f"{type(error).__name__}: {error}"
    return ""
