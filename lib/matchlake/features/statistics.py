"""Everything that fits need to know of a table, in one Spark job for all columns together."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pyspark.sql import Column, DataFrame, Row, Window
from pyspark.sql import functions as F

ACCURACY = 10_000
"""Approximate quantiles have a rank within 1/ACCURACY of the rows."""

_INFINITY = float("inf")


def _logarithm(value: Column) -> Column:
    return F.when(value > 0, F.log(value))


_AGGREGATES: dict[str, Callable[[Column], Column]] = {
    "mean": F.avg,
    "deviation": F.stddev_pop,
    "log_mean": lambda value: F.avg(_logarithm(value)),
    "log_deviation": lambda value: F.stddev_pop(_logarithm(value)),
    "mode": lambda value: F.mode(value, deterministic=True),
}


@dataclass(frozen=True)
class NumberRequest:
    """Asks for the counts, the range and more statistics of a numeric column."""

    column: str
    needs: tuple[str, ...] = ()
    """mean, deviation, log_mean, log_deviation, mode."""
    shares: tuple[float, ...] = ()
    """Quantiles, as shares of the rows."""


@dataclass(frozen=True)
class CategoryRequest:
    """Asks for the most frequent values of a column, or of the elements of a list column."""

    column: str
    is_list: bool
    limit: int
    min_rows: int = 1
    known: tuple[str, ...] = ()
    """Values whose rows are counted however few they are."""


@dataclass(frozen=True)
class CategoryCounts:
    """Rows a value, the most frequent first, equal ones by their bytes."""

    present: int
    """Rows that are not null; for lists, elements that are not null, counted once a list."""
    missing: int
    """Rows that are null."""
    values: tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class Statistics:
    """What `collect_statistics` found, by the names of the requests."""

    rows: int
    numbers: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Arguments of NumberStatistics; None for what no value could tell."""
    categories: dict[str, CategoryCounts] = field(default_factory=dict)


def collect_statistics(
    frame: DataFrame, requests: Mapping[str, NumberRequest | CategoryRequest]
) -> Statistics:
    """Answers all requests together; starts one Spark job, whose result is bounded by the limits.

    Two branches of one plan read disjoint columns: one aggregates the numbers, the other explodes
    the category columns into (position, value) pairs and counts them.
    """
    numbers = {k: r for k, r in requests.items() if isinstance(r, NumberRequest)}
    categories = {k: r for k, r in requests.items() if isinstance(r, CategoryRequest)}
    plan = _totals(frame, list(numbers.values()), list(categories.values()))
    if categories:
        counts = _counts(frame, list(categories.values()))
        plan = plan.unionByName(counts, allowMissingColumns=True)
    totals: dict[str, Any] = {}
    values = defaultdict(list)
    for row in plan.collect():
        if row["totals"] is not None:
            totals = row["totals"].asDict()
        else:
            values[row["position"]].append((row["value"], row["rows"]))
    return Statistics(
        rows=totals["rows"],
        numbers={
            name: _read_number(totals[f"n{i}"], request)
            for i, (name, request) in enumerate(numbers.items())
        },
        categories={
            name: _read_categories(totals[f"c{i}"], values[i]) for i, name in enumerate(categories)
        },
    )


def _totals(
    frame: DataFrame, numbers: Sequence[NumberRequest], categories: Sequence[CategoryRequest]
) -> DataFrame:
    columns, found = [], [F.count(F.lit(1)).alias("rows")]
    for i, number in enumerate(numbers):
        columns.append(_column(number).cast("double").alias(f"n{i}"))
        found.append(F.struct(*_number_statistics(F.col(f"n{i}"), number)).alias(f"n{i}"))
    for i, category in enumerate(categories):
        size = _distinct_size(_column(category)) if category.is_list else F.lit(1)
        columns.append(F.when(_column(category).isNotNull(), size).alias(f"c{i}"))
        found.append(F.struct(*_presence(F.col(f"c{i}"))).alias(f"c{i}"))
    return frame.select(*columns).agg(F.struct(*found).alias("totals"))


