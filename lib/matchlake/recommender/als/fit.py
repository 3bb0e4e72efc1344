"""`fit_als`: matrix factorization by alternating least squares."""

import logging
import math
import time
from dataclasses import dataclass, replace
from typing import Protocol

from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import StructType

from matchlake.errors import FitError, InputError, ParameterError
from matchlake.recommender.als.defaults import resolve
from matchlake.recommender.als.distributed import Distributed
from matchlake.recommender.als.early_stopping import EarlyStopping, require_measurable
from matchlake.recommender.als.model import FactorModel
from matchlake.recommender.als.params import DEFAULTS, AlsParams
from matchlake.recommender.als.single_task import SingleTask, task_bytes
from matchlake.recommender.als.solver import stored_width
from matchlake.recommender.blocks import partition
from matchlake.recommender.checkpoint import Checkpointer, local_checkpoint
from matchlake.recommender.execution import choose_execution
from matchlake.recommender.interactions import InteractionStats, prepare
from matchlake.recommender.packed_interactions import PackedPairs, pack_pairs
from matchlake.recommender.progress import Progress, ProgressCallback, Report
from matchlake.recommender.protocol import FitContext, TrainingInputs
from matchlake.recommender.sides import INDICES, ITEM, KEYS, USER

_log = logging.getLogger(__name__)


class Execution(Protocol):
    """How a fit runs on Spark; a state is a frame that only its execution can read."""

    def interval(self) -> int:
        """Iterations from one checkpoint to the next."""

    def begin(self, model: FactorModel | None) -> DataFrame | None:
        """The state that continues `model`."""

    def advance(self, state: DataFrame | None, done: int, iterations: int) -> DataFrame:
        """The state after `iterations` more than the `done` before; lazy."""

    def report(self, state: DataFrame) -> Report:
        """Iterations done, loss, seconds and sizes of a checkpointed state."""

    def factors(self, state: DataFrame, side: int) -> DataFrame:
        """Trained rows of one side: its key, `idx`, `factors`, `bias`, `n_interactions`; lazy."""


def fit_als(
    interactions: DataFrame,
    params: AlsParams = DEFAULTS,
    *,
    checkpoint: Checkpointer = local_checkpoint,
    initial_model: FactorModel | DataFrame | None = None,
    validation: DataFrame | None = None,
    callback: ProgressCallback | None = None,
) -> FactorModel:
    """Learns a factor model from `user_id`, `item_id` and `rating` (explicit) or `weight`.

    Both ways of execution start from the same numbers and solve the same rows, for any
    partitioning. They differ in the order of float32 sums: 1e-4 in factors of size 1 after a few
    iterations.

    Spark actions: one checkpoint of the packed interactions, the only one that runs their plan; a
    small one for their size and invalid rows; in distributed execution two per id column and two
    for the blocks; one per checkpoint of the fit and a small report after it; for `validation` a
    look for a measurable pair, and its measurements.

    Args:
        interactions: Ids of any string or integer type, the value of any numeric type;
            `event_time` too with `duplicates="last"`.
        params: What to fit and how; see `AlsParams`.
        checkpoint: Computes and keeps a frame. A job passes one that writes to storage, so that
            the fit survives the loss of executors.
        initial_model: A model of the same rank to continue from (its ids may differ), or a state
            that `checkpoint` kept in an earlier run over the same interactions, to resume that run.
        validation: Interactions to measure at every checkpoint: RMSE, or recall at 20 if implicit.
            With `params.patience` the fit stops early and returns the best state.
        callback: Called after every checkpoint.

    Raises:
        FitError: The loss is not finite.
        SchemaError: Columns are missing.
        InputError: Null ids, values that are not finite (or negative, if implicit), repeated pairs
            with `duplicates="error"`, no interactions, or ratings that are all equal; the message
            shows some rows. No pair of `validation` can be measured.
        ParameterError: `patience` without `validation`, or an `initial_model` of another rank.
    """
    if params.patience is not None and validation is None:
        raise ParameterError(
            f"patience={params.patience} stops a fit early by measurements on validation, which "
            "is missing: pass validation, or leave patience at None."
        )
    spec = params.interaction_spec
    prepared = prepare(interactions, spec)
    if isinstance(initial_model, FactorModel):
        initial_model = continued(initial_model, prepared.schema, params)
    if validation is not None:
        require_measurable(validation, params)
    pairs, stats = pack_pairs(prepared, spec, checkpoint)
    params = resolve(params, stats)
    pairs = replace(pairs, weight_scale=params.weight_scale)
    execution = _choose(pairs, stats, params, checkpoint)
    state: DataFrame | None
    if isinstance(initial_model, DataFrame):
        state, done = initial_model, _resumed(execution, initial_model, params)
    else:
        state, done = execution.begin(initial_model), 0
    run = _Run(execution, stats, params, checkpoint)
    early_stopping = EarlyStopping(validation, pairs.unpacked(), params)
    interval = params.checkpoint_interval if validation is not None else execution.interval()
    while True:
        steps = min(interval, params.iterations - done)
        begin = time.perf_counter()
        state = checkpoint(execution.advance(state, done, steps))
        report = execution.report(state)
        done += steps
        _require_finite(report, stats)
        metric = early_stopping.measure(run.model(state, report), state)
        seconds = sum(report.seconds) or time.perf_counter() - begin
        progress = Progress(done, params.iterations, seconds, report.loss, metric, report.seconds)
        shown = "" if progress.metric is None else f", validation {progress.metric:.6g}"
        _log.info("iteration %d of %d: %.2f s, loss %.6g%s", *progress[:4], shown)
        if callback is not None:
            callback(progress)
        if done >= params.iterations or early_stopping.spent:
            return run.model(early_stopping.best_state(state), report, final=True)


