"""The statistics of the columns of an Arrow table, in NumPy; equal to those of a Spark frame."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from matchlake.features.table_statistics import spark_types
from matchlake.learners.selection.redundancy import correlations
from matchlake.learners.selection.statistics import (
    Cells,
    CoMoments,
    Counts,
    Doubles,
    Found,
    Measure,
    Moments,
    scale_of,
)

Flags = npt.NDArray[np.bool_]


class TableSource:
    """An Arrow table as a `Source`."""

    def __init__(self, table: pa.Table) -> None:
        self._table = table
        self.types: Mapping[str, str] = spark_types(table)

    def statistics(
        self,
        label: str,
        measures: Mapping[str, Measure],
        bins: Mapping[str, int],
        max_categories: int,
    ) -> dict[str, Found]:
        """See `Source`."""
        by_class = any(each in ("class_moments", "cells") for each in measures.values())
        table = self._table.select([*dict.fromkeys([label, *measures])])
        table = _without_views(table).filter(_present(self._table[label]))
        labels: Any = codes(table[label]) if by_class else _numbers(table[label])
        found: dict[str, Found] = {}
        for name, measure in measures.items():
            column = table[name]
            if measure == "presence":
                found[name] = int(pc.sum(_present(column)).as_py() or 0)
            elif measure in ("co_moments", "ranks"):
                found[name] = _co_moments(*scaled(column), labels, ranked=measure == "ranks")
            elif measure == "class_moments":
                values, present = scaled(column)
                found[name] = moments(values[present], labels[present])
            else:
                found[name] = _categories(column, labels, measure, bins.get(name), max_categories)
        return found

    def correlations(self, names: Sequence[str]) -> Doubles:
        """See `Source`."""
        found = (scaled(self._table[name]) for name in names)
        values = [np.where(present, made, np.nan) for made, present in found]
        return correlations(pa.table(values, names=list(map(str, range(len(values))))))


def _without_views(table: pa.Table) -> pa.Table:
    """Converts string views, which Polars gives and Arrow cannot filter."""
    for i, each in enumerate(table.schema):
        if str(each.type) == "string_view":  # Arrow before version 16 has no view type
            table = table.set_column(i, each.name, table[i].cast(pa.large_string()))
    return table


def _numbers(column: pa.ChunkedArray) -> Doubles:
    """Returns the label as numbers around 0; `presence` accepts any label and ignores them."""
    kind = column.type
    if not (pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_boolean(kind)
            or pa.types.is_decimal(kind)):  # fmt: skip
        return np.zeros(len(column))
    return scaled(column)[0]


def _present(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Returns whether each row has a value: not null, and finite if a number."""
    valid = pc.is_valid(column)
    if not pa.types.is_floating(column.type):
        return valid
    return pc.and_(valid, pc.fill_null(pc.is_finite(column), False))  # noqa: FBT003 - a value


def scaled(column: pa.ChunkedArray) -> tuple[Doubles, Flags]:
    """Returns the scaled finite values of a numeric column, and which rows have one."""
    numbers = pc.cast(column, pa.float64(), safe=False)
    values = numbers.to_numpy(zero_copy_only=False).astype(np.float64)
    present = np.isfinite(values)
    scale = scale_of(values[present])
    made = np.where(present, values, 0.0) * scale.factor - scale.shift
    return made, present


def codes(column: pa.ChunkedArray) -> Counts:
    """A number from 0 for each value, and -1 for null."""
    if pa.types.is_floating(column.type):
        column = pc.add(column, 0.0)  # -0.0 becomes 0.0, as in Spark's groups
    encoded = pc.fill_null(column.combine_chunks().dictionary_encode().indices, -1)
    return np.asarray(encoded.to_numpy(zero_copy_only=False), dtype=np.int64)


def moments(values: Doubles, groups: Counts) -> Moments:
    """Returns count, mean and squares of each group; a second pass corrects the mean."""
    count = np.bincount(groups).astype(np.float64)
    some = np.maximum(count, 1.0)
    mean = np.asarray(np.bincount(groups, weights=values) / some, np.float64)
    mean = mean + np.asarray(np.bincount(groups, weights=values - mean[groups]) / some, np.float64)
    squares = np.asarray(np.bincount(groups, weights=(values - mean[groups]) ** 2), np.float64)
    return Moments(count, mean, squares)


def average_ranks(values: Doubles) -> Doubles:
    """Returns ranks from 1; equal values share the mean of their ranks."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return np.asarray((last - (counts - 1) / 2.0)[inverse])


def _co_moments(values: Doubles, present: Flags, label: Doubles, *, ranked: bool) -> CoMoments:
    x, y = values[present], label[present]
    if not len(x):
        return CoMoments(0.0, 0.0, 0.0, 0.0)
    if ranked:
        x, y = average_ranks(x), average_ranks(y)
    x, y = _centred(x), _centred(y)
    return CoMoments(float(len(x)), float(x @ x), float(y @ y), float(x @ y))


def _centred(values: Doubles) -> Doubles:
    centred = values - values.mean()
    return np.asarray(centred - centred.mean())


def _categories(
    column: pa.ChunkedArray, labels: Any, measure: Measure, bins: int | None, limit: int
) -> Found:
    if bins is not None:
        values, known = scaled(column)
        marks = np.arange(1, bins) / bins
        some = values[known] if known.any() else np.zeros(1)
        edges = sorted(set(np.quantile(some, marks, method="inverted_cdf").tolist()))
        found = np.where(known, np.searchsorted(edges, values, side="left"), -1)
    else:
        found = codes(pc.if_else(_present(column), column, None))
        if found.max(initial=-1) >= limit:
            return f"more than {limit:,} categories"
    present = found >= 0
    if measure == "group_moments":
        return moments(labels[present], found[present])
    return cells(found[present], labels[present])


def cells(category: Counts, label: Counts) -> Cells:
    """The table of two columns of codes."""
    category = np.unique(category, return_inverse=True)[1]
    label = np.unique(label, return_inverse=True)[1]
    width = int(label.max(initial=0)) + 1
    pairs, counts = np.unique(category * width + label, return_counts=True)
    return Cells(pairs // width, pairs % width, counts.astype(np.float64))
