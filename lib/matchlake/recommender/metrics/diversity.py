"""Diversity: the mean distance of the items of one list, from their vectors.

The code is compiled: Spark's array functions take a hundred times as long for sums of vectors.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from matchlake.engine.arrow import combined, offsets_of
from matchlake.engine.broadcast import plan_partitions, replicate, route_by_query
from matchlake.engine.simd import compiled
from matchlake.errors import InputError
from matchlake.recommender.metrics.lists import ITEMS
from matchlake.recommender.metrics.shape import figure
from matchlake.schemas import ITEM_ID, USER_ID

VECTOR = "vector"

_VECTORS, _LISTS = 0, 1
"""The kinds of rows, in the order in which a task receives them."""
_TASKS = 8
_TOTALS = "k int, total double, judged bigint, users bigint"

Doubles = npt.NDArray[np.float64]
Places = npt.NDArray[np.int64]


def diversity(lists: DataFrame, catalogue: DataFrame, ks: tuple[int, ...]) -> DataFrame:
    """Computes `diversity` of `lists` (`user_id`, `_items`), given `item_id` and `vector`.

    Eight tasks share the users; each gets a copy of all vectors.
    """
    queries = lists.select(F.col(USER_ID).alias("query"), ITEMS)
    vector = F.col(VECTOR).cast("array<double>").alias(VECTOR)
    vectors = catalogue.where(F.col(VECTOR).isNotNull()).select(ITEM_ID, vector)
    plan = plan_partitions(queries, _TASKS)
    rows = plan.assemble(replicate(vectors, plan, _VECTORS), route_by_query(queries, plan, _LISTS))
    totals = rows.mapInArrow(_Diversity(ks), _TOTALS)
    n_judged, users = F.sum("judged"), F.sum("users")
    mean = F.try_divide(F.sum("total"), n_judged)
    summed = totals.groupBy("k").agg(figure("diversity", mean, n_judged, users).alias("figure"))
    return summed.select(
        F.lit("diversity").alias("metric"),
        "k",
        "figure.value",
        "figure.n_samples",
        "figure.n_skipped",
    )


@dataclass(frozen=True)
class _Diversity:
    """The function of a task: reads all vectors and its users' lists, adds up diversities."""

    ks: tuple[int, ...]

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        arrived = list(batches)
        if not arrived:
            return
        table = pa.Table.from_batches(arrived)
        kinds = {kind: table.filter(pc.equal(table["kind"], kind)) for kind in (_VECTORS, _LISTS)}
        if kinds[_LISTS].num_rows:
            yield from self.totals(kinds[_LISTS], kinds[_VECTORS]).to_batches()

    def totals(self, lists: pa.Table, vectors: pa.Table) -> pa.Table:
        """Returns, per k, the sum of the users' diversities, the measured users, and all users."""
        items = combined(lists[ITEMS])
        known = pc.index_in(items.flatten(), value_set=combined(vectors[ITEM_ID]))
        rows = np.asarray(known.fill_null(-1)).astype(np.int64)
        values = _list_diversities(offsets_of(items), rows, _units(vectors), np.array(self.ks))
        measured = values >= 0
        return pa.table(
            {
                "k": pa.array(self.ks, pa.int32()),
                "total": np.where(measured, values, 0.0).sum(axis=0),
                "judged": measured.sum(axis=0),
                "users": np.full(len(self.ks), lists.num_rows),
            }
        )


def _units(vectors: pa.Table) -> Doubles:
    """Returns the vectors scaled to length 1, one per row; a zero vector stays."""
    lists = combined(vectors[VECTOR])
    widths = set(lists.value_lengths().unique().to_pylist())
    if len(widths) > 1:
        raise InputError(
            f"vectors have lengths {sorted(widths)}; all items need vectors of the same length."
        )
    matrix = np.asarray(lists.flatten()).reshape(len(lists), max(widths, default=0))
    lengths = np.linalg.norm(matrix, axis=1, keepdims=True)
    units: Doubles = np.divide(matrix, lengths, out=np.zeros_like(matrix), where=lengths > 0)
    return units


@compiled
def _list_diversities(bounds: Places, rows: Places, units: Doubles, ks: Places) -> Doubles:
    """Computes the mean of 1 - cosine over pairs of each list's first k known rows, or -1.

    A list without a pair has -1. The squared sum of unit vectors contains the cosine of each pair
    twice, and 1 for each vector.
    """
    values = np.full((len(bounds) - 1, len(ks)), -1.0)
    total = np.empty(units.shape[1])
    for user in range(len(values)):
        total[:] = 0.0
        count, itself, which = 0, 0.0, 0
        size = bounds[user + 1] - bounds[user]
        for position in range(size):
            row = rows[bounds[user] + position]
            if row >= 0:
                count += 1
                for column in range(len(total)):
                    total[column] += units[row, column]
                    itself += units[row, column] ** 2
            while which < len(ks) and (position + 1 == ks[which] or position + 1 == size):
                if count > 1:
                    cosines = (np.sum(total**2) - itself) / (count * (count - 1))
                    values[user, which] = max(0.0, 1.0 - cosines)
                which += 1
    return values
