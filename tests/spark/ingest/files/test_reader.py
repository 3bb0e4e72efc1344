"""Files that differ from each other, or from what conf says: every row has its documented value."""

import datetime as dt
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from pyspark.sql import SparkSession
from tests.support.lake_files import column, lake_source, load_files

WRONG = "wrong_type"
MOMENT = dt.datetime(2024, 5, 1, 10, 0, 0, 123456)
NANOS = pa.array([1714557600123456789, None], pa.timestamp("ns"))


def parquet(folder: Path, name: str, **columns: Any) -> Path:
    """A file with the columns and the key `k`."""
    arrays = {name: pa.array(values) for name, values in columns.items()}
    count = len(next(iter(arrays.values())))
    path = folder / f"{name}.parquet"
    pq.write_table(pa.table({"k": [f"{name}{row}" for row in range(count)], **arrays}), path)
    return path


def test_parquet_files_of_different_types(spark: SparkSession, tmp_path: Path) -> None:
    months = [
        pd.DataFrame({"k": ["k1", "k2"], "age": [31, 44], "city": ["Ulm", "Graz"]}),
        pd.DataFrame({"k": ["k3", "k4"], "age": [52, None], "city": ["Ulm", None]}),
        pd.DataFrame({"k": ["k5"], "age": [23], "city": [None]}),
    ]
    paths = [tmp_path / f"members-{month}.parquet" for month in range(3)]
    for frame, path in zip(months, paths, strict=True):
        frame.to_parquet(path)
    source = lake_source("parquet", {"age": column("int"), "city": column()})
    found = load_files(spark, tmp_path, source, paths)
    assert found.told("k", "age", "city") == [
        ("k1", 31, "Ulm"),
        ("k2", 44, "Graz"),
        ("k3", 52, "Ulm"),
        ("k4", None, None),
        ("k5", 23, None),
    ]
    assert not found.faults


def test_parquet_types_that_spark_lacks(spark: SparkSession, tmp_path: Path) -> None:
    utc = NANOS.cast(pa.timestamp("ns", "UTC"))
    odd = {"t": pa.array([5, None], pa.time64("ns")), "h": pa.array([1.5, 2.5], pa.float16())}
    odd["d"] = pa.array([Decimal(1), None], pa.decimal256(50, 2))
    paths = [
        parquet(tmp_path, "a", at=NANOS, **odd),
        parquet(tmp_path, "b", at=utc, **odd),
        parquet(tmp_path, "c", at=NANOS.cast(pa.timestamp("us"), safe=False), **odd),
    ]
    many = pa.table({"k": ["d0", "d1"], "at": NANOS.cast(pa.timestamp("us"), safe=False)})
    pq.write_table(many, tmp_path / "d.parquet", use_deprecated_int96_timestamps=True)
    paths.append(tmp_path / "d.parquet")
    found = load_files(spark, tmp_path, lake_source("parquet", {"at": column("timestamp")}), paths)
    assert found.told("at") == [MOMENT, None] * 4
    declared = {name: column("bigint") for name in odd}
    found = load_files(spark, tmp_path, lake_source("parquet", declared), paths[:1])
    assert [row["_error_code"] for row in found.rows] == [WRONG, WRONG]
    assert "time64[ns]" in found.rows[0]["_error_message"]
    assert "halffloat" in found.rows[1]["_error_message"]


def test_parquet_numbers_are_no_times_and_no_texts(spark: SparkSession, tmp_path: Path) -> None:
    numbers = {
        "seen_at": ("timestamp", pa.array([1714557600000])),
        "born": ("date", pa.array([19840501], pa.int32())),
        "member": ("boolean", pa.array([2.5])),
        "left_at": ("bigint", pa.array([MOMENT], pa.timestamp("us", "UTC"))),
        "friend": ("string", pa.array([2e16])),
        "tags": ("string", pa.array([{"a": 1}])),
        "map": ("string", pa.array([[("a", 1)]], pa.map_(pa.string(), pa.int64()))),
    }
    alone = {
        name: pa.concat_arrays([pa.nulls(at, values.type), values, pa.nulls(6 - at, values.type)])
        for at, (name, (_, values)) in enumerate(numbers.items())
    }
    path = parquet(tmp_path, "n", **alone)
    declared = {name: column(kind) for name, (kind, _) in numbers.items()}
    found = load_files(spark, tmp_path, lake_source("parquet", declared), [path])
    for name, row in zip(numbers, found.rows, strict=True):
        assert row["_error_code"] == WRONG, name
        assert row["_error_message"].startswith(f"{name}: ")
    declared = {"seen_at": column("timestamp", epoch="ms"), "friend": column("double")}
    found = load_files(spark, tmp_path, lake_source("parquet", declared), [path])
    assert found.told("seen_at", "friend")[0] == (MOMENT.replace(microsecond=0), None)
    assert found.told("friend")[4] == 2e16


def test_parquet_whole_doubles_give_their_digits(spark: SparkSession, tmp_path: Path) -> None:
    path = parquet(tmp_path, "f", friend=[4711.0, 1714557600123.0, 20000000000000001.0, None])
    found = load_files(spark, tmp_path, lake_source("parquet", {"friend": column()}), [path])
    assert found.told("friend") == ["4711", "1714557600123", WRONG, None]


