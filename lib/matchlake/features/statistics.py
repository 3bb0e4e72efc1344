"""The statistics that a fit needs of a table, in one query for all columns together."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from pyspark.sql import Column, DataFrame, Row, Window
from pyspark.sql import functions as F

from matchlake.features.exact_moments import (
    figures,
    moment_columns,
    range_columns,
    scale_stages,
    sum_columns,
    value_stages,
)
from matchlake.features.requests import (
    CategoryCounts,
    CategoryRequest,
    NumberRequest,
    Request,
    Statistics,
)

ACCURACY = 10_000
"""The rank of an approximate quantile is within 1/ACCURACY of the rows of the exact one."""

_INFINITY = float("inf")


def collect_statistics(frame: DataFrame, requests: Mapping[str, Request]) -> Statistics:
    """Returns the answers to all requests. Starts one query, with a result that the limits bound.

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
    sums = totals["moments"].asDict() if "moments" in totals else {}
    result: dict[str, Any] = {
        name: _read_number(totals[f"n{i}"], request) | figures(f"n{i}", request.needs, sums)
        for i, (name, request) in enumerate(numbers.items())
    }
    result |= {
        name: _read_categories(totals[f"c{i}"], values[i]) for i, name in enumerate(categories)
    }
    return Statistics(totals["rows"], result)


def _totals(
    frame: DataFrame, numbers: Sequence[NumberRequest], categories: Sequence[CategoryRequest]
) -> DataFrame:
    columns, totals = [], [F.count(F.lit(1)).alias("rows")]
    for i, number in enumerate(numbers):
        columns.append(_column(number).cast("double").alias(f"n{i}"))
        totals.append(F.struct(*_number_statistics(F.col(f"n{i}"), number)).alias(f"n{i}"))
    for i, category in enumerate(categories):
        size = _distinct_size(_column(category)) if category.is_list else F.lit(1)
        columns.append(F.when(_column(category).isNotNull(), size).alias(f"c{i}"))
        totals.append(F.struct(*_presence(F.col(f"c{i}"))).alias(f"c{i}"))
    rows = frame.select(*columns)
    moments: dict[str, str] = {}
    for i, number in enumerate(numbers):
        finite = f"CASE WHEN abs(n{i}) < CAST('Infinity' AS DOUBLE) THEN n{i} END"
        moments |= moment_columns(f"n{i}", finite, number.needs)
    if moments:
        rows = _scaled(rows, moments)
        sums = [F.expr(text).alias(n) for each in moments for n, text in sum_columns(each).items()]
        totals.append(F.struct(*sums).alias("moments"))
    return rows.agg(F.struct(*totals).alias("totals"))


def _scaled(rows: DataFrame, moments: Mapping[str, str]) -> DataFrame:
    """The rows with the columns `moments`, and their scales, which a first pass over rows finds."""
    usable = rows.selectExpr("*", *(f"{text} AS {name}" for name, text in moments.items()))
    scale = usable.selectExpr(*(each for name in moments for each in range_columns(name)))
    for stage in scale_stages(list(moments)):
        scale = scale.selectExpr(*stage)
    scaled = usable.crossJoin(F.broadcast(scale))
    for stage in value_stages(list(moments)):
        scaled = scaled.selectExpr(*stage)
    return scaled


def _number_statistics(value: Column, request: NumberRequest) -> list[Column]:
    # In Spark NaN is greater than infinity, so this comparison keeps only finite values.
    finite = F.when(F.abs(value) < _INFINITY, value)
    aggregates = [
        F.count(finite).alias("rows"),
        F.count_if(value.isNull() | F.isnan(value)).alias("missing"),
        F.count_if(F.abs(value) == _INFINITY).alias("infinite"),
        F.min(finite).alias("minimum"),
        F.max(finite).alias("maximum"),
    ]
    if "mode" in request.needs:  # 0.0 is added because -0.0 counts as 0.0
        aggregates.append(F.mode(finite + F.lit(0.0), deterministic=True).alias("mode"))
    if request.quantiles:
        fractions = list(request.quantiles)
        aggregates.append(F.percentile_approx(finite, fractions, ACCURACY).alias("quantiles"))
    return aggregates


def _presence(size: Column) -> list[Column]:
    present = F.coalesce(F.sum(size), F.lit(0)).alias("present")
    return [present, F.count_if(size.isNull()).alias("missing")]


def _distinct_size(values: Column) -> Column:
    return F.size(F.array_distinct(F.array_compact(values)))


def _counts(frame: DataFrame, categories: Sequence[CategoryRequest]) -> DataFrame:
    """position, value, rows: the most frequent values of each column, known values first."""
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
    """An array of (position, value) structs: one per value and per distinct list element."""
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


def _column(request: Request) -> Column:
    """The request's column; its name may have dots or blanks."""
    return F.col("`" + request.column.replace("`", "``") + "`")


def _read_number(found: Row, request: NumberRequest) -> dict[str, Any]:
    statistics = found.asDict()
    values = statistics.pop("quantiles", None) or []
    statistics["quantiles"] = tuple(zip(request.quantiles, values, strict=False))
    return statistics


def _read_categories(found: Row, values: list[tuple[str, int]]) -> CategoryCounts:
    ordered = sorted(values, key=lambda pair: (-pair[1], pair[0].encode()))
    return CategoryCounts(found["present"], found["missing"], tuple(ordered))
