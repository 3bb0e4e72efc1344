"""Shared code of all executions of an ALS fit: progress, and errors of arguments."""

import logging
import math

from matchlake.errors import FitError, InputError, ParameterError
from matchlake.recommender.als.params import AlsParams
from matchlake.recommender.interaction_stats import InteractionStats
from matchlake.recommender.progress import Progress, ProgressCallback, Report
from matchlake.schemas import ITEM_ID, USER_ID

_log = logging.getLogger(__name__)


def require_finite(report: Report, stats: InteractionStats) -> None:
    """Raises FitError if the loss is not finite; before the first iteration there is no loss."""
    if report.iteration and not math.isfinite(report.loss):
        raise FitError(
            f"The loss of the fit is {report.loss} after iteration {report.iteration}: numbers "
            f"overflowed. The largest value of the interactions is {stats.maximum:.4g}. Scale the "
            "values, or leave alpha at null, which scales weights; raise regularization if it is "
            "near 0."
        )


def note_progress(progress: Progress, callback: ProgressCallback | None) -> None:
    """Logs the progress, and calls `callback`."""
    shown = "" if progress.metric is None else f", validation {progress.metric:.6g}"
    _log.info("iteration %d of %d: %.2f s, loss %.6g%s", *progress[:4], shown)
    if callback is not None:
        callback(progress)


def other_rank(given: int, wanted: int) -> ParameterError:
    """Returns the error for an initial model of another rank."""
    return ParameterError(
        f"initial_model has rank {given}, but params have rank={wanted}. The ranks must be equal: "
        f"set rank={given}, or fit without initial_model."
    )


def validation_columns(params: AlsParams) -> list[str]:
    """Returns the columns of the validation part that a fit reads."""
    explicit = params.feedback == "explicit"
    return [USER_ID, ITEM_ID, *([params.value_column] if explicit else [])]


def nothing_to_measure(needed: list[str]) -> InputError:
    """Returns the error for a validation part without a complete row."""
    return InputError(
        f"Every row of validation has a null in {', '.join(needed)}, so nothing can be measured. "
        "Add interactions, or omit validation."
    )
