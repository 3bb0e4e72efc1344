"""From the kept samples of a distributed fit to the frames of a model."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import ArrayType, FloatType, LongType, StructField, StructType

from matchlake.engine.csr import Floats
from matchlake.engine.packing import Array
from matchlake.recommender.blocks import Layout
from matchlake.recommender.matchbox.distributed.sweeps import Kept
from matchlake.recommender.matchbox.low_rank import compact_grams
from matchlake.recommender.matchbox.posterior import (
    Averages,
    Cold,
    Usual,
    factors_of,
    weighted_sums,
)
from matchlake.recommender.matchbox.sampler.ratings import ITEM, USER
from matchlake.recommender.matchbox.single_task_output import float_lists
from matchlake.recommender.messages import MESSAGES, Outbox, opened, summed

_TOTALS = 20
_FLOATS = ArrayType(FloatType())

ROWS = StructType(
    [
        StructField("idx", LongType()),
        StructField("factors", _FLOATS),
        StructField("biases", _FLOATS),
        StructField("compact", _FLOATS),
        StructField("response", _FLOATS),
        StructField("observed", LongType()),
    ]
)
"""What `gathered_rows` gives."""


def gathered_report(
    kept: list[Kept], layout: Layout, loss: float, usual: Sequence[Usual]
) -> dict[str, Array]:
    """All of a model that is not a row, by each side's usual features. One action a side."""
    report: dict[str, Array] = {
        "mean": np.array(kept[0].response.mean),
        "sizes": np.array(layout.sizes),
    }
    none = kept[0].response.first_users(0)
    states = [sample.response.state(none) for sample in kept]
    for name in states[0].keys() - {"users"}:
        report[name] = np.stack([state[name] for state in states])
    if kept[0].response.levels is not None:
        report["levels"] = kept[0].response.levels
    grams, averages = [], []
    for side in (USER, ITEM):
        total = _Total(side)
        sums = _stacked(kept, side).applyInArrow(lambda key, table: total(key, table), MESSAGES)  # noqa: B023, PLW0108
        parts = opened(sums.toArrow(), _TOTALS)
        grams.append(summed(parts, "gram"))
        count = summed(parts, "count")
        averages.append(Averages(summed(parts, "mean") / count, summed(parts, "square") / count))
        drawn = [sample.priors[side] for sample in kept]
        report[f"means_{side}"] = np.stack([prior.mean for prior in drawn])
        report[f"precisions_{side}"] = np.stack([prior.precision for prior in drawn])
        report[f"links_{side}"] = np.stack([prior.links for prior in drawn]).astype(np.float32)
        report[f"scales_{side}"] = np.stack([prior.scales for prior in drawn])
    for side in (USER, ITEM):
        links = np.stack([sample.priors[side].links for sample in kept])
        priors = report[f"means_{side}"], report[f"precisions_{side}"], links
        both = averages[side], averages[1 - side]
        cold = Cold.of(priors, usual[side], both, numbers="levels" not in report)
        report[f"bare_{side}"], report[f"average_{side}"] = cold.bare, cold.average
        report[f"cold_share_{side}"] = np.array(cold.share)
    few = compact_grams((grams[USER], grams[ITEM]), layout.sizes, loss)
    return report | {"compact_users": few.users, "compact_items": few.items}


def gathered_rows(
    kept: list[Kept], side: int, layout: Layout, report: dict[str, Array]
) -> DataFrame:
    """The rows of one side with all their samples, by `idx`; lazy."""
    projection = report["compact_users" if side == USER else "compact_items"]
    unpack_rows = _Rows(side, layout, projection.astype(np.float32))
    frame: DataFrame = _stacked(kept, side).applyInArrow(
        lambda key, table: unpack_rows(key, table),  # noqa: PLW0108
        ROWS,
    )
    return frame


def _stacked(kept: list[Kept], side: int):  # type: ignore[no-untyped-def]  # noqa: ANN202 - pyspark's grouped data has one class for each of its two clients
    parts = [
        sample.rows.where(F.col("kind") == side)
        # A message's samples are told apart by what is otherwise its key.
        .select(F.lit(number).alias("key"), "kind", "source", "piece", "data")
        for number, sample in enumerate(kept)
    ]
    return reduce(lambda a, b: a.unionByName(b), parts).groupBy("source")


def _samples(table: pa.Table, side: int) -> Iterator[dict[str, Array]]:
    """A block's messages, sample by sample."""
    order = np.asarray(table["key"])
    for number in np.unique(order):
        yield opened(table.filter(pa.array(order == number)), side)[0]


def _rows_of(parts: list[dict[str, Array]]) -> Floats:
    return np.stack([part["rows"] for part in parts], axis=1)


@dataclass(frozen=True)
class _Total:
    """Sums over a block: the Gram matrix of all factors, and what `Averages` are of."""

    side: int

    def __call__(self, key: tuple[pa.Scalar], table: pa.Table) -> pa.Table:
        parts = list(_samples(table, self.side))
        rows, counts = _rows_of(parts), parts[0]["observed"]
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

    def __call__(self, key: tuple[pa.Scalar], table: pa.Table) -> pa.Table:
        parts = list(_samples(table, self.side))
        rows = _rows_of(parts)
        factors = factors_of(rows)
        response = pa.nulls(len(rows), pa.list_(pa.float32()))
        if self.side == USER:
            users = np.stack([part["users"] for part in parts], axis=1)
            response = float_lists(users.reshape(len(rows), -1))
        return pa.table(
            {
                "idx": pa.array(self.layout.rows(self.side, key[0].as_py())),
                "factors": float_lists(factors),
                "biases": float_lists(rows[:, :, -1]),
                "compact": float_lists(factors @ self.projection),
                "response": response,
                "observed": pa.array(parts[0]["observed"]),
            }
        )


@dataclass(frozen=True)
class ColdRows:
    """Rows known by their features only, from `idx` and `x`; a task for mapInArrow, to ROWS.

    `means` are those of rows without history.
    """

    means: Array
    links: Array
    projection: Floats

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Prior means in every sample."""
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
                    "factors": float_lists(factors),
                    "biases": float_lists(rows[:, :, -1].astype(np.float32)),
                    "compact": float_lists(factors @ self.projection),
                    "response": pa.nulls(len(batch), pa.list_(pa.float32())),
                    "observed": pa.array(np.zeros(len(batch), np.int64)),
                }
            )
