"""The job `load_lake` on small files of every format."""

import json
import runpy
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F
from tests.support.streams import runtime_in

from matchlake.errors import SchemaError, SourceError
from matchlake.ingest.files.discovery import LakeFiles
from matchlake.runtime import Runtime

run = runpy.run_path("jobs/load_lake.py")["run"]

USERS = {
    "path": "users*.csv",
    "format": "csv",
    "table": "bronze.users",
    "comment": "u",
    "keys": ["user_id"],
    "columns": {
        "user_id": {"type": "string", "comment": "u"},
        "age": {"type": "int", "required": False, "min": 0, "max": 120, "comment": "a"},
        "gender": {"type": "string", "one_of": ["M", "F"], "comment": "g"},
    },
}
ITEMS = {
    "path": "items*.jsonl",
    "format": "json",
    "table": "bronze.items",
    "comment": "i",
    "keys": ["item_id"],
    "columns": {
        "item_id": {"type": "string", "comment": "i"},
        "year": {"type": "int", "required": False, "comment": "y"},
        "genres": {"type": "array<string>", "required": False, "comment": "g"},
    },
}
VISITS = {
    "path": "visits/*.parquet",
    "format": "parquet",
    "table": "bronze.visits",
    "comment": "v",
    "keys": ["user_id", "day"],
    "columns": {
        "user_id": {"type": "string", "comment": "u"},
        "day": {"type": "date", "comment": "d"},
        "count": {"type": "int", "min": 1, "path": "n", "comment": "n"},
    },
}


def lake(spark: SparkSession, folder: Path, **sources: dict[str, Any]) -> Runtime:
    (folder / "lake").mkdir(exist_ok=True)
    quarantine = f"{folder.name}.quarantine".replace("-", "_")
    return runtime_in(spark, folder, lake={"sources": sources, "quarantine": quarantine})


def mine(folder: Path, source: dict[str, Any]) -> dict[str, Any]:
    """The source, its table in a schema of the test's own."""
    return source | {"table": source["table"].replace("bronze", folder.name.replace("-", "_"))}


def rows(runtime: Runtime, source: dict[str, Any]) -> list[tuple[Any, ...]]:
    return sorted(map(tuple, runtime.lakehouse.read(source["table"]).collect()))


def refused(runtime: Runtime) -> list[tuple[Any, ...]]:
    frame = runtime.lakehouse.read(runtime.config.lake.quarantine)
    return sorted(
        map(tuple, frame.select("source", "row_text", "_error_code", "_error_message").collect())
    )


def test_valid_rows_are_merged_and_others_are_quarantined_once(
    spark: SparkSession, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "matchlake")
    users, items, visits = (mine(tmp_path, source) for source in (USERS, ITEMS, VISITS))
    runtime = lake(spark, tmp_path, users=users, items=items, visits=visits)
    files = tmp_path / "lake"
    (files / "users_1.csv").write_text(
        'user_id,age,gender\nu1,30,M\n"u,2",,F\nu3,old,M\n,40,M\nu4,200,F\nu5,20,X\nu6,1\nu1,31,M\n'
    )
    (files / "users_2.csv").write_text("user_id,age,gender\nu7,50,F\nu1,32,F\nu7,51,F\n")
    (files / "users_3.csv").write_text("")
    lines = [
        {"item_id": "i1", "year": 1995, "genres": ["Drama", "War"]},
        {"item_id": 2, "year": None, "genres": []},
        {"item_id": "i3", "year": "1995"},
        {"year": 1995},
    ]
    text = "\n".join(map(json.dumps, lines)) + '\n\n{"item_id": "i4"\n'
    (files / "items.jsonl").write_text(text)
    spark.sql(
        "SELECT * FROM VALUES ('u1', DATE '2024-05-01', 3L), ('u1', DATE '2024-05-02', 0L),"
        " ('u2', null, 1L), ('u2', DATE '2024-05-01', 3000000000L) AS t(user_id, day, n)"
    ).write.parquet(str(files / "visits"))

    run(runtime)

    assert rows(runtime, users) == [("u,2", None, "F"), ("u1", 32, "F"), ("u7", 51, "F")]
    assert rows(runtime, items) == [("2", None, []), ("i1", 1995, ["Drama", "War"])]
    (visit,) = rows(runtime, visits)
    assert (visit[0], str(visit[1]), visit[2]) == ("u1", "2024-05-01", 3)
    bad = refused(runtime)
    assert [row[:3] for row in bad if row[0] == "users"] == [
        ("users", ",40,M", "null_field"),
        ("users", "u3,old,M", "wrong_type"),
        ("users", "u4,200,F", "out_of_range"),
        ("users", "u5,20,X", "not_allowed"),
        ("users", "u6,1", "malformed_row"),
    ]
    assert [(row[2], row[3]) for row in bad if row[0] == "items"] == [
        ("wrong_type", "year: expected int, found a text '1995'"),
        ("malformed_json", "Expecting ',' delimiter: line 1 column 17 (char 16)"),
        ("missing_field", "item_id: is required"),
    ]
    reasons = sorted(row[2] for row in bad if row[0] == "visits")
    assert reasons == ["null_field", "out_of_range", "out_of_range"]
    assert (
        "users: read 11 = 6 valid + 5 quarantined from 2 file(s), 0 corrupt; 3 keys into"
        in caplog.text
    )
    assert "users_3.csv is empty and skipped" in caplog.text

    versions = [runtime.lakehouse.version(s["table"]) for s in (users, items, visits)]
    before = [rows(runtime, s) for s in (users, items, visits)]
    run(runtime)
    assert [rows(runtime, s) for s in (users, items, visits)] == before
    assert refused(runtime) == bad
    assert [runtime.lakehouse.version(s["table"]) for s in (users, items, visits)] >= versions

    (files / "users_1.csv").write_text("user_id,age,gender\nu3,33,M\n")
    run(lake(spark, tmp_path, users=users))
    assert ("u3", 33, "M") in rows(runtime, users)
    assert not [row for row in refused(runtime) if row[0] == "users"], "what is mended is gone"


