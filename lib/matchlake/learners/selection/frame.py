"""The statistics of the columns of a Spark frame: one Spark job for all columns together.

The plan has two branches. One branch aggregates the numbers of each class. The other branch
explodes the categories into (position, value) pairs and counts them by class. A small job before it
reads the first rows, to scale each number. Ranks (Spearman) need a sort per column, and bins of
numbers need quantiles: one more job each.
"""

from collections.abc import Mapping, Sequence
from functools import reduce
from operator import add

import numpy as np
import pandas as pd
from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from matchlake.errors import InputError
from matchlake.learners.selection.redundancy import frame_correlations
from matchlake.learners.selection.statistics import (
    Cells,
    CoMoments,
    Doubles,
    Found,
    Measure,
    Moments,
    Scale,
    scale_of,
)
from matchlake.schemas import quote_identifier

_FIRST_ROWS = 1000
_ACCURACY = 10_000
_LARGEST_TABLE = 2_000_000
"""The maximum number of cells of one column's table that the driver collects."""
_CLASSES = 10_000
_INFINITY = float("inf")
_EMPTY = Cells(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0))
_NUMBERS: tuple[Measure, ...] = ("class_moments", "co_moments", "presence")
_SUMS = 4
"""Doubles per column of numbers, in one array of the plan."""


class FrameSource:
    """A Spark frame as a `Source`."""

    def __init__(self, frame: DataFrame) -> None:
        self._frame = frame
        self.types: Mapping[str, str] = dict(frame.dtypes)

    def statistics(
        self,
        label: str,
        measures: Mapping[str, Measure],
        bins: Mapping[str, int],
        max_categories: int,
    ) -> dict[str, Found]:
        """See `Source`; raises InputError for more than 10,000 classes."""
        frame, kinds = self._frame.where(_present(label, self.types[label]).isNotNull()), self.types
        if "ranks" in measures.values():
            return _ranks(frame, label, list(measures))
        is_classes = any(each in ("class_moments", "cells") for each in measures.values())
        numbers = [name for name, each in measures.items() if each in _NUMBERS]
        others = [name for name in measures if name not in numbers]
        sums = {name for name in numbers if measures[name] != "presence"}
        reads_label = not is_classes and bool(sums or others)
        scales = _scales(frame, [*sums, *([label] if reads_label else [])])
        target = F.lit(0.0)
        if is_classes or reads_label:
            target = _name(label) if is_classes else _scaled(label, scales)
        values = [_scaled(n, scales) if n in sums else _present(n, kinds[n]) for n in numbers]
        plan = _totals(frame, target, values, [measures[n] for n in numbers], by_class=is_classes)
        if others:
            edges = _edges(frame, {name: bins[name] for name in others if name in bins})
            groups = [_group(name, kinds[name], edges) for name in others]
            counts = _counts(frame, target, groups, by_class=is_classes)
            plan = plan.unionByName(counts, allowMissingColumns=True)
        rows = plan.toArrow().to_pandas()
        totals = np.array([*rows["totals"].dropna()]).reshape(-1, _SUMS * max(1, len(numbers)))
        if len(totals) > _CLASSES:
            raise InputError(
                f"The label {label} has more than {_CLASSES:,} classes. Choose another label, or "
                "the task regression."
            )
        found = {
            name: _number(measures[name], totals[:, _SUMS * i : _SUMS * (i + 1)])
            for i, name in enumerate(numbers)
        }
        for i, name in enumerate(others):
            found[name] = _category(rows[rows["position"] == i], measures[name], max_categories)
        return {name: found[name] for name in measures}

    def correlations(self, names: Sequence[str]) -> Doubles:
        """See `Source`; one Spark job, and a small one for the scales."""
        scales = _scales(self._frame, names)
        columns = [_scaled(name, scales).alias(f"c{i}") for i, name in enumerate(names)]
        return frame_correlations(self._frame.select(*columns))


def _name(name: str) -> Column:
    return F.col(quote_identifier(name))


def _finite(name: str) -> Column:
    """Returns the column as doubles; null for NaN and infinite values."""
    value = _name(name).cast("double")
    return F.when(F.abs(value) < _INFINITY, value)


def _present(name: str, kind: str) -> Column:
    return _finite(name) if kind in ("float", "double") else _name(name)


def _scaled(name: str, scales: Mapping[str, Scale]) -> Column:
    scale = scales.get(name, Scale())
    return _finite(name) * F.lit(scale.factor) - F.lit(scale.shift)


def _scales(frame: DataFrame, names: Sequence[str]) -> dict[str, Scale]:
    """The scale of each column, from the first rows; one small Spark job."""
    if not names:
        return {}
    columns = [_finite(name).alias(f"c{i}") for i, name in enumerate(names)]
    rows = frame.select(*columns).limit(_FIRST_ROWS).toArrow()
    return {
        name: scale_of(rows[f"c{i}"].drop_null().to_numpy().astype(np.float64))
        for i, name in enumerate(names)
    }


def _edges(frame: DataFrame, bins: Mapping[str, int]) -> dict[str, list[float]]:
    """The quantiles at which numbers are cut; one Spark job, none without numbers."""
    if not bins:
        return {}
    cuts = [
        F.percentile_approx(_finite(name), [i / count for i in range(1, count)], _ACCURACY)
        for name, count in bins.items()
    ]
    found = frame.agg(*cuts).collect()[0]
    return {name: sorted(set(values or ())) for name, values in zip(bins, found, strict=True)}