def test_parquet_lists_without_a_type_of_items(spark: SparkSession, tmp_path: Path) -> None:
    paths = [
        parquet(tmp_path, "a", tags=pa.array([[], [None, None], None])),
        parquet(tmp_path, "b", tags=pa.array([["x", None]])),
        parquet(tmp_path, "c", tags=pa.array([[7]], pa.list_(pa.int32()))),
    ]
    source = lake_source("parquet", {"tags": column("array<string>")})
    found = load_files(spark, tmp_path, source, paths)
    assert found.told("tags") == [[], [None, None], None, ["x", None], WRONG]


def test_parquet_milliseconds_that_spark_lacks(spark: SparkSession, tmp_path: Path) -> None:
    moments = pa.array([1714557600123, 2**63 - 1, -(2**62), None], pa.timestamp("ms"))
    paths = [parquet(tmp_path, "a", at=moments), parquet(tmp_path, "b", at=moments[:1])]
    found = load_files(spark, tmp_path, lake_source("parquet", {"at": column("timestamp")}), paths)
    first = MOMENT.replace(microsecond=123000)
    assert found.told("at") == [first, "out_of_range", "out_of_range", None, first]


def test_csv_in_another_encoding_than_declared(spark: SparkSession, tmp_path: Path) -> None:
    rows = "k,city\nJörg,Köln\nJürg,Zürich\nJarg,K€ln\nplain,Ulm\n"
    path = tmp_path / "users.csv"
    path.write_bytes(rows.encode("cp1252"))
    declared = {"city": column()}
    found = load_files(spark, tmp_path, lake_source("csv", declared), [path])
    assert found.told("k", "city") == ["invalid_utf8"] * 3 + [("plain", "Ulm")]
    assert [row["row_text"] for row in found.rows][:2] == [
        "J\ufffdrg,K\ufffdln",
        "J\ufffdrg,Z\ufffdrich",
    ]
    good = [("Jörg", "Köln"), ("Jürg", "Zürich"), ("Jarg", "K€ln"), ("plain", "Ulm")]
    for encoding, multiline in (("cp1252", False), ("utf-8", True), ("utf-16", True)):
        mark = b"\xef\xbb\xbf" if encoding == "utf-8" else b""
        path.write_bytes(mark + rows.encode(encoding))
        options = {"encoding": encoding, "multiline": multiline}
        source = lake_source("csv", declared, format_options=options)
        assert load_files(spark, tmp_path, source, [path]).told("k", "city") == good, encoding
    path.write_bytes(b"k,city\na,\x81\nb,\xe4\nc,\xef\xbf\xbd\n")
    source = lake_source("csv", declared, format_options={"encoding": "cp1252"})
    assert load_files(spark, tmp_path, source, [path]).told("city") == [
        "invalid_encoding",
        "ä",
        "ï¿½",
    ]


def test_json_bytes_that_are_no_utf8(spark: SparkSession, tmp_path: Path) -> None:
    path = tmp_path / "users.json"
    path.write_bytes('{"k": "a", "city": "Köln"}\n{"k": "b", "city": "Ulm"}\n'.encode("cp1252"))
    found = load_files(spark, tmp_path, lake_source("json", {"city": column()}), [path])
    assert found.told("city") == ["invalid_utf8", "Ulm"]
    assert found.rows[0]["row_text"] == '{"k": "a", "city": "K\ufffdln"}'


def test_headers_are_shown_as_the_file_has_them(spark: SparkSession, tmp_path: Path) -> None:
    for name, text in {
        "a.csv": "K,k\n1,a\n",
        "b.csv": "k, other\n1,a\n",
        "c.csv": "k,other\n1,a\n",
    }.items():
        (tmp_path / name).write_text(text)
    source = lake_source("csv", {"other": column()})
    found = load_files(spark, tmp_path, source, list(tmp_path.glob("*.csv")))
    assert found.told("k", "other") == [("1", "a")]
    assert {name: fault.status for name, fault in found.faults.items()} == dict.fromkeys(
        ["a.csv", "b.csv"], "refused"
    )
    assert (
        'it has the columns "K", "k", but conf declares "k", "other"'
        in found.faults["a.csv"].reason
    )
    assert 'it has the columns "k", " other", but' in found.faults["b.csv"].reason
    both = lake_source("csv", {"other": column(path="K")})
    (tmp_path / "a.csv").write_text("k,K\n1,a\n")
    assert load_files(spark, tmp_path, both, [tmp_path / "a.csv"]).told("k", "other") == [
        ("1", "a")
    ]
    pq.write_table(pa.table([pa.array(["1"])] * 3, names=["k", "K", "x"]), tmp_path / "d.parquet")
    found = load_files(
        spark, tmp_path, lake_source("parquet", {"x": column()}), [tmp_path / "d.parquet"]
    )
    assert (
        'it has the columns "k", "K", which Spark cannot tell apart'
        in found.faults["d.parquet"].reason
    )
