"""Removes features that are correlated with a better feature."""

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from matchlake.learners.selection.statistics import Doubles

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

_ROUNDING = 1e-12
_SUMS = ("rows", "one", "other", "one_squared", "other_squared", "product")


def correlations(table: pa.Table) -> Doubles:
    """The correlation of each pair of columns of doubles, over the rows where both have a value.

    A pair is NaN if one of its columns is constant. The columns must be scaled:
    `frame.scaled_numbers`.
    """
    return _from_sums(_sums_of(table))


def frame_correlations(frame: "DataFrame") -> Doubles:
    """Like `correlations`, for a Spark frame.

    One Spark job, in which Python sums up each partition.
    """
    width = len(frame.columns)
    found = frame.mapInArrow(_sums_of_partitions(width), "pair INT, sum INT, value DOUBLE")
    rows = found.groupBy("pair", "sum").agg({"value": "sum"}).toArrow()
    sums = np.zeros((len(_SUMS), width * width))
    sums[rows["sum"].to_numpy(), rows["pair"].to_numpy()] = rows["sum(value)"].to_numpy()
    return _from_sums(sums.reshape(len(_SUMS), width, width))


def _sums_of_partitions(
    width: int,
) -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    """A function that sums up the batches of a partition."""

    def sum_up(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        total = np.zeros((len(_SUMS), width, width))
        for batch in batches:
            total += _sums_of(pa.Table.from_batches([batch]))
        kinds, pairs = np.divmod(np.arange(total.size), width * width)
        yield pa.record_batch(
            {
                "pair": pa.array(pairs.astype(np.int32)),
                "sum": pa.array(kinds.astype(np.int32)),
                "value": pa.array(total.reshape(-1)),
            }
        )

    return sum_up


def _sums_of(table: pa.Table) -> Doubles:
    """Returns the sums of each pair, over the rows where both columns have a value."""
    values = np.column_stack(
        [pc.fill_null(each, np.nan).to_numpy().astype(np.float64) for each in table.columns]
    )
    present = np.isfinite(values)
    known, filled = present.astype(np.float64), np.where(present, values, 0.0)
    one = filled.T @ known
    squared = (filled**2).T @ known
    return np.stack([known.T @ known, one, one.T, squared, squared.T, filled.T @ filled])


def _from_sums(sums: Doubles) -> Doubles:
    rows, one, other, one_squared, other_squared, product = sums
    with np.errstate(invalid="ignore", divide="ignore"):
        covariance = product - one * other / rows
        spreads = [
            # A smaller difference is a rounding error: the column is constant.
            np.where(squared - total**2 / rows > _ROUNDING * squared, squared - total**2 / rows, 0)
            for total, squared in ((one, one_squared), (other, other_squared))
        ]
        spread = spreads[0] * spreads[1]
        found = np.where(spread > 0, covariance / np.sqrt(spread), np.nan)
    return np.asarray(np.clip(found, -1, 1))


def redundant(ranked: Sequence[int], matrix: Doubles, limit: float) -> dict[int, tuple[int, float]]:
    """Returns, for each removed feature, the better feature and their correlation.

    `ranked` has the positions of the features, the best first. A feature is removed if its absolute
    correlation with a better feature that is kept is above `limit`.
    """
    kept: list[int] = []
    out: dict[int, tuple[int, float]] = {}
    for each in ranked:
        near = [(abs(matrix[each, other]), other) for other in kept]
        near = [(r, other) for r, other in near if r > limit]
        if near:
            _, other = max(near)
            out[each] = (other, float(matrix[each, other]))
        else:
            kept.append(each)
    return out
