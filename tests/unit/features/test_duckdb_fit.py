"""A fit by DuckDB over Parquet files: its numbers against exact arithmetic, and its limits."""

import math
import re
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import strategies as st
from tests.support.cases import many

from matchlake.errors import EngineError
from matchlake.features.categories import MultiHot, OneHot
from matchlake.features.duckdb_statistics import duckdb_statistics
from matchlake.features.duckdb_table import DuckTable, duckdb_limit
from matchlake.features.feature_set import FeatureSet
from matchlake.features.fit import fit_features
from matchlake.features.requests import CategoryCounts, CategoryRequest, NumberRequest
from matchlake.features.scalers import MinMax, Robust
from matchlake.formulas.sql import DUCKDB

EDGES = [0.0, -0.0, 5e-324, 1e300, -1e300, 1.7e308]
TINY = Fraction(2) ** -1070
"""Doubles below 2^-1022 have fewer bits."""
NUMBERS = st.one_of(
    st.lists(st.floats(-10, 10) | st.sampled_from(EDGES), min_size=1, max_size=40),
    st.lists(st.floats(1e9, 1e9 + 1), min_size=1, max_size=40),
    st.lists(st.floats(1e-310, 1e-300), min_size=1, max_size=40),
)


def table(folder: Path, columns: Mapping[str, pa.Array], types: Mapping[str, str]) -> DuckTable:
    pq.write_table(pa.table(dict(columns)), folder / "given.parquet")
    return DuckTable(duckdb.connect(), [str(folder / "given.parquet")], types)


def exact(values: list[float]) -> tuple[Fraction, Fraction]:
    fractions = [Fraction(value) for value in values]
    mean = sum(fractions) / len(fractions)
    return mean, sum((each - mean) ** 2 for each in fractions) / len(fractions)


def test_mean_and_deviation_are_those_of_exact_arithmetic(tmp_path: Path) -> None:
    """Many samples, each a column of its own: values near each other, tiny, huge, of both signs."""
    samples = many(NUMBERS, 40)
    most = max(map(len, samples))
    padded = {f"c{i}": pa.array(s + [None] * (most - len(s))) for i, s in enumerate(samples)}
    given = table(tmp_path, padded, dict.fromkeys(padded, "double"))
    needs = ("mean", "std")
    found = duckdb_statistics(given, {name: NumberRequest(name, needs) for name in padded}).found
    for i, sample in enumerate(samples):
        mean, variance = exact(sample)
        largest = max(map(abs, sample))
        assert abs(Fraction(found[f"c{i}"]["mean"]) - mean) <= max(
            abs(mean) * Fraction(2e-16),
            Fraction(largest) * Fraction(2) ** -75 + Fraction(2) ** -1075,
        )
        if math.isfinite(found[f"c{i}"]["std"]):
            spread = Fraction(found[f"c{i}"]["std"]) ** 2
            assert abs(spread - variance) <= max(
                variance * Fraction(2e-15), Fraction(largest) ** 2 * Fraction(2) ** -140 + TINY
            )
        else:
            assert variance > Fraction(1e308) ** 2


def test_statistics_counts_modes_and_lists(tmp_path: Path) -> None:
    nan, inf = math.nan, math.inf
    given = table(
        tmp_path,
        {
            "n": pa.array([-0.0, 0.0, 2.0, 2.0, nan, inf, -inf, None]),
            "c": pa.array(["b", "a", "b", "a", "z", None, "c", "é"]),
            "l": pa.array([["x", "x", None], [], None, ["y"], ["x"], [None], ["w"], ["y"]]),
        },
        {"n": "double", "c": "string", "l": "array<string>"},
    )
    found = duckdb_statistics(
        given,
        {
            "n": NumberRequest("n", ("mode",)),
            "c": CategoryRequest("c", is_list=False, limit=2, known=("é", "no")),
            "l": CategoryRequest("l", is_list=True, limit=9, min_rows=2),
        },
    )
    numbers = {"rows": 4, "missing": 2, "infinite": 2, "minimum": 0.0, "maximum": 2.0}
    assert found.rows == 8
    assert found.found["n"] == {**numbers, "mode": 0.0, "quantiles": ()}
    assert found.found["c"] == CategoryCounts(7, 1, (("a", 2), ("b", 2), ("c", 1), ("é", 1)))
    assert found.found["l"] == CategoryCounts(5, 1, (("x", 2), ("y", 2)))


def test_no_files_and_missing_columns_are_no_rows_and_nulls(tmp_path: Path) -> None:
    given = table(tmp_path, {"n": pa.array([1])}, {"n": "int", "added": "array<date>"})
    query = f"SELECT n, added, typeof(added) FROM {given.relation}"
    assert given.engine.execute(query).fetchall() == [(1, None, "DATE[]")]
    empty = DuckTable(given.engine, [], given.types)
    assert given.engine.execute(f"FROM {empty.relation}").fetchall() == []


@pytest.mark.parametrize("count", [3, 9, 500])
@pytest.mark.parametrize("drop", [None, "first"])
def test_index_layout_by_enum_finds_every_text(tmp_path: Path, count: int, drop: Any) -> None:
    texts = ["", " ", "it's", "💥", "\\", "${x}", "null", "é", "e\u0301", '"', "a,b"][:count]
    texts += [f"t{i}" for i in range(count - len(texts))]
    rows = [text for i, text in enumerate(texts) for _ in range(count - i)]
    given = table(tmp_path, {"c": pa.array([*rows, None])}, {"c": "string"})
    feature = OneHot(column="c", drop=drop, handle_null="indicator", handle_unknown="indicator")
    model = fit_features(given, FeatureSet(name="s", keys=("c",), features={"f": feature}))
    other = "(SELECT 'other' AS c)"
    query = model.to_sql(
        f"(SELECT DISTINCT c FROM {given.relation} UNION ALL FROM {other})", "duckdb", "index"
    )
    found = dict(given.engine.execute(query).fetchall())
    names = {
        output.category: i
        for i, output in enumerate(model.outputs())
        if output.category is not None
    }
    shown = len(names)
    assert found.pop(None) == shown
    assert found.pop("other") == shown + 1
    assert {text: at for text, at in found.items() if at is not None} == names
    assert [text for text, at in found.items() if at is None] == (texts[:1] if drop else [])