def fit(inputs: TrainingInputs, params: AlsParams, context: FitContext) -> FactorModel:
    """`fit_als` for the registry."""
    return fit_als(
        inputs.interactions,
        params,
        checkpoint=context.checkpoint,
        initial_model=context.state,
        callback=context.callback,
    )


@dataclass(frozen=True)
class _Run:
    """Turns the states of one fit into models."""

    execution: Execution
    stats: InteractionStats
    params: AlsParams
    checkpoint: Checkpointer

    def model(self, state: DataFrame, report: Report, *, final: bool = False) -> FactorModel:
        """The model of a state; the frames of the final one do not depend on the fit's plan."""
        users, items = (
            self.execution.factors(state, side).withColumnRenamed("idx", INDICES[side])
            for side in (USER, ITEM)
        )
        if final and isinstance(self.execution, Distributed):
            users, items = self.checkpoint(users), self.checkpoint(items)
        return FactorModel(users, items, self.stats.mean, self.params, report.sizes)


def _choose(
    pairs: PackedPairs, stats: InteractionStats, params: AlsParams, checkpoint: Checkpointer
) -> Execution:
    needed = task_bytes(stats, params)
    chosen = choose_execution(params.execution, stats, needed, params.task_memory_mb)
    if chosen == "single_task":
        return SingleTask(pairs, params, stats)
    width = stored_width(params)
    blocks, ids, layout = partition(pairs.unpacked(), stats, width, params.blocks, checkpoint)
    return Distributed(blocks, ids, layout, params)


def continued(model: FactorModel, kinds: StructType, params: AlsParams) -> FactorModel:
    """`model` with ids of the interactions' types; ids that cannot be cast are dropped."""
    if model.params.rank != params.rank:
        raise ParameterError(
            f"initial_model has rank {model.params.rank}, but params have rank={params.rank}. The "
            f"ranks must be equal: set rank={model.params.rank}, or fit without initial_model."
        )
    sides = [
        frame.withColumn(key, F.col(key).try_cast(kinds[key].dataType)).dropna(subset=[key])
        for frame, key in zip((model.user_factors, model.item_factors), KEYS, strict=True)
    ]
    return replace(model, user_factors=sides[0], item_factors=sides[1], sizes=None)


def _require_finite(report: Report, stats: InteractionStats) -> None:
    """Raises FitError if the loss is not finite; a state without a loss passes."""
    if report.iteration and not math.isfinite(report.loss):
        raise FitError(
            f"The loss of the fit is {report.loss} after iteration {report.iteration}: numbers "
            f"overflow. The largest value of the interactions is {stats.maximum:.4g}. Scale the "
            "values, or leave alpha at null, which scales weights; raise regularization if it is "
            "near 0."
        )


def _resumed(execution: Execution, state: DataFrame, params: AlsParams) -> int:
    """The number of iterations of the state to resume from."""
    done = execution.report(state).iteration
    if done > params.iterations:
        raise InputError(
            f"The state to resume from has {done} iterations, more than iterations="
            f"{params.iterations}: raise iterations, or fit without resume."
        )
    return done
