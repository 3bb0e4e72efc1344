"""Local Delta tables as files, without Spark: what can be read and overwritten, and the commit."""

import json
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable, write_deltalake
from deltalake.exceptions import DeltaError

from matchlake.errors import EngineError, TableError
from matchlake.io.delta import Lakehouse
from matchlake.io.delta_files import NewFile, open_files, overwrite_files, remove_files

FIELDS = [
    {"name": name, "type": "long", "nullable": True, "metadata": {"comment": f"the {name}"}}
    for name in ("id", "n")
]
SCHEMA = json.dumps({"type": "struct", "fields": FIELDS})


def lake_in(folder: Path) -> Lakehouse:
    return Lakehouse(None, folder=str(folder))  # type: ignore[arg-type]


def declare(
    folder: Path,
    protocol: dict[str, Any] | None = None,
    schema: str = SCHEMA,
    **configuration: str,
) -> Path:
    """An empty table gold.t, as a log alone."""
    table = folder / "gold" / "t"
    (table / "_delta_log").mkdir(parents=True)
    metadata = {
        "id": "00000000-0000-0000-0000-000000000001",
        "format": {"provider": "parquet", "options": {}},
        "schemaString": schema,
        "partitionColumns": [],
        "configuration": {name.replace("__", "."): v for name, v in configuration.items()},
        "createdTime": 0,
    }
    versions = protocol or {"minReaderVersion": 1, "minWriterVersion": 3}
    actions = [{"protocol": versions}, {"metaData": metadata}]
    text = "\n".join(map(json.dumps, actions))
    (table / "_delta_log" / f"{0:020}.json").write_text(text)
    return table


def new_file(table: Path, name: str, rows: int, schema: str = "id n") -> NewFile:
    path = table / name
    pq.write_table(pa.table({each: list(range(rows)) for each in schema.split()}), path)
    ends = {"id": (0, rows - 1), "n": (0, rows - 1)}
    return NewFile(str(path), rows, path.stat().st_size, {"id": 0}, ends, {})


def test_overwrite_is_one_commit_with_statistics_and_the_same_schema(tmp_path: Path) -> None:
    table, lake = declare(tmp_path), lake_in(tmp_path)
    for name, rows in (("a.parquet", 3), ("b.parquet", 2)):
        target = open_files(lake, "gold.t")
        target.require("overwrite")
        overwrite_files(target, [new_file(table, name, rows)], json.dumps(target.schema), ["id"])
    found = open_files(lake, "gold.t")
    assert [Path(file).name for file in found.files] == ["b.parquet"]
    assert (found.handle.version(), found.size) == (2, (table / "b.parquet").stat().st_size)
    assert found.schema["fields"] == FIELDS
    lines = (table / "_delta_log" / f"{2:020}.json").read_text().splitlines()
    actions = {key: value for line in lines for key, value in json.loads(line).items()}
    assert set(actions) == {"add", "remove", "commitInfo"}
    assert json.loads(actions["add"]["stats"]) == {
        "numRecords": 2,
        "minValues": {"id": 0},
        "maxValues": {"id": 1},
        "nullCount": {"id": 0},
    }


def test_other_columns_come_in_the_same_commit_with_their_comments(tmp_path: Path) -> None:
    table, lake = declare(tmp_path), lake_in(tmp_path)
    changed = json.dumps({"type": "struct", "fields": [FIELDS[0], {**FIELDS[1], "name": "m"}]})
    target = open_files(lake, "gold.t")
    overwrite_files(target, [new_file(table, "a.parquet", 2, "id m")], changed, [])
    found = open_files(lake, "gold.t")
    assert found.handle.version() == 1
    assert [field["name"] for field in found.schema["fields"]] == ["id", "m"]
    assert found.schema["fields"][1]["metadata"] == {"comment": "the n"}
    assert found.handle.to_pyarrow_table().to_pydict() == {"id": [0, 1], "m": [0, 1]}