def test_text_with_a_zero_character_is_found(tmp_path: Path) -> None:
    texts = [f"t{i}" for i in range(20)] + ["a\0b"]
    given = table(tmp_path, {"c": pa.array(texts)}, {"c": "string"})
    model = fit_features(
        given, FeatureSet(name="s", keys=("c",), features={"f": OneHot(column="c")})
    )
    found = dict(given.engine.execute(model.to_sql(given.relation, "duckdb", "index")).fetchall())
    assert sorted(found.values()) == list(range(21))
    counts = given.engine.execute(f"SELECT {model.sql_counts(DUCKDB)[-1]} FROM {given.relation}")
    assert counts.fetchone() == (0,)


@pytest.mark.parametrize(
    ("feature", "kind", "reason"),
    [
        (Robust(), "double", r"feature f \(robust\) of column f needs quantiles"),
        (MinMax(), "decimal(20,4)", r"feature f \(min_max\) of column f reads a decimal\(20,4\)"),
        (OneHot(), "string collate UTF8_LCASE", "reads a string collate"),
        (MinMax(), "decimal(15,4)", None),
        (MultiHot(), "array<date>", None),
    ],
)
def test_limits_name_the_feature_and_its_kind(feature: Any, kind: str, reason: str | None) -> None:
    declared = FeatureSet(name="s", keys=("k",), features={"f": feature})
    found = duckdb_limit(declared, {"k": "string", "f": kind}, fits=True)
    assert found == reason if reason is None else re.search(reason, found or "")
    assert duckdb_limit(declared, {"k": "binary", "f": kind}, fits=True) == "key k is binary"


def test_date_beyond_the_year_9999_is_refused(tmp_path: Path) -> None:
    given = table(
        tmp_path, {"d": pa.array([0, 3_000_000], pa.int32()).cast(pa.date32())}, {"d": "date"}
    )
    with pytest.raises(EngineError, match=r"Column d has 1 row\(s\) with a date outside"):
        duckdb_statistics(given, {"d": CategoryRequest("d", is_list=False, limit=9)})


def test_lists_of_dates_are_read(tmp_path: Path) -> None:
    lists = pa.array([[0, None], None, [3_000_000]], pa.list_(pa.int32()))
    given = table(tmp_path, {"d": lists.cast(pa.list_(pa.date32()))}, {"d": "array<date>"})
    request = CategoryRequest("d", is_list=True, limit=9)
    with pytest.raises(EngineError, match=r"Column d has 1 row\(s\) with a date outside"):
        duckdb_statistics(given, {"d": request})


@pytest.mark.parametrize("lists", [False, True])
@pytest.mark.parametrize("infinite", [False, True])
def test_counts_at_fit_are_those_of_the_query(
    tmp_path: Path, *, lists: bool, infinite: bool
) -> None:
    given = table(
        tmp_path,
        {
            "n": pa.array([1.0, math.nan, None, -math.inf if infinite else 3.0, 5.0]),
            "c": pa.array(["a", "b", None, "a", "c"]),
            "l": pa.array([["x", "y"], None, ["y"], [], ["x"]]),
        },
        {"n": "double", "c": "string", "l": "array<string>"},
    )
    features = {"n": MinMax(), "c": OneHot(max_categories=1)}
    features |= {"l": MultiHot(max_categories=1 if lists else 2)}
    model = fit_features(given, FeatureSet(name="s", features=features))
    query = f"SELECT {', '.join(model.sql_counts(DUCKDB))} FROM {given.relation}"
    found = given.engine.execute(query)
    names = [column[0] for column in found.description or ()]
    counted = dict(zip(names, found.fetchone() or (), strict=True))
    assert (counted["n.below_min"], counted["n.null"]) == (infinite, 2)
    assert counted["l.unknown_category"] == 2 * lists
    expected = None if infinite or lists else list(counted.items())
    told = model.counts_at_fit()
    assert expected == (None if told is None else list(told.items()))


@pytest.mark.parametrize("layout", ["wide", "index", "sparse"])
def test_nan_that_statistics_of_a_file_leave_out_is_missing(tmp_path: Path, layout: Any) -> None:
    """DuckDB's optimizer believes these statistics: to it `x = NaN` and `x > 5` are never true."""
    values = pa.array([1.0, math.nan, 3.0, 5.0])
    given = table(tmp_path, {"n": values}, {"n": "double"})
    features = {"x": MinMax(column="n"), "k": MinMax(column="n", handle_null=7.0)}
    model = fit_features(given, FeatureSet(name="s", features=features))
    assert [each.learned.maximum for each in model.features] == [5.0, 5.0]
    query = model.to_sql(given.relation, "duckdb", layout)
    rows = given.engine.execute(query).fetchall()
    found = [row[0]["values"] if layout == "sparse" else list(row) for row in rows]
    assert found == [[0.0, 0.0], [None, 1.0], [0.5, 0.5], [1.0, 1.0]]
