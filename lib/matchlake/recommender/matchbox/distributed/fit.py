"""A distributed fit from frames to a model: ids, blocks, block states, sweeps, results."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from matchlake.engine.csr import Floats, Ints
from matchlake.errors import InputError
from matchlake.recommender.blocks import Bounds, Layout, partition
from matchlake.recommender.checkpoint import Checkpointer
from matchlake.recommender.ids import dense_ids
from matchlake.recommender.interaction_stats import SHOWN, VALUE, InteractionStats
from matchlake.recommender.matchbox.distributed.block_state import BlockStates
from matchlake.recommender.matchbox.distributed.collect import (
    ROWS,
    ColdRows,
    collect_report,
    collect_rows,
)
from matchlake.recommender.matchbox.distributed.sweeps import Distributed
from matchlake.recommender.matchbox.params import MatchboxParams
from matchlake.recommender.matchbox.posterior import MeanFeatures
from matchlake.recommender.matchbox.report import PosteriorReport
from matchlake.recommender.matchbox.sampler.gibbs import stored_columns
from matchlake.recommender.matchbox.sampler.history_features import all_sources
from matchlake.recommender.matchbox.sampler.likelihood import (
    Likelihood,
    gaussian,
    ordinal_probit,
)
from matchlake.recommender.matchbox.sampler.link_matrix import Source
from matchlake.recommender.matchbox.single_task import VECTOR
from matchlake.recommender.sides import ITEM, KEYS, USER

_COLUMNS = ("idx", "factors", "biases", "low_rank", "response", "n_interactions")


class Input(NamedTuple):
    """The inputs of a fit: ratings (`user_id`, `item_id`, `value`) and feature vectors."""

    ratings: DataFrame
    vectors: tuple[DataFrame | None, DataFrame | None]
    sources: tuple[tuple[Source, ...] | None, tuple[Source, ...] | None]
    size: InteractionStats


class Gathered(NamedTuple):
    """Rows of users and items, and the report."""

    users: DataFrame
    items: DataFrame
    report: PosteriorReport


def fit_blocks(inputs: Input, params: MatchboxParams, checkpoint: Checkpointer) -> Gathered:
    """Runs a distributed fit; see `fit_matchbox` for its actions."""
    if (
        params.day_effects
        or params.chains > 1
        or (params.noise_variance == "global" and not params.ordinal)
    ):
        raise InputError(
            "Distributed execution supports neither day effects nor several chains nor a global "
            "noise variance: leave out day_effects=True, chains and noise_variance='global', or "
            "set execution='single_task' on a machine with enough memory."
        )
    response, ratings = _response(inputs, params)
    bounds = Bounds(stored_columns(params), params.blocks, params.task_memory_mb)
    blocks, ids, layout = partition(ratings, inputs.size, bounds, checkpoint)
    for side in (USER, ITEM):
        _check_vectors(inputs.vectors[side], ids[side], KEYS[side])
    limit = params.max_history_features if params.history_features else 0
    (seen_users, of_items), (seen_items, of_users) = (
        _most_rated(inputs, ids[side], side, limit) for side in (USER, ITEM)
    )
    seen = seen_users, seen_items
    mean_features = [
        MeanFeatures(np.concatenate([_mean_features(inputs, side), history]), len(history))
        for side, history in ((USER, of_users), (ITEM, of_items))
    ]
    block_states = BlockStates(blocks, layout, seen)
    made = [block_states.of(side, _indexed(inputs, ids, side)) for side in (USER, ITEM)]
    ready = checkpoint(made[USER].unionByName(made[ITEM]))
    sources = [all_sources(inputs.sources[side], seen[1 - side]) for side in (USER, ITEM)]
    chain = Distributed(blocks, ready, layout, params, response, checkpoint, sources)
    samples = chain.run()
    report = collect_report(samples, layout, params.low_rank_tolerance, mean_features, seen)
    names = chain.trace[0]
    trace = {name: np.array([[facts[name] for facts in chain.trace]]) for name in names}
    report = replace(report, trace=trace)
    finish = _Finish(inputs, ids, layout, checkpoint)
    users, items = (
        finish.rows(collect_rows(samples, side, layout, report), side, report)
        for side in (USER, ITEM)
    )
    return Gathered(users, items, report)


def _response(inputs: Input, params: MatchboxParams) -> tuple[Likelihood, DataFrame]:
    """The likelihood, and the ratings with the values in its terms."""
    value = F.col(VALUE)
    if not params.ordinal:
        mean = inputs.size.mean
        centred = inputs.ratings.withColumn(VALUE, value - F.lit(mean).cast("float"))
        return gaussian(mean, inputs.size.minimum, inputs.size.maximum), centred
    rows = inputs.ratings.groupBy(VALUE).count().orderBy(VALUE).collect()
    levels = np.array([row[VALUE] for row in rows])
    response = ordinal_probit(levels, np.array([row["count"] for row in rows]))
    code = F.array_position(F.array(*[F.lit(float(x)).cast("float") for x in levels]), value) - 1
    return response, inputs.ratings.withColumn(VALUE, code.cast("float"))


def _mean_features(inputs: Input, side: int) -> Floats:
    """The mean of given features over all ratings; one action if there are any."""
    vectors, key = inputs.vectors[side], KEYS[side]
    if vectors is None:
        return np.zeros(0, np.float32)
    counts = inputs.ratings.groupBy(key).agg(F.count(F.lit(1)).alias("count"))
    rows = vectors.join(counts, key).select("count", VECTOR)
    table = rows.mapInArrow(_weighted_sums, "sums array<double>").toArrow()
    sums = np.array(table["sums"].to_pylist()).sum(axis=0) / inputs.size.interactions
    return np.asarray(sums, np.float32)


def _weighted_sums(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        if len(batch):
            counts = np.asarray(batch["count"]).astype(np.float64)
            vectors = np.asarray(batch[VECTOR].flatten()).reshape(len(batch), -1)
            sums = pa.array([counts @ vectors], pa.list_(pa.float64()))
            yield pa.RecordBatch.from_arrays([sums], ["sums"])


def _most_rated(inputs: Input, ids: DataFrame, side: int, limit: int) -> tuple[Ints, Floats]:
    """The rows of `side` that are history features, and the mean history of the others."""
    if not limit:
        return np.zeros(0, np.int64), np.zeros(0, np.float32)
    key, other, ratings = KEYS[side], KEYS[1 - side], inputs.ratings
    others = ratings.groupBy(other).agg(F.sqrt(F.count(F.lit(1))).alias("root"))
    counted = ratings.join(others, other).groupBy(key)
    counts = counted.agg(F.count(F.lit(1)).alias("count"), F.sum("root").alias("total"))
    ranked = counts.join(ids, key).orderBy(F.desc("count"), "idx")
    top = ranked.limit(limit).select("idx", "total").collect()
    rows, totals = ([row[name] for row in top] for name in ("idx", "total"))
    return np.array(rows, np.int64), (np.array(totals) / inputs.size.interactions).astype(
        np.float32
    )


def _indexed(inputs: Input, ids: tuple[DataFrame, DataFrame], side: int) -> DataFrame | None:
    vectors = inputs.vectors[side]
    return None if vectors is None else vectors.join(ids[side], KEYS[side]).select("idx", VECTOR)


def _check_vectors(vectors: DataFrame | None, ids: DataFrame, key: str) -> None:
    """Checks for one feature row per id, and for each id with ratings. Two actions."""
    if vectors is None:
        return
    again = vectors.groupBy(key).count().where("count > 1").limit(SHOWN).collect()
    if again:
        raise InputError(
            f"Some {key}(s) have more than one feature row: keep one row per id. Among them "
            f"{[row[key] for row in again]}."
        )
    lacking = ids.join(vectors, key, "anti").orderBy("idx").limit(SHOWN).collect()
    if lacking:
        raise InputError(
            f"Some {key}(s) have ratings but no feature row: add the rows, or omit the features. "
            f"Among them {[row[key] for row in lacking]}."
        )


@dataclass(frozen=True)
class _Finish:
    """Adds ids to collected rows, and the rows of ids without ratings."""

    given: Input
    ids: tuple[DataFrame, DataFrame]
    layout: Layout
    checkpoint: Checkpointer

    def rows(self, gathered: DataFrame, side: int, report: PosteriorReport) -> DataFrame:
        """One side's rows by id."""
        key = KEYS[side]
        trained = gathered.join(self.ids[side], "idx").select(key, *_COLUMNS)
        vectors = self.given.vectors[side]
        if vectors is None:
            return self.checkpoint(trained)
        cold = vectors.join(self.ids[side], key, "anti")
        numbered, _ = dense_ids(cold, key, self.checkpoint)
        numbered = numbered.withColumn("idx", F.col("idx") + self.layout.sizes[side])
        priors = report.sides[side]
        task = ColdRows(priors.means + priors.baseline_shift, priors.links, priors.projection)
        rows = cold.join(numbered, key).select("idx", VECTOR).mapInArrow(task, ROWS)
        indexed = rows.join(numbered, "idx").select(key, *_COLUMNS)
        return self.checkpoint(trained.unionByName(indexed))
