"""Every type of Parquet, CSV and JSON, declared as every type, with hostile values."""

import json
from pathlib import Path
from typing import get_args

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession
from tests.support.hostile import ARRAYS, TEXTS
from tests.support.lake_files import Loaded, column, lake_source, load_files

from matchlake.ingest.columns import ColumnParams, ColumnType
from matchlake.ingest.parse.validation import check_columns
from matchlake.ingest.rejections import ErrorCode, Rejection

TYPES = get_args(ColumnType)
NO_FILE = {"run_end", "duration[s]"}
"""Arrays that Parquet does not have."""
OWN_RESULT = {
    "float16",
    "decimal256",
    "uuid",
    "list_of_nulls",
    *(f"duration[{unit}]" for unit in ("ms", "us", "ns")),
}
"""Types that Parquet has as numbers, or that Spark reads as bytes, with other results."""
VALUES = [
    *(None, True, 0, -1, 2**31, 2**53 + 1, 2**63, 10**400, 1.5, 1e308, -0.0, 2e16, [], ["a", None]),
    *([1], {}, {"a": 1}, *TEXTS),
]


def expected_codes(kind: str, values: pa.Array) -> list[str | None]:
    """The error codes of the values alone, without Spark."""
    found: dict[int, Rejection] = {}
    columns = {"x": ColumnParams(type=kind, comment="c", required=False)}
    check_columns(columns, {"x": values}, found, lambda *_: ErrorCode.NULL_FIELD)
    return [str(found[row].code) if row in found else None for row in range(len(values))]


def check_rows(found: Loaded, count: int) -> list[str | None]:
    """The error codes, after a check that each row is valid or shows why not."""
    assert not found.faults
    assert len(found.rows) == count
    for row in found.rows:
        assert (row["_status"] == "valid") == (row["_error_code"] is None)
        assert row["_error_code"] is None or row["_error_message"]
    return [row["_error_code"] for row in found.rows]


@pytest.mark.soak
@pytest.mark.parametrize("kind", TYPES)
def test_load_every_type_of_parquet(spark: SparkSession, tmp_path: Path, kind: str) -> None:
    expected: list[str | None] = []
    paths, own = [], []
    for name in sorted(set(ARRAYS) - NO_FILE):
        values = ARRAYS[name]
        path = tmp_path / f"{len(paths):03d}.parquet"
        keys = [f"{name}{row}" for row in range(len(values))]
        try:
            pq.write_table(pa.table({"k": keys, "x": values, "unused": values}), path)
        except (pa.ArrowException, OverflowError):  # a value or a type that Parquet lacks
            path.unlink(missing_ok=True)
            continue
        paths.append(path)
        own += [name in OWN_RESULT] * len(values)
        expected += expected_codes(kind, values)
    found = load_files(spark, tmp_path, lake_source("parquet", {"x": column(kind)}), paths)
    codes = check_rows(found, len(expected))
    keys = [row["k"] or row["row_text"] for row in found.rows]
    differ = [
        (key, is_, should_be)
        for key, is_, should_be, is_own in zip(keys, codes, expected, own, strict=True)
        if is_ != should_be and not is_own
    ]
    assert not differ
    assert len(paths) > 30


@pytest.mark.soak
@pytest.mark.parametrize("kind", TYPES)
def test_load_every_value_of_text_files(spark: SparkSession, tmp_path: Path, kind: str) -> None:
    lines = [json.dumps({"k": str(at), "x": value}) for at, value in enumerate(VALUES)]
    lines += ['{"k": "NaN", "x": NaN}', '{"k": "twice", "x": 1, "x": 2}']
    path = tmp_path / "x.json"
    path.write_text("\n".join(lines), encoding="utf-8")
    found = load_files(spark, tmp_path, lake_source("json", {"x": column(kind)}), [path])
    check_rows(found, len(lines))
    if kind == "array<string>":
        return
    raw = [text.encode() for text in TEXTS if "\0" not in text] + [b"a\xffb", b'"a']
    path = tmp_path / "x.csv"
    path.write_bytes(b"k,x\n" + b"".join(b"%d,%s\n" % each for each in enumerate(raw)))
    found = load_files(spark, tmp_path, lake_source("csv", {"x": column(kind)}), [path])
    codes = check_rows(found, len(raw))
    assert codes[len(raw) - 2] == "invalid_utf8"