@pytest.mark.soak
def test_a_file_or_source_that_fails_does_not_keep_others_from_loading(
    spark: SparkSession, tmp_path: Path
) -> None:
    users, items = mine(tmp_path, USERS), mine(tmp_path, ITEMS)
    runtime = lake(spark, tmp_path, items=items | {"required": True}, users=users)
    (tmp_path / "lake" / "users.csv").write_text("user_id,age,gender\nu1,30,M\n")
    (tmp_path / "lake" / "users_z.csv").write_text("user_id, gender\nu1,M\n")
    told = 'users_z.csv is refused: it has the columns "user_id", " gender", but conf declares '
    with pytest.raises(SourceError, match=r"^2 failures; everything else is loaded:\n- ") as error:
        run(runtime)
    assert "- items: No file " in str(error.value)
    assert f'{told}"user_id", "age", "gender"' in str(error.value)
    assert rows(runtime, users) == [("u1", 30, "M")]
    assert [row[2] for row in refused(runtime)] == ["wrong_columns"]
    (row,) = (
        runtime.lakehouse.read(runtime.config.lake.file_log)
        .where(F.col("file").endswith(f"{tmp_path.name}/lake/users_z.csv"))
        .collect()
    )
    assert (row.status, row.rows, row.quarantined) == ("refused", 1, 1)
    assert "has the columns" in row.reason

    (tmp_path / "lake" / "users_z.csv").write_text("user_id,age,gender\nu2,31,F\n")
    (tmp_path / "lake" / "items.jsonl").write_text('{"item_id": "i1"}\n')
    run(runtime)
    assert rows(runtime, users) == [("u1", 30, "M"), ("u2", 31, "F")]
    assert refused(runtime) == []


def test_an_empty_folder_warns_or_fails_as_declared(
    spark: SparkSession, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    users = mine(tmp_path, USERS)
    run(lake(spark, tmp_path, users=users))
    assert "no file" in caplog.text
    with pytest.raises(SourceError, match=r"No file .*users.*required"):
        run(lake(spark, tmp_path, users=users | {"required": True}))


@pytest.mark.soak
def test_a_path_without_a_star_may_be_missing_too(
    spark: SparkSession, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    users = mine(tmp_path, USERS) | {"path": "users.csv"}
    runtime = lake(spark, tmp_path, users=users)
    run(runtime)
    assert "no file" in caplog.text
    (tmp_path / "lake" / "users.csv").write_text("user_id,age,gender\nu1,30,M\n")
    run(runtime)
    (tmp_path / "lake" / "users.csv").unlink()
    run(runtime)
    assert rows(runtime, users) == [("u1", 30, "M")]
    with pytest.raises(SourceError, match=r"No file .*users.*required"):
        run(lake(spark, tmp_path, users=users | {"required": True}))


@pytest.mark.soak
def test_a_dot_leads_into_a_struct_of_parquet_and_is_a_letter_in_csv(
    spark: SparkSession, tmp_path: Path
) -> None:
    inside = {"type": "string", "path": "user.id", "comment": "u"}
    columns = {"user_id": inside, "n": {"type": "int", "comment": "n"}}
    more = {"keys": ["user_id"], "columns": columns}
    visits = mine(tmp_path, VISITS) | more
    users = mine(tmp_path, USERS) | more
    (tmp_path / "lake").mkdir()
    (tmp_path / "lake" / "users.csv").write_text("user.id,n\nu1,1\n")
    struct = spark.sql("SELECT named_struct('id', 'u2', 'age', 3) AS user, 2 AS n")
    struct.write.parquet(str(tmp_path / "lake" / "visits"))
    runtime = lake(spark, tmp_path, users=users, visits=visits)
    run(runtime)
    assert rows(runtime, users) + rows(runtime, visits) == [("u1", 1), ("u2", 2)]
    gone = visits | {"columns": columns | {"user_id": inside | {"path": "user.name"}}}
    told = r'"user", "user\.id", "user\.age", "n", but conf declares "user\.name"'
    with pytest.raises(SchemaError, match=told):
        run(lake(spark, tmp_path, visits=gone))


def test_a_load_that_broke_off_is_completed_by_the_next(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    users = mine(tmp_path, USERS)
    runtime = lake(spark, tmp_path, users=users)
    (tmp_path / "lake" / "users.csv").write_text("user_id,age,gender\n1,20,M\n2,,X\n3,30,F\n")

    def broken(*_: object) -> None:
        raise OSError("the machine went down")

    with monkeypatch.context() as patched:
        patched.setattr(LakeFiles, "enter", broken)
        with pytest.raises(OSError, match="went down"):
            run(runtime)
    for _ in range(2):
        run(runtime)
        assert rows(runtime, users) == [("1", 20, "M"), ("3", 30, "F")]
        assert [row[2] for row in refused(runtime)] == ["not_allowed"]
