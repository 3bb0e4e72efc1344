"""Collects the samples of a distributed fit into the frames of a model."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import reduce

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import ArrayType, FloatType, LongType, StructField, StructType

from matchlake.engine.arrow import matrix_lists
from matchlake.engine.csr import Floats, Ints
from matchlake.engine.grouped import Key, apply_by_group
from matchlake.engine.packing import Array
from matchlake.recommender.blocks import Layout
from matchlake.recommender.exchange import read_sums
from matchlake.recommender.matchbox.distributed.sweeps import Kept
from matchlake.recommender.matchbox.low_rank import low_rank
from matchlake.recommender.matchbox.posterior import (
    Averages,
    ColdStartPrior,
    MeanFeatures,
    factors_of,
    weighted_sums,
)
from matchlake.recommender.matchbox.report import PosteriorReport, SideReport
from matchlake.recommender.matchbox.sampler.prior import Prior
from matchlake.recommender.messages import MESSAGES, Outbox, unpack_messages
from matchlake.recommender.sides import ITEM, USER

_TOTALS = 20
_FLOATS = ArrayType(FloatType())

ROWS = StructType(
    [
        StructField("idx", LongType()),
        StructField("factors", _FLOATS),
        StructField("biases", _FLOATS),
        StructField("low_rank", _FLOATS),
        StructField("response", _FLOATS),
        StructField("n_interactions", LongType()),
    ]
)
"""The columns of `collect_rows`."""


def collect_report(
    samples: list[Kept],
    layout: Layout,
    tolerance: float,
    mean_features: Sequence[MeanFeatures],
    seen: tuple[Ints, Ints],
) -> PosteriorReport:
    """Returns the report of a model, from each side's mean features. One action per side."""
    likelihood = samples[0].response
    none = likelihood.first_users(0)
    states = [sample.response.state(none) for sample in samples]
    shared = {name: np.stack([state[name] for state in states]) for name in states[0]}
    grams, averages = [], []
    for side in (USER, ITEM):
        rows = apply_by_group(_stacked(samples, side), ("source",), _Total(side), MESSAGES)
        sums = read_sums(rows, _TOTALS)
        grams.append(sums["gram"])
        averages.append(Averages(sums["mean"] / sums["count"], sums["square"] / sums["count"]))
    few = low_rank((grams[USER], grams[ITEM]), layout.sizes, tolerance)
    numbers = likelihood.levels is None
    sides = []
    for side, projection in ((USER, few.users), (ITEM, few.items)):
        both = averages[side], averages[1 - side]
        priors = [sample.priors[side] for sample in samples]
        report = _side_report(priors, mean_features[side], both, numbers=numbers)
        sides.append(replace(report, projection=projection, seen=seen[side]))
    return PosteriorReport(
        mean=likelihood.mean,
        sizes=layout.sizes,
        sides=tuple(sides),
        variance=shared.get("variance"),
        base=shared.get("base"),
        shared=shared.get("shared"),
        rating_levels=likelihood.levels,
    )


def _side_report(
    priors: Sequence[Prior],
    mean_features: MeanFeatures,
    averages: tuple[Averages, Averages],
    *,
    numbers: bool,
) -> SideReport:
    means = np.stack([prior.mean for prior in priors])
    precisions = np.stack([prior.precision for prior in priors])
    links = np.stack([prior.links for prior in priors])
    stacked = means, precisions, links
    cold = ColdStartPrior.of(stacked, mean_features, averages, numbers=numbers)
    return SideReport(
        means=means,
        precisions=precisions,
        links=links.astype(np.float32),
        scales=np.stack([prior.scales for prior in priors]),
        baseline_shift=cold.baseline_shift,
        average=cold.average,
        cold_share=cold.share,
    )


def collect_rows(
    samples: list[Kept], side: int, layout: Layout, report: PosteriorReport
) -> DataFrame:
    """Returns the rows of one side with all their samples, by `idx`; lazy."""
    task = _Rows(side, layout, report.sides[side].projection.astype(np.float32))
    return apply_by_group(_stacked(samples, side), ("source",), task, ROWS)


def _stacked(samples: list[Kept], side: int) -> DataFrame:
    """Returns the messages of all samples; `key` is the number of the sample."""
    parts = [
        sample.rows.where(F.col("kind") == side).select(
            F.lit(number).alias("key"), "kind", "source", "piece", "data"
        )
        for number, sample in enumerate(samples)
    ]
    return reduce(lambda a, b: a.unionByName(b), parts)


def _samples(table: pa.Table, side: int) -> Iterator[dict[str, Array]]:
    """Yields a block's messages, sample by sample."""
    order = np.asarray(table["key"])
    for number in np.unique(order):
        yield unpack_messages(table.filter(pa.array(order == number)), side)[0]


def _rows_of(parts: list[dict[str, Array]]) -> Floats:
    return np.stack([part["rows"] for part in parts], axis=1)


@dataclass(frozen=True)
class _Total:
    """Sums over a block: the Gram matrix of all factors, and the weighted sums of `Averages`."""

    side: int

    def __call__(self, key: Key, table: pa.Table) -> pa.Table:
        parts = list(_samples(table, self.side))
        rows, counts = _rows_of(parts), parts[0]["n_interactions"]
        factors = factors_of(rows).astype(np.float64)
        out = Outbox(key[0].as_py())
        mean, square = weighted_sums(rows, counts)
        sums = {"gram": factors.T @ factors, "mean": mean, "square": square}
        out.add(0, _TOTALS, sums | {"count": np.array(counts.sum())})
        return out.table()


@dataclass(frozen=True)
class _Rows:
    """A block's rows as rows of a frame."""

    side: int
    layout: Layout
    projection: Floats

    def __call__(self, key: Key, table: pa.Table) -> pa.Table:
        parts = list(_samples(table, self.side))
        rows = _rows_of(parts)
        factors = factors_of(rows)
        response = pa.nulls(len(rows), pa.list_(pa.float32()))
        if self.side == USER:
            users = np.stack([part["users"] for part in parts], axis=1)
            response = matrix_lists(users.reshape(len(rows), -1))
        return pa.table(
            {
                "idx": pa.array(self.layout.rows(self.side, key[0].as_py())),
                "factors": matrix_lists(factors),
                "biases": matrix_lists(rows[:, :, -1]),
                "low_rank": matrix_lists(factors @ self.projection),
                "response": response,
                "n_interactions": pa.array(parts[0]["n_interactions"]),
            }
        )


@dataclass(frozen=True)
class ColdRows:
    """Makes rows with only features, from `idx` and `x`; a task for mapInArrow, to ROWS.

    `means` are the prior means of rows without history.
    """

    means: Array
    links: Array
    projection: Floats

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Yields prior means in every sample."""
        for batch in batches:
            if not len(batch):
                continue
            vectors = np.asarray(batch["x"].flatten()).reshape(len(batch), -1)
            links = self.links[:, : vectors.shape[1]].astype(np.float32)
            rows = np.einsum("nd,sdk->nsk", vectors, links) + self.means.astype(np.float32)
            factors = factors_of(rows.astype(np.float32))
            yield pa.RecordBatch.from_pydict(
                {
                    "idx": batch["idx"].cast(pa.int64()),
                    "factors": matrix_lists(factors),
                    "biases": matrix_lists(rows[:, :, -1].astype(np.float32)),
                    "low_rank": matrix_lists(factors @ self.projection),
                    "response": pa.nulls(len(batch), pa.list_(pa.float32())),
                    "n_interactions": pa.array(np.zeros(len(batch), np.int64)),
                }
            )
