"""What the routes of one process share."""

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from matchlake.errors import MatchlakeError
from matchlake.serve.current import CurrentModel
from matchlake.serve.erased import ErasedUsers
from matchlake.serve.loading import Served
from matchlake.serve.metrics import Metrics
from matchlake.serve.params import ServingParams
from matchlake.serve.prediction_log import PredictionLog
from matchlake.serve.token import Token

_log = logging.getLogger(__name__)
_LOOK_SECONDS = 1.0


@dataclass
class State:
    """The parts of a server; the model in use may be another one for the next request."""

    params: ServingParams
    current: CurrentModel
    metrics: Metrics
    log: PredictionLog | None = None
    erased: ErasedUsers | None = None
    token: Token | None = None
    pool: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1))
    """Scores large requests, so that small ones do not wait."""
    is_stopping: bool = False

    @property
    def model(self) -> Served:
        """The model in use now; a request asks once."""
        return self.current.model

    def is_erased(self, user: str) -> bool:
        """Whether the user was erased; counts if so. They are answered as an unknown user."""
        found = self.erased is not None and user in self.erased
        if found:
            self.metrics.count("matchlake_erased_user_requests_total")
        return found

    async def watch(self) -> None:
        """Looks for a changed export, erased users and a changed token, until it is cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            for refresh in self._refreshes():
                try:
                    await loop.run_in_executor(None, refresh)
                except MatchlakeError as error:
                    _log.error("%s", error)

    def _refreshes(self) -> list[Callable[[], object]]:
        found: list[Callable[[], object]] = [self.current.refresh]
        if self.erased:
            found.append(self.erased.refresh)
        if self.token:
            found.append(self.token.refresh)
        return found