@pytest.mark.parametrize("filled", [True, False])
def test_two_runs_at_once_one_of_them_fails(tmp_path: Path, *, filled: bool) -> None:
    table, lake = declare(tmp_path), lake_in(tmp_path)
    if filled:
        first = open_files(lake, "gold.t")
        overwrite_files(first, [new_file(table, "a.parquet", 3)], SCHEMA, [])
    targets = [open_files(lake, "gold.t") for _ in range(2)]
    overwrite_files(targets[0], [new_file(table, "b.parquet", 2)], SCHEMA, [])
    with pytest.raises(TableError, match=r"gold\.t was not replaced"):
        overwrite_files(targets[1], [new_file(table, "c.parquet", 1)], SCHEMA, [])
    remove_files(targets[1], "c.parquet")
    assert DeltaTable(table).to_pyarrow_table().num_rows == 2
    there = ["a.parquet", "b.parquet"] if filled else ["b.parquet"]
    assert sorted(path.name for path in table.glob("*.parquet")) == there


@pytest.mark.parametrize("error", [KeyboardInterrupt, DeltaError])
def test_files_of_a_commit_stay_if_the_writer_fails_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    table = declare(tmp_path)
    commit = DeltaTable.create_write_transaction

    def commit_and_fail(*given: Any, **named: Any) -> None:
        commit(*given, **named)
        raise error("after the commit")

    monkeypatch.setattr(DeltaTable, "create_write_transaction", commit_and_fail)
    target = open_files(lake_in(tmp_path), "gold.t")
    new = [new_file(table, "a.parquet", 3)]
    interrupted = pytest.raises(KeyboardInterrupt) if error is KeyboardInterrupt else nullcontext()
    with interrupted:
        overwrite_files(target, new, SCHEMA, [])
    remove_files(target, "a.parquet")
    assert DeltaTable(table).to_pyarrow_table().num_rows == 3


@pytest.mark.parametrize(
    ("declared", "use", "reason"),
    [
        (
            {"protocol": {"minReaderVersion": 2, "minWriterVersion": 5}}
            | {"delta__columnMapping__mode": "name"},
            "read",
            "(c|C)olumn mapping",
        ),
        (
            {
                "protocol": {
                    "minReaderVersion": 3,
                    "minWriterVersion": 7,
                    "readerFeatures": ["deletionVectors"],
                    "writerFeatures": ["deletionVectors"],
                }
            },
            "read",
            "only Spark reads: deletionVectors",
        ),
        ({"delta__appendOnly": "true"}, "overwrite", "only takes new rows"),
        (
            {"schema": SCHEMA.replace('"comment"', '"delta.generationExpression"')},
            "overwrite",
            "rules that only Spark applies: id, n",
        ),
    ],
)
def test_tables_that_need_spark(
    tmp_path: Path, declared: dict[str, Any], use: str, reason: str
) -> None:
    declare(tmp_path, **declared)
    with pytest.raises(EngineError, match=f"gold.t .*{reason}"):
        open_files(lake_in(tmp_path), "gold.t").require(use)


def test_places_that_are_not_local_files(tmp_path: Path) -> None:
    for lake, reason in (
        (Lakehouse(None, catalog="main"), "is not in a local folder"),  # type: ignore[arg-type]
        (Lakehouse(None, folder="abfss://a@b/c"), "is not in a local folder"),  # type: ignore[arg-type]
        (lake_in(tmp_path), "has no files of its own"),
    ):
        with pytest.raises(EngineError, match=reason):
            open_files(lake, "gold.t")
    write_deltalake(tmp_path / "gold" / "t", pa.table({"id": [1]}))
    (lost,) = (tmp_path / "gold" / "t").glob("*.parquet")
    lost.unlink()
    with pytest.raises(EngineError, match="has files that this process does not see"):
        open_files(lake_in(tmp_path), "gold.t").require("read")
