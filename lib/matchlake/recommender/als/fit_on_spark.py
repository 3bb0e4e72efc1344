"""`fit_als` on Spark, in one task or distributed."""

import time
from dataclasses import dataclass, replace
from typing import Protocol

from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import StructType

from matchlake.errors import InputError
from matchlake.recommender.als.defaults import resolve
from matchlake.recommender.als.distributed import Distributed
from matchlake.recommender.als.early_stopping import EarlyStopping
from matchlake.recommender.als.model import FactorModel
from matchlake.recommender.als.params import AlsParams
from matchlake.recommender.als.reports import note_progress, other_rank, require_finite
from matchlake.recommender.als.single_task import SingleTask, task_bytes
from matchlake.recommender.als.solver import stored_width
from matchlake.recommender.als.validation import measure, require_measurable
from matchlake.recommender.blocks import Bounds, partition
from matchlake.recommender.checkpoint import Checkpointer
from matchlake.recommender.execution import choose_execution
from matchlake.recommender.interaction_stats import InteractionStats
from matchlake.recommender.interactions import prepare
from matchlake.recommender.packed_frame import PackedPairs, pack_pairs
from matchlake.recommender.progress import Progress, ProgressCallback, Report
from matchlake.recommender.sides import INDICES, ITEM, KEYS, USER


class Execution(Protocol):
    """How a fit runs on Spark; a state is a frame that only its execution can read."""

    def interval(self) -> int:
        """Iterations from one checkpoint to the next."""

    def begin(self, model: FactorModel | None) -> DataFrame | None:
        """The state that continues `model`."""

    def advance(self, state: DataFrame | None, done: int, iterations: int) -> DataFrame:
        """The state after `iterations` more than the `done` before, not yet checkpointed."""

    def report(self, state: DataFrame) -> Report:
        """Iterations done, loss, seconds and sizes of a checkpointed state."""

    def factors(self, state: DataFrame, side: int) -> DataFrame:
        """Trained rows of one side: its key, `idx`, `factors`, `bias`, `n_interactions`; lazy."""


def fit_on_spark(
    interactions: DataFrame,
    params: AlsParams,
    checkpoint: Checkpointer,
    initial_model: FactorModel | DataFrame | None,
    validation: DataFrame | None,
    callback: ProgressCallback | None,
) -> FactorModel:
    """`fit_als` on a Spark frame; see there."""
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
    early_stopping = EarlyStopping[DataFrame](params)
    interval = params.checkpoint_interval if validation is not None else execution.interval()
    while True:
        steps = min(interval, params.iterations - done)
        begin = time.perf_counter()
        state = checkpoint(execution.advance(state, done, steps))
        report = execution.report(state)
        done += steps
        require_finite(report, stats)
        metric = None
        if validation is not None:
            metric = measure(run.model(state, report), validation, pairs.unpacked(), params)
            early_stopping.note(metric, state)
        seconds = sum(report.seconds) or time.perf_counter() - begin
        progress = Progress(done, params.iterations, seconds, report.loss, metric, report.seconds)
        note_progress(progress, callback)
        if done >= params.iterations or early_stopping.spent:
            return run.model(early_stopping.best_state(state), report, final=True)


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
    bounds = Bounds(stored_width(params), params.blocks, params.task_memory_mb)
    blocks, ids, layout = partition(pairs.unpacked(), stats, bounds, checkpoint)
    return Distributed(blocks, ids, layout, params, checkpoint)


def continued(model: FactorModel, kinds: StructType, params: AlsParams) -> FactorModel:
    """`model` with ids of the interactions' types; ids that cannot be cast are dropped."""
    if model.params.rank != params.rank:
        raise other_rank(model.params.rank, params.rank)
    sides = [
        frame.withColumn(key, F.col(key).try_cast(kinds[key].dataType)).dropna(subset=[key])
        for frame, key in zip((model.user_factors, model.item_factors), KEYS, strict=True)
    ]
    return replace(model, user_factors=sides[0], item_factors=sides[1], sizes=None)


def _resumed(execution: Execution, state: DataFrame, params: AlsParams) -> int:
    """The number of iterations of the state to resume from."""
    done = execution.report(state).iteration
    if done > params.iterations:
        raise InputError(
            f"The state to resume from has {done} iterations, more than iterations="
            f"{params.iterations}: raise iterations, or fit without resume."
        )
    return done
