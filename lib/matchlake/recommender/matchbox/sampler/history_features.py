"""Builds feature rows in memory: given features, and history features."""

import numpy as np
import numpy.typing as npt

from matchlake.engine.csr import Csr, Floats, Ints, csr_from_pairs
from matchlake.recommender.matchbox.sampler.link_matrix import Source
from matchlake.recommender.matchbox.sampler.ratings import Ratings
from matchlake.recommender.sides import ITEM, USER

Places = npt.NDArray[np.int32]


def most_rated(ratings: Ratings, side: int, limit: int) -> Ints:
    """Returns the rows of `side` with the most ratings, at most `limit`; ties by row number."""
    counts = np.bincount(ratings.places[:, side], minlength=ratings.sizes[side])
    order = np.argsort(-counts, kind="stable")[:limit]
    return order[counts[order] > 0]


def history_rows(ratings: Ratings, side: int, columns: Ints) -> Csr:
    """Returns the history of each row of `side`: 1 / sqrt(number of ratings) per rated row.

    `columns` are the rows of the other side that are features, in the order of the features.
    """
    other = ITEM if side == USER else USER
    return history_of(
        ratings.places[:, side], ratings.places[:, other], ratings.sizes[side], columns
    )


def mean_feature_row(rows: Csr, counts: Ints) -> Floats:
    """Returns the mean features over all ratings, from the rows of a side and their counts.

    The last part is used as the history of rows without ratings. A history of zeros would be wrong,
    since all histories have length 1. A mean over rows instead of ratings would be too low for
    popular items, since rows with many ratings differ from others.
    """
    weights = np.repeat(counts, rows.counts()) * rows.values
    totals = np.bincount(rows.columns, weights, rows.width)
    means: Floats = (totals / counts.sum()).astype(np.float32)
    return means


def history_of(rows: Places, others: Places, count: int, columns: Ints) -> Csr:
    """History features of `count` rows from pairs (row, other side's row)."""
    position = np.full(int(max(columns.max(initial=-1), others.max(initial=-1))) + 1, -1, np.int64)
    position[columns] = np.arange(len(columns))
    rated = np.maximum(np.bincount(rows, minlength=count), 1)
    indices = position[others]
    known = indices >= 0
    values = (1.0 / np.sqrt(rated))[rows[known]].astype(np.float32)
    shape = count, len(columns)
    return csr_from_pairs(rows[known], indices[known].astype(np.int32), values, shape)


def all_sources(sources: tuple[Source, ...] | None, seen: Ints) -> tuple[Source, ...]:
    """Returns the sources of feature rows, if any, then the history of `seen` rows, if any."""
    return (*(sources or ()), *([Source("history", len(seen))] if len(seen) else []))


def dense_rows(values: npt.NDArray[np.float32]) -> Csr:
    """Returns a dense (rows, features) matrix as sparse rows."""
    rows, columns = np.nonzero(values)
    shape = values.shape[0], values.shape[1]
    return csr_from_pairs(
        rows.astype(np.int32), columns.astype(np.int32), values[rows, columns], shape
    )


def hstack(left: Csr | None, right: Csr | None) -> Csr | None:
    """Joins two feature matrices of the same rows, columns of `left` first."""
    if left is None or right is None:
        return right if left is None else left
    rows = [
        np.repeat(np.arange(part.rows, dtype=np.int32), part.counts()) for part in (left, right)
    ]
    columns = [left.columns, right.columns + np.int32(left.width)]
    values = np.concatenate([left.values, right.values])
    shape = left.rows, left.width + right.width
    return csr_from_pairs(np.concatenate(rows), np.concatenate(columns), values, shape)
