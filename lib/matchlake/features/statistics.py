"""Everything that fits need to know of a table, in one Spark job for all columns together."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from pyspark.sql import Column, DataFrame, Row, Window
from pyspark.sql import functions as F

INFINITY = float("inf")


@dataclass(frozen=True)
class NumberRequest:
    """Asks for the statistics of a numeric column."""

    column: str


@dataclass(frozen=True)
class CategoryRequest:
    """Asks for the most frequent values of a column, or of the elements of a list column."""

    column: str
    elements: bool
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
    numbers: dict[str, Row] = field(default_factory=dict)
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
    totals, values = None, defaultdict(list)
    for row in plan.collect():
        if row["totals"] is not None:
            totals = row["totals"]
        else:
            values[row["position"]].append((row["value"], row["rows"]))
    return _read(totals, values, numbers, categories)


def _totals(
    frame: DataFrame, numbers: Sequence[NumberRequest], categories: Sequence[CategoryRequest]
) -> DataFrame:
    columns = [
        F.col(_quoted(r.column)).cast("double").alias(f"n{i}") for i, r in enumerate(numbers)
    ]
    found = [F.count(F.lit(1)).alias("rows")]
    for i in range(len(numbers)):
        found.append(F.struct(*_number_statistics(F.col(f"n{i}"))).alias(f"n{i}"))
    for i, request in enumerate(categories):
        column = F.col(_quoted(request.column))
        columns.append(
            column.alias(f"c{i}") if request.elements else column.isNotNull().alias(f"c{i}")
        )
        found.append(F.struct(*_presence(F.col(f"c{i}"), elements=request.elements)).alias(f"c{i}"))
    return frame.select(*columns).agg(F.struct(*found).alias("totals"))


def _number_statistics(value: Column) -> list[Column]:
    # NaN is greater than infinity in Spark, so one comparison leaves the finite values.
    finite = F.when(F.abs(value) < INFINITY, value)
    return [
        F.count(finite).alias("rows"),
        F.count_if(value.isNull() | F.isnan(value)).alias("missing"),
        F.count_if(F.abs(value) == INFINITY).alias("infinite"),
        F.min(finite).alias("minimum"),
        F.max(finite).alias("maximum"),
    ]


def _presence(value: Column, *, elements: bool) -> list[Column]:
    if not elements:
        return [F.count_if(value).alias("present"), F.count_if(~value).alias("missing")]
    sizes = F.size(F.array_compact(F.array_distinct(value)))
    return [
        F.coalesce(F.sum(F.when(value.isNotNull(), sizes)), F.lit(0)).alias("present"),
        F.count_if(value.isNull()).alias("missing"),
    ]


def _counts(frame: DataFrame, categories: Sequence[CategoryRequest]) -> DataFrame:
    """position, value, rows: the `limit` most frequent values of each column, known ones first."""
    pairs = frame.select(F.explode(_pairs(categories)).alias("pair")).select("pair.*")
    counts = (
        pairs.where("value IS NOT NULL")
        .groupBy("position", "value")
        .agg(F.count(F.lit(1)).alias("rows"))
    )
    known, wanted = F.lit(False), F.lit(False)  # noqa: FBT003 - literals, not flags
    for position, request in enumerate(categories):
        here = F.col("position") == position
        wanted = wanted | (here & (F.col("rows") >= request.min_rows))
        if request.known:
            known = known | (here & F.col("value").isin(*request.known))
    order = Window.partitionBy("position").orderBy(F.desc("known"), F.desc("rows"), "value")
    limit = max(request.limit + len(request.known) for request in categories)
    ranked = counts.withColumn("known", known).where(F.col("known") | wanted)
    ranked = ranked.withColumn("place", F.row_number().over(order)).where(F.col("place") <= limit)
    return ranked.select("position", "value", "rows")


def _pairs(categories: Sequence[CategoryRequest]) -> Column:
    """An array of (position, value) structs: one for each value and each distinct element."""
    singles, lists = [], []
    for position, request in enumerate(categories):
        column = F.col(_quoted(request.column))
        if request.elements:
            lists.append(_element_pairs(position, column.cast("array<string>")))
        else:
            singles.append(_pair(position, column.cast("string")))
    arrays = ([F.array(*singles)] if singles else []) + lists
    return arrays[0] if len(arrays) == 1 else F.concat(*arrays)


def _element_pairs(position: int, values: Column) -> Column:
    distinct = F.array_distinct(F.coalesce(values, F.array().cast("array<string>")))
    return F.transform(distinct, lambda value: _pair(position, value))


def _pair(position: int, value: Column) -> Column:
    return F.struct(F.lit(position).alias("position"), value.alias("value"))


def _quoted(name: str) -> str:
    """The column's own name, also where it has dots or blanks."""
    return "`" + name.replace("`", "``") + "`"


def _read(
    totals: Row | None,
    values: Mapping[int, list[tuple[str, int]]],
    numbers: Mapping[str, NumberRequest],
    categories: Mapping[str, CategoryRequest],
) -> Statistics:
    if totals is None:
        raise RuntimeError("the aggregate without groups gave no row")
    counts = {}
    for i, name in enumerate(categories):
        ordered = sorted(values.get(i, []), key=lambda pair: (-pair[1], pair[0].encode()))
        present, missing = totals[f"c{i}"]
        counts[name] = CategoryCounts(int(present), int(missing), tuple(ordered))
    rows = {name: totals[f"n{i}"] for i, name in enumerate(numbers)}
    return Statistics(int(totals["rows"]), rows, counts)
