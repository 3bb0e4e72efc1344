"""`fit_als`: matrix factorization by alternating least squares."""

from typing import TYPE_CHECKING, Any, overload

from matchlake.engine.frames import Rows, is_spark, require_spark
from matchlake.errors import InputError, ParameterError
from matchlake.recommender.als.fit_table import fit_table
from matchlake.recommender.als.numpy_model import NumpyFactorModel
from matchlake.recommender.als.params import DEFAULTS, AlsParams
from matchlake.recommender.checkpoint import Checkpointer, local_checkpoint
from matchlake.recommender.progress import ProgressCallback
from matchlake.recommender.protocol import FitContext, TrainingInputs

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

    from matchlake.recommender.als.model import FactorModel


@overload
def fit_als(  # type: ignore[overload-overlap]
    interactions: "DataFrame",
    params: AlsParams = DEFAULTS,
    *,
    checkpoint: Checkpointer = local_checkpoint,
    initial_model: "FactorModel | DataFrame | None" = None,
    validation: "DataFrame | None" = None,
    callback: ProgressCallback | None = None,
) -> "FactorModel": ...


@overload
def fit_als(
    interactions: Rows,
    params: AlsParams = DEFAULTS,
    *,
    initial_model: NumpyFactorModel | None = None,
    validation: Rows | None = None,
    callback: ProgressCallback | None = None,
) -> NumpyFactorModel: ...


def fit_als(
    interactions: Any,
    params: AlsParams = DEFAULTS,
    *,
    checkpoint: Checkpointer = local_checkpoint,
    initial_model: Any = None,
    validation: Any = None,
    callback: ProgressCallback | None = None,
) -> Any:
    """Learns a factor model from `user_id`, `item_id` and `rating` (explicit) or `weight`.

    A Spark frame gives a `FactorModel`. A pandas, Polars or Arrow table, or a sparse matrix of
    SciPy, gives a `NumpyFactorModel`, and needs no Spark. All these inputs give equal factors for
    the same rows, in any order.

    The two executions on Spark start from the same numbers and solve the same rows, for any
    partitioning. They differ in the order of float32 sums: 1e-4 in factors of size 1 after a few
    iterations. A fit without Spark equals a fit in one task.

    Spark actions: one checkpoint of the packed interactions, which is the only action that runs
    their plan. One small action for their size and invalid rows. One per checkpoint of the fit, and
    a small action for its report. For `validation`, a search for a measurable pair, and the
    measurements. Distributed execution adds two per id column and three for the blocks. It also
    adds, for each half of an iteration, a checkpoint and a small action for its sums.

    Args:
        interactions: Ids of any string or integer type, and a value of any numeric type; with
            `duplicates="last"` also `event_time`. The ids of a sparse matrix are its row and column
            numbers, and its values are the ratings or weights.
        params: What to fit and how; see `AlsParams`.
        checkpoint: On Spark, computes and keeps a frame. Jobs pass a checkpoint that writes to
            storage, so that the fit survives the loss of executors.
        initial_model: A model of the same rank to continue from (its ids may differ). On Spark,
            also a state of an earlier run, kept by `checkpoint`, to resume that run on the same
            interactions.
        validation: Interactions to measure at every checkpoint: RMSE, or recall at 20 if implicit.
            With `params.patience` the fit stops early and returns the best state.
        callback: Called after every checkpoint; without Spark, at the end or at every measurement.

    Raises:
        FitError: The loss is not finite.
        SchemaError: Columns are missing, or have unsupported types.
        InputError: `interactions` is not a table, is empty, or has null ids, values that are not
            finite (or negative, if implicit), repeated pairs with `duplicates="error"`, or only
            equal ratings; the message shows some rows. Or no pair of `validation` can be measured.
        ParameterError: `patience` without `validation`, or an `initial_model` of another rank.
    """
    if params.patience is not None and validation is None:
        raise ParameterError(
            f"patience={params.patience} stops a fit early by measurements on validation, but "
            "validation is missing: pass validation, or leave patience at None."
        )
    if is_spark(interactions):
        from matchlake.recommender.als.fit_on_spark import fit_on_spark  # noqa: PLC0415

        require_spark(validation, "validation")
        return fit_on_spark(interactions, params, checkpoint, initial_model, validation, callback)
    if not isinstance(initial_model, NumpyFactorModel | None):
        raise InputError(
            f"initial_model is a {type(initial_model).__name__}, but these interactions are fitted "
            "without Spark: pass a NumpyFactorModel, such as model.to_numpy()."
        )
    return fit_table(interactions, params, initial_model, validation, callback)


def fit(inputs: TrainingInputs, params: AlsParams, context: FitContext) -> "FactorModel":
    """`fit_als` for the registry."""
    return fit_als(
        inputs.interactions,
        params,
        checkpoint=context.checkpoint,
        initial_model=context.state,
        validation=inputs.validation,
        callback=context.callback,
    )
