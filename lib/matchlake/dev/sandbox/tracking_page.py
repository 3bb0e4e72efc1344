"""The MLflow page of the local tracking store."""

import logging
import os
import sys
from typing import NoReturn

from matchlake.errors import SandboxError
from matchlake.io.mlflow_tracking import Tracker
from matchlake.io.ports import HOST, MLFLOW_PORT, choose_port

_log = logging.getLogger(__name__)


def page_command(tracker: Tracker, port: int) -> list[str]:
    """The command that serves the page of a local store on `port`, on this machine only.

    Raises SandboxError without a local store: runs go to a server, or there are none yet.
    """
    store = tracker.store
    if store is None:
        raise SandboxError(f"Runs are tracked at {tracker.uri}: open the page of this server.")
    if not store.is_file():
        raise SandboxError(
            f"There are no runs yet ({store} is missing): run `matchlake run train_recommender`."
        )
    return [
        *(sys.executable, "-m", "mlflow", "server"),
        *("--backend-store-uri", tracker.uri),
        *("--artifacts-destination", store.with_name("mlartifacts").as_uri()),
        *("--host", HOST, "--port", str(port), "--workers", "1"),
    ]


def serve_page(tracker: Tracker, port: int | None = None) -> NoReturn:
    """Serves the page in this process until Ctrl-C, on `port`, or on port 5000 or any free one.

    Raises SandboxError if `port` is taken or there are no runs.
    """
    command = page_command(tracker, chosen := choose_port(port, MLFLOW_PORT))
    _log.info("runs, plots and models: http://%s:%d (Ctrl-C ends it)", HOST, chosen)
    # The server replaces this process, so it gets the signals and no other process remains.
    os.execve(command[0], command, {**os.environ, **_QUIET})  # noqa: S606 - our own interpreter


# The page needs neither job workers nor telemetry.
_QUIET = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
