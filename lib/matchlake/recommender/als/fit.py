"""`fit_als`: matrix factorization by alternating least squares."""

import logging
import time
from dataclasses import dataclass, replace
from typing import Protocol

from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import StructType

from matchlake.errors import InputError, ParameterError
from matchlake.recommender.als.distributed import Distributed
from matchlake.recommender.als.early_stopping import Watch, require_measurable
from matchlake.recommender.als.in_memory import ITEM_SIDE, USER_SIDE
from matchlake.recommender.als.model import FactorModel
from matchlake.recommender.als.params import AlsParams
from matchlake.recommender.als.single_task import OneTask, task_bytes
from matchlake.recommender.blocks import partition
from matchlake.recommender.checkpoint import Cut, keep_locally
from matchlake.recommender.interactions import Survey, prepare
from matchlake.recommender.packed_interactions import PackedPairs, pack_pairs
from matchlake.recommender.progress import OnProgress, Progress, Report
from matchlake.schemas import ITEM_ID, USER_ID

__all__ = ["AlsParams", "Cut", "Progress", "fit_als", "keep_locally"]

_log = logging.getLogger(__name__)


class Schedule(Protocol):
    """How a fit runs on Spark; a state is a frame that only its schedule can read."""

    def stretch(self) -> int:
        """Iterations from one cut to the next."""

    def begin(self, model: FactorModel | None) -> DataFrame | None:
        """The state that continues `model`."""

    def advance(self, state: DataFrame | None, done: int, iterations: int) -> DataFrame:
        """The state after `iterations` more than the `done` before; lazy."""

    def report(self, state: DataFrame) -> Report:
        """Iterations done, loss and seconds of a state that was cut."""

    def factors(self, state: DataFrame, side: int) -> DataFrame:
        """Trained rows of one side: its key, `idx`, `factors`, `bias`, `observed`; lazy."""


def fit_als(
    interactions: DataFrame,
    params: AlsParams,
    *,
    cut: Cut = keep_locally,
    start: FactorModel | DataFrame | None = None,
    held_out: DataFrame | None = None,
    on_progress: OnProgress | None = None,
) -> FactorModel:
    """Learns a factor model from `user_id`, `item_id` and `rating` (explicit) or `strength`.

    Both schedules start from the same numbers and solve the same rows, whatever the partitions.
    They differ by the order of float32 sums: 1e-4 in factors of size 1 after a few iterations.

    Spark actions: the cut of the interactions, packed, which is all that runs their plan, and a
    small one for their size and for what cannot be fitted; one an id column and two for the blocks
    in the distributed schedule; one a cut, with a small report after it; of `held_out` a look for a
    pair to measure, and its measurements.

    Args:
        interactions: Keys of any string or integer type, the value of any numeric type;
            `event_time` too with `duplicates="last"`.
        params: What to fit and how; see `AlsParams`.
        cut: Computes and keeps a frame; a job gives one that writes to storage, so that a fit
            outlives its executors.
        start: A model of the same rank to continue from (its ids need not be the same), or a
            state that `cut` kept in an earlier run over the same interactions, to resume that run.
        held_out: Interactions to measure at every cut: RMSE, or recall at 20 where implicit. With
            `params.patience` the fit stops early and gives the best state.
        on_progress: Called after every cut.

    Raises:
        SchemaError: Columns are missing.
        InputError: Null ids, values that are not finite (or negative, where implicit), repeated
            pairs with `duplicates="error"`, no interactions, or ratings that are all equal: the
            message shows some of the rows. No pair of `held_out` that can be measured.
        ParameterError: `patience` without `held_out`, or a `start` of another rank.
    """
    if params.patience is not None and held_out is None:
        raise ParameterError(
            f"patience={params.patience} ends a fit early by what it measures on held_out, which "
            "was not given: give held_out, or leave patience at None."
        )
    prepared = prepare(interactions, params)
    if isinstance(start, FactorModel):
        start = continued(start, prepared.schema, params)
    if held_out is not None:
        require_measurable(held_out, params)
    pairs, size = pack_pairs(prepared, params, cut)
    schedule = _schedule(pairs, size, params, cut)
    state = start if isinstance(start, DataFrame) else schedule.begin(start)
    run = _Run(schedule, size, params, cut)
    done = _resumed(schedule, start, params) if isinstance(start, DataFrame) else 0
    watch = Watch(held_out, pairs.unpacked(), params)
    stretch = params.cut_every if held_out is not None else schedule.stretch()
    while True:
        steps = min(stretch, params.iterations - done)
        begin = time.perf_counter()
        state = cut(schedule.advance(state, done, steps))
        report = schedule.report(state)
        done += steps
        metric = watch.measure(run.model(state), state)
        seconds = sum(report.seconds) or time.perf_counter() - begin
        progress = Progress(done, params.iterations, seconds, report.loss, metric, report.seconds)
        _log.info("iteration %d of %d: %.2f s, loss %.6g, held out %s", *progress[:5])
        if on_progress is not None:
            on_progress(progress)
        if done >= params.iterations or watch.spent:
            return run.model(watch.best_state(state), final=True)


@dataclass(frozen=True)
class _Run:
    """What turns the states of one fit into models."""

    schedule: Schedule
    size: Survey
    params: AlsParams
    cut: Cut

    @property
    def stretched(self) -> bool:
        """Whether the schedule runs in stretches of its own accord."""
        return isinstance(self.schedule, Distributed)

    def model(self, state: DataFrame, *, final: bool = False) -> FactorModel:
        """The model of a state; the last one's frames are cut free of the fit's plan."""
        users = self.schedule.factors(state, USER_SIDE).withColumnRenamed("idx", "user_idx")
        items = self.schedule.factors(state, ITEM_SIDE).withColumnRenamed("idx", "item_idx")
        if final and self.stretched:
            users, items = self.cut(users), self.cut(items)
        return FactorModel(users, items, self.size.mean, self.params)


def _schedule(pairs: PackedPairs, size: Survey, params: AlsParams, cut: Cut) -> Schedule:
    need, limit = task_bytes(size, params) >> 20, params.task_memory_mb
    chosen = params.schedule
    if chosen == "auto":
        chosen = "one-task" if need <= limit else "distributed"
    _log.info(
        "%d interactions, about %d users and %d items: %d MiB in one task, limit %d; schedule %s",
        *(size.interactions, size.users, size.items, need, limit, chosen),
    )
    if chosen == "one-task":
        return OneTask(pairs, params, size)
    blocks, ids, layout = partition(pairs.unpacked(), size, params, cut)
    return Distributed(blocks, ids, layout, params)


def continued(start: FactorModel, kinds: StructType, params: AlsParams) -> FactorModel:
    """`start`, its ids of the interactions' types; without those that are none of that type."""
    if start.params.rank != params.rank:
        raise ParameterError(
            f"start has rank {start.params.rank}, and rank={params.rank} was asked for: a fit "
            f"continues a model of its own rank. Take rank={start.params.rank}, or start anew."
        )
    sides = [
        frame.withColumn(key, F.col(key).try_cast(kinds[key].dataType)).dropna(subset=[key])
        for frame, key in ((start.users, USER_ID), (start.items, ITEM_ID))
    ]
    return replace(start, users=sides[0], items=sides[1])


def _resumed(schedule: Schedule, state: DataFrame, params: AlsParams) -> int:
    """Iterations that a state to resume from has behind it."""
    done = schedule.report(state).iteration
    if done > params.iterations:
        raise InputError(
            f"The state to resume from has {done} iterations, more than iterations="
            f"{params.iterations}: raise iterations, or start anew."
        )
    return done
