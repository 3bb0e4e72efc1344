"""The statistics that a fit needs of a table, as one query of DuckDB: those of `statistics.py`."""

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from matchlake.errors import EngineError
from matchlake.features.duckdb_table import DuckTable
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
from matchlake.formulas.sql import DUCKDB

Found = dict[str, Any]


def duckdb_statistics(table: DuckTable, requests: Mapping[str, Request]) -> Statistics:
    """The answers to all requests, from one query.

    Raises EngineError for a date whose text is another one in Spark.
    """
    numbers = {f"n{i}": r for i, r in enumerate(requests.values()) if isinstance(r, NumberRequest)}
    categories = {
        f"c{i}": r for i, r in enumerate(requests.values()) if isinstance(r, CategoryRequest)
    }
    parts = [_totals(table, numbers, categories)]
    parts += [_mode(table, name, r) for name, r in numbers.items() if "mode" in r.needs]
    parts += [_counts(table, name, r) for name, r in categories.items()]
    query = " UNION ALL ".join(f"({part})" for part in parts)
    totals: Found = {}
    values = defaultdict(list)
    for position, value, rows, found in table.engine.execute(query).fetchall():
        if position is None:
            totals = found
        else:
            values[position].append((value, rows))
    _check_dates(totals, categories)
    answers: Found = {}
    for i, (name, request) in enumerate(requests.items()):
        if isinstance(request, NumberRequest):
            answers[name] = _read_number(f"n{i}", request, totals, values[f"n{i}"])
        else:
            answers[name] = _read_categories(f"c{i}", totals, values[f"c{i}"])
    return Statistics(totals["rows"], answers)


def _totals(
    table: DuckTable,
    numbers: Mapping[str, NumberRequest],
    categories: Mapping[str, CategoryRequest],
) -> str:
    """A query of one row: `totals` is a struct of all aggregates."""
    given = [f"CAST({_column(r)} AS DOUBLE) AS {name}" for name, r in numbers.items()]
    totals = {"rows": "count(1)"}
    moments: dict[str, str] = {}
    for name, number in numbers.items():
        totals |= _number_totals(name)
        moments |= moment_columns(name, _finite(name), number.needs)
    for name, category in categories.items():
        size = f"len(list_distinct({_column(category)}))" if category.is_list else "1"
        given.append(f"CASE WHEN {_column(category)} IS NOT NULL THEN {size} END AS {name}")
        totals[f"{name}_present"] = f"COALESCE(sum({name}), 0)"
        totals[f"{name}_missing"] = f"count_if({name} IS NULL)"
        if "date" in table.types[category.column]:
            totals[f"{name}_odd"] = f"count_if({name}_odd)"
            given.append(f"{_is_odd_date(category)} AS {name}_odd")
    for name in moments:
        totals |= sum_columns(name)
    listed = ", ".join(f"'{name}': {text}" for name, text in totals.items())
    read = f"SELECT {', '.join(given)} FROM {table.relation}"
    texts = [f"WITH given AS NOT MATERIALIZED ({read})"]
    source = "given"
    if moments:
        more = ", ".join(f"{text} AS {name}" for name, text in moments.items())
        ranges = ", ".join(entry for name in moments for entry in range_columns(name))
        names = list(moments)
        texts.append(f", usable AS NOT MATERIALIZED (SELECT *, {more} FROM given)")
        texts.append(f", scale AS (SELECT {ranges} FROM usable)")
        scale = _nested(scale_stages(names), "scale")
        source = _nested(value_stages(names), f"(SELECT * FROM usable, {scale})")
    return f"{''.join(texts)} SELECT NULL, NULL, NULL, {{{listed}}} FROM {source}"


def _nested(stages: list[list[str]], source: str) -> str:
    for stage in stages:
        source = f"(SELECT {', '.join(stage)} FROM {source})"
    return source


def _number_totals(name: str) -> dict[str, str]:
    """Aggregates of a column of doubles."""
    finite = _finite(name)
    return {
        f"{name}_rows": f"count({finite})",
        f"{name}_missing": f"count(1) - count({finite}) - count_if(isinf({name}))",
        f"{name}_infinite": f"count_if(isinf({name}))",
        f"{name}_minimum": f"min({finite})",
        f"{name}_maximum": f"max({finite})",
    }


def _finite(name: str) -> str:
    # No comparison: to the optimizer NaN is not there if the statistics of a file leave it out.
    return f"CASE WHEN isfinite({name}) THEN {name} END"


def _mode(table: DuckTable, name: str, request: NumberRequest) -> str:
    """The most frequent finite value, of several the smallest; -0.0 counts as 0.0."""
    value = f"CAST({_column(request)} AS DOUBLE)"
    positive = f"CASE WHEN {value} = 0 THEN 0e0 ELSE {value} END"
    return (
        f"SELECT '{name}', CAST(v AS VARCHAR), count(1) AS n, NULL"
        f" FROM (SELECT {positive} AS v FROM {table.relation}) WHERE isfinite(v)"
        " GROUP BY v ORDER BY n DESC, v LIMIT 1"
    )


def _counts(table: DuckTable, name: str, request: CategoryRequest) -> str:
    """The most frequent values of a column, known values first."""
    value = f"unnest(list_distinct({_column(request)}))" if request.is_list else _column(request)
    known = f"v IN ({', '.join(map(DUCKDB.text, request.known))})" if request.known else ""
    kept, first = (f"{known} OR ", f"{known} DESC, ") if known else ("", "")
    grouped = (
        f"SELECT CAST(v AS VARCHAR) AS v, n FROM (SELECT v, count(1) AS n"
        f" FROM (SELECT {value} AS v FROM {table.relation}) WHERE v IS NOT NULL GROUP BY v)"
    )
    limit = request.limit + len(request.known)
    return (
        f"SELECT '{name}', v, n, NULL FROM ({grouped}) WHERE {kept}n >= {request.min_rows}"
        f" ORDER BY {first}n DESC, v LIMIT {limit}"
    )


def _is_odd_date(request: CategoryRequest) -> str:
    """Whether a date, or one of a list, has another text in Spark than in DuckDB."""
    odd, column = "NOT (year({}) BETWEEN 1 AND 9999)", _column(request)
    if not request.is_list:
        return odd.format(column)
    return f"len([d FOR d IN {column} IF {odd.format('d')}]) > 0"


def _check_dates(totals: Found, categories: Mapping[str, CategoryRequest]) -> None:
    for name, request in categories.items():
        if totals.get(f"{name}_odd"):
            raise EngineError(
                f"Column {request.column} has {totals[f'{name}_odd']} row(s) with a date outside "
                "the years 1 to 9999, whose text is another one in Spark."
            )


def _column(request: Request) -> str:
    return DUCKDB.identifier(request.column)


def _read_number(
    name: str, request: NumberRequest, totals: Found, modes: list[tuple[str, int]]
) -> Found:
    parts = ("rows", "missing", "infinite", "minimum", "maximum")
    found = {part: totals[f"{name}_{part}"] for part in parts}
    found |= figures(name, request.needs, totals)
    if "mode" in request.needs:
        found["mode"] = float(modes[0][0]) if modes else None
    return found | {"quantiles": ()}


def _read_categories(name: str, totals: Found, values: list[tuple[str, int]]) -> CategoryCounts:
    ordered = sorted(values, key=lambda pair: (-pair[1], pair[0].encode()))
    present, missing = totals[f"{name}_present"], totals[f"{name}_missing"]
    return CategoryCounts(int(present), missing, tuple(ordered))