def _totals(
    frame: DataFrame,
    target: Column,
    values: Sequence[Column],
    measures: Sequence[Measure],
    *,
    by_class: bool,
) -> DataFrame:
    """One row per class, or one row: an array with four sums per column of numbers."""
    columns = [value.alias(f"n{i}") for i, value in enumerate(values)]
    grouped = frame.select(target.alias("label"), *columns).groupBy(*["label"] * by_class)
    sums = [each for i, kind in enumerate(measures) for each in _sums(F.col(f"n{i}"), kind)]
    totals = grouped.agg(F.array(*sums or [F.lit(0.0)] * _SUMS).alias("totals"))
    return totals.select("totals").limit(_CLASSES + 1)


def _sums(value: Column, kind: Measure) -> list[Column]:
    """Returns the sums of one column; sums of squares are centred, and merged pairwise."""
    rows = F.count(value).cast("double")
    label = F.col("label")
    sums: list[Column] = []
    if kind == "class_moments":
        sums = [F.avg(value), F.var_pop(value) * rows]
    elif kind == "co_moments":
        sums = [F.regr_sxx(label, value), F.regr_syy(label, value), F.regr_sxy(label, value)]
    filled = [F.coalesce(each, F.lit(0.0)) for each in sums]
    return [rows, *filled, *[F.lit(0.0)] * (_SUMS - 1 - len(filled))]


def _group(name: str, kind: str, edges: Mapping[str, list[float]]) -> tuple[Column, bool]:
    """Returns the category of a row, null without a value, and whether it is a number."""
    if name in edges:
        value = _finite(name)
        group = reduce(add, [(value > F.lit(edge)).cast("int") for edge in edges[name]], F.lit(0))
        return F.when(value.isNotNull(), group).cast("double"), True
    if kind in ("float", "double"):
        return _finite(name), True
    is_small = kind in ("tinyint", "smallint", "int")
    return _name(name).cast("double" if is_small else "string"), is_small


def _counts(
    frame: DataFrame, target: Column, groups: Sequence[tuple[Column, bool]], *, by_class: bool
) -> DataFrame:
    """Counts the cells of all tables: position, class, number or string, rows, mean, squares.

    There is one row per cell; a table with too many cells has only one row.
    """
    plans = []
    for is_number, value in ((True, "number"), (False, "text")):
        pairs = [
            F.struct(F.lit(i).alias("position"), group.alias(value))
            for i, (group, kind) in enumerate(groups)
            if kind == is_number
        ]
        if not pairs:
            continue
        rows = frame.select(target.alias("label"), F.explode(F.array(*pairs)).alias("pair"))
        rows = rows.select("label", "pair.*").where(F.col(value).isNotNull())
        keys = ["label"] * by_class
        label = F.lit(None).cast("double") if by_class else F.col("label")
        counts = rows.groupBy("position", value, *keys).agg(
            F.count(F.lit(1)).cast("double").alias("rows"),
            F.avg(label).alias("mean"),
            (F.var_pop(label) * F.count(F.lit(1))).alias("squares"),
        )
        if by_class:
            counts = counts.withColumn("class", F.col("label").cast("string"))
        plans.append(counts.drop("label"))
    plan = reduce(lambda one, two: one.unionByName(two, allowMissingColumns=True), plans)
    here = Window.partitionBy("position")
    plan = plan.withColumn("cells", F.count(F.lit(1)).over(here))
    place = F.row_number().over(here.orderBy(F.lit(1)))
    return plan.withColumn("place", place).where(
        (F.col("cells") <= _LARGEST_TABLE) | (F.col("place") == 1)
    )


def _number(measure: Measure, sums: Doubles) -> Found:
    if measure == "presence":
        return int(sums[:, 0].sum())
    if measure == "class_moments":
        return Moments(sums[:, 0], sums[:, 1], sums[:, 2])
    return CoMoments(*map(float, sums[0]))


def _category(rows: pd.DataFrame, measure: Measure, limit: int) -> Found:
    """The table of one column, or the moments of its categories."""
    empty = np.zeros(0)
    if rows.empty:
        return Moments(empty, empty, empty) if measure == "group_moments" else _EMPTY
    value = "text" if "text" in rows and rows["text"].notna().any() else "number"
    category, distinct = pd.factorize(rows[value])
    if rows["cells"].iloc[0] > _LARGEST_TABLE or len(distinct) > limit:
        return f"more than {limit:,} categories"
    if measure == "group_moments":
        parts = (rows[name].to_numpy(np.float64) for name in ("rows", "mean", "squares"))
        return Moments(*parts)
    label = pd.factorize(rows["class"])[0]
    return Cells(
        category.astype(np.int64), label.astype(np.int64), rows["rows"].to_numpy(np.float64)
    )


def _ranks(frame: DataFrame, label: str, names: Sequence[str]) -> dict[str, Found]:
    """The co-moments of the ranks: two sorts per column, each over all rows in one task."""
    plans = []
    for i, name in enumerate(names):
        rows = frame.select(_finite(name).alias("x"), _finite(label).alias("y")).dropna()
        ranked = rows.select(*(_average_rank(each).alias(each) for each in ("x", "y")))
        middle = F.col("x"), F.col("y")
        sums = [F.count(F.lit(1)).cast("double"), F.regr_sxx(*middle[::-1]),
                F.regr_syy(*middle[::-1]), F.regr_sxy(*middle[::-1])]  # fmt: skip
        plans.append(ranked.agg(F.lit(i).alias("position"), F.array(*sums).alias("sums")))
    found: dict[str, Found] = {}
    for row in reduce(DataFrame.unionByName, plans).collect():
        found[names[row["position"]]] = CoMoments(*(each or 0.0 for each in row["sums"]))
    return found


def _average_rank(name: str) -> Column:
    """Returns the rank from 1; equal values share the mean of their ranks."""
    same = F.count(F.lit(1)).over(Window.partitionBy(name))
    return F.rank().over(Window.orderBy(name)) + (same - 1) / 2.0
