"""Calls a Python function of the user, which returns a head, in a separate process."""

from matchlake.formulas.heads import Head, Task
from matchlake.learners.own_process import fit_in_own_process
from matchlake.learners.params import CustomParams
from matchlake.learners.protocol import OnProgress, TrainingData


def fit(
    data: TrainingData,
    params: CustomParams,
    task: Task,
    seed: int,
    on_progress: OnProgress | None = None,
) -> Head:
    """Calls the function with (data, params, seed) and returns its head.

    Raises InputError if the function cannot be imported, raises, does not return a head, or takes
    longer than `timeout_seconds`.
    """
    del task, on_progress
    function = params.function
    return fit_in_own_process(function, (data, params.params, seed), params.timeout_seconds)