def _number_statistics(value: Column, request: NumberRequest) -> list[Column]:
    # NaN is greater than infinity in Spark, so one comparison leaves the finite values.
    finite = F.when(F.abs(value) < _INFINITY, value)
    found = [
        F.count(finite).alias("rows"),
        F.count_if(value.isNull() | F.isnan(value)).alias("missing"),
        F.count_if(F.abs(value) == _INFINITY).alias("infinite"),
        F.min(finite).alias("minimum"),
        F.max(finite).alias("maximum"),
    ]
    found += [_AGGREGATES[name](finite).alias(name) for name in request.needs]
    if request.shares:
        shares = list(request.shares)
        found.append(F.percentile_approx(finite, shares, ACCURACY).alias("quantiles"))
    return found


def _presence(size: Column) -> list[Column]:
    present = F.coalesce(F.sum(size), F.lit(0)).alias("present")
    return [present, F.count_if(size.isNull()).alias("missing")]


def _distinct_size(values: Column) -> Column:
    return F.size(F.array_distinct(F.array_compact(values)))


def _counts(frame: DataFrame, categories: Sequence[CategoryRequest]) -> DataFrame:
    """position, value, rows: the `limit` most frequent values of each column, known ones first."""
    pairs = frame.select(F.explode(_pairs(categories)).alias("pair")).select("pair.*")
    rows = F.count(F.lit(1)).alias("rows")
    counts = pairs.where("value IS NOT NULL").groupBy("position", "value").agg(rows)
    known, frequent = F.lit(False), F.lit(False)  # noqa: FBT003 - literals, not flags
    for position, request in enumerate(categories):
        here = F.col("position") == position
        frequent = frequent | (here & (F.col("rows") >= request.min_rows))
        if request.known:
            known = known | (here & F.col("value").isin(*request.known))
    order = Window.partitionBy("position").orderBy(F.desc("known"), F.desc("rows"), "value")
    limit = max(request.limit + len(request.known) for request in categories)
    ranked = counts.withColumn("known", known).where(F.col("known") | frequent)
    ranked = ranked.withColumn("place", F.row_number().over(order)).where(F.col("place") <= limit)
    return ranked.select("position", "value", "rows")


def _pairs(categories: Sequence[CategoryRequest]) -> Column:
    """An array of (position, value) structs: one for each value and each distinct element."""
    singles, lists = [], []
    for position, request in enumerate(categories):
        if request.is_list:
            lists.append(_element_pairs(position, _column(request).cast("array<string>")))
        else:
            singles.append(_pair(position, _column(request).cast("string")))
    arrays = ([F.array(*singles)] if singles else []) + lists
    return arrays[0] if len(arrays) == 1 else F.concat(*arrays)


def _element_pairs(position: int, values: Column) -> Column:
    distinct = F.array_distinct(F.coalesce(values, F.array().cast("array<string>")))
    return F.transform(distinct, lambda value: _pair(position, value))


def _pair(position: int, value: Column) -> Column:
    return F.struct(F.lit(position).alias("position"), value.alias("value"))


def _column(request: NumberRequest | CategoryRequest) -> Column:
    """The request's column by its own name, also where that has dots or blanks."""
    return F.col("`" + request.column.replace("`", "``") + "`")


def _read_number(found: Row, request: NumberRequest) -> dict[str, Any]:
    statistics = found.asDict()
    values = statistics.pop("quantiles", None) or []
    statistics["quantiles"] = tuple(zip(request.shares, values, strict=False))
    return statistics


def _read_categories(found: Row, values: list[tuple[str, int]]) -> CategoryCounts:
    ordered = sorted(values, key=lambda pair: (-pair[1], pair[0].encode()))
    return CategoryCounts(found["present"], found["missing"], tuple(ordered))
