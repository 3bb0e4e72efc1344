"""MLflow's errors as `ModelError`, each one sentence with what to do."""

from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from matchlake.errors import ModelError, ModelGoneError

_SHOWN = 300
"""Characters of MLflow's own message that are shown; a server may answer with a web page."""

_GONE = "RESOURCE_DOES_NOT_EXIST"
_HTTP_NOT_FOUND = 404


@contextmanager
def asking(mlflow: ModuleType, where: str) -> Iterator[None]:
    """Turns errors of MLflow and of its connection into `ModelError`; other errors pass unchanged.

    `where` names the tracking server and the registry for the message.
    """
    try:
        yield
    except mlflow.MlflowException as error:
        raise no_answer(error, where) from error
    except OSError as error:
        # An upload fails with an error of the HTTP client, which has the server's response.
        if not hasattr(error, "response"):
            raise
        raise no_answer(error, where) from error


def no_answer(error: Exception, where: str) -> ModelError:
    """The error that MLflow at `where` cannot be used, with MLflow's own reason."""
    return ModelError(
        f"MLflow at {where} does not answer as expected: {reason_of(error)}. Check tracking.uri "
        "in conf, that the server runs, and its credentials."
    )


def require_active(experiment: Any, where: str) -> None:
    """Raises ModelError if an experiment is deleted, with the command that restores it."""
    if experiment is not None and experiment.lifecycle_stage == "deleted":
        number = experiment.experiment_id
        raise ModelError(
            f"The experiment {experiment.name!r} (id {number}) of MLflow at {where} is deleted. "
            f"Restore it with `mlflow experiments restore -x {number}`, with MLFLOW_TRACKING_URI "
            "set to this address, or set tracking.experiment in conf to another name."
        )


def is_gone(error: Exception) -> bool:
    """Whether an error says that a run, a version or a file does not exist (any more)."""
    response = getattr(error, "response", None)
    return (
        isinstance(error, FileNotFoundError)
        or getattr(error, "error_code", "") == _GONE
        or getattr(response, "status_code", None) == _HTTP_NOT_FOUND
        or "No such artifact" in str(error)
    )


def reason_of(error: Exception) -> str:
    """The first line of an error, cut to a readable length and without its full stop."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    text = lines[0] if len(lines[0]) <= _SHOWN else f"{lines[0][:_SHOWN]}..."
    return text.rstrip(".") if not text.endswith("...") else text


def unreadable(error: Exception, what: str, where: str) -> ModelError:
    """The error that `what` of a version cannot be read; `ModelGoneError` if it was deleted."""
    advice = "Train the model again, or give another version the alias champion."
    if is_gone(error):
        return ModelGoneError(
            f"{what} cannot be fetched from {where}, since it no longer exists: "
            f"{reason_of(error)}. {advice}"
        )
    return ModelError(f"{what} cannot be fetched from {where}: {reason_of(error)}. {advice}")
