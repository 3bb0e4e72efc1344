"""Imports MLflow late and quietly, and answers None for objects that no longer exist.

MLflow takes seconds to import, so it is imported on first use and never by importing this module.
"""

import logging
import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from matchlake.io.mlflow_errors import is_gone

# Environment variables of MLflow: no usage reports and no progress bars. If a server does not
# answer, MLflow stops after half a minute, instead of four minutes.
_ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "4",
}


def unless_gone(ask: Callable[..., Any], *given: str) -> Any:
    """The result of an MLflow request; None if the requested object does not exist (any more)."""
    try:
        return ask(*given)
    except Exception as error:
        if is_gone(error):
            return None
        raise


def import_mlflow() -> ModuleType:
    """The module mlflow, without its usage reports and its log messages."""
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    import mlflow  # noqa: PLC0415

    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
    return mlflow  # type: ignore[no-any-return]


@contextmanager
def quietly() -> Iterator[None]:
    """Keeps MLflow's warnings about its own code and about a missing pip out of the log."""
    from mlflow.utils import logging_utils  # noqa: PLC0415

    logging_utils.disable_logging()
    logging.getLogger("mlflow").setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    finally:
        logging.getLogger("mlflow").setLevel(logging.WARNING)
        logging_utils.enable_logging()


def flat(params: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The parameters as one mapping; nested parameters have dotted names."""
    for key, value in params.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
