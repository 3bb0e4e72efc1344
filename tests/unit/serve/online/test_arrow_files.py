"""Arrow files by key: what a lookup gives, what is refused, and replacing under readers."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from matchlake.errors import InputError, SourceError, TableError
from matchlake.serve.online.arrow_files import ArrowStore, ArrowTable
from matchlake.serve.online.tables import OnlineColumn, Published

KEYS = ("user_id", "rank")


class Batches:
    """Rows as a job gives them."""

    columns: Sequence[OnlineColumn] = ()

    def __init__(self, table: pa.Table, size: int = 3) -> None:
        self.table, self.size = table, size

    def sorted_batches(self) -> Iterator[pa.RecordBatch]:
        yield from (self.table.slice(0, 0).to_batches() or [_empty(self.table)])
        yield from self.table.to_batches(self.size)

    def text_batches(self) -> Iterator[pa.RecordBatch]:
        return iter(())


def _empty(table: pa.Table) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays(
        [pa.array([], f.type) for f in table.schema], table.schema.names
    )


def about(version: int = 1, keys: tuple[str, ...] = KEYS) -> Published:
    return Published("gold.recommendations", version, "2024-05-01T10:00:00+00:00", keys)


def lists(users: Sequence[str], version: int = 1) -> pa.Table:
    rows = [(user, rank) for user in sorted(users) for rank in (1, 2)]
    return pa.table(
        {
            "user_id": [user for user, _ in rows],
            "rank": pa.array([rank for _, rank in rows], pa.int32()),
            "version": [version] * len(rows),
        }
    )


def publish(folder: Path, table: pa.Table, published: Published, **more: Any) -> int:
    with ArrowStore(folder).locked("recs") as store:
        return store.publish("recs", Batches(table), published, **more)


def test_a_lookup_gives_the_rows_of_a_key_or_of_its_first_columns(tmp_path: Path) -> None:
    assert publish(tmp_path, lists(["a", "b", "é", "日"]), about(7)) == 8
    table = ArrowStore(tmp_path).open("recs")
    assert [row["rank"] for row in table.rows("b")] == [1, 2]
    assert table.rows("é", 2) == [{"user_id": "é", "rank": 2, "version": 1}]
    assert table.rows("zzz") == table.rows("b", 9) == []
    assert (table.published, len(table)) == (about(7), 8)


@settings(max_examples=60)
@given(st.sets(st.text(max_size=4), max_size=30), st.lists(st.text(max_size=4), max_size=5))
def test_binary_search_finds_what_a_scan_finds(users: set[str], wanted: list[str]) -> None:
    import tempfile  # noqa: PLC0415 - a folder per example

    with tempfile.TemporaryDirectory() as folder:
        publish(Path(folder), lists(list(users)), about(), allow_empty=True)
        table = ArrowStore(Path(folder)).open("recs")
        rows = lists(list(users)).to_pylist()
        for user in [*users, *wanted]:
            assert table.rows(user) == [row for row in rows if row["user_id"] == user]


def test_wide_types_come_back_as_they_were(tmp_path: Path) -> None:
    row = {
        "user_id": "a",
        "price": Decimal("12345678901234567890.12"),
        "at": datetime(2024, 5, 1, 10, tzinfo=UTC),
        "tags": ["x", None],
        "place": {"lat": 1.5, "name": None},
        "raw": b"\x00\xff",
        "nan": float("inf"),
    }
    table = pa.Table.from_pylist([row])
    publish(tmp_path, table, about(keys=("user_id",)))
    assert ArrowStore(tmp_path).open("recs").rows("a") == [row]


def test_null_and_repeated_keys_are_refused_with_their_numbers(tmp_path: Path) -> None:
    publish(tmp_path, lists(["a"]), about())
    bad = pa.table({"user_id": [None, *"aaabb", "c"], "rank": pa.array([1, 1, 1, 1, 1, 2, 1])})
    with pytest.raises(InputError, match=r"1 row\(s\) have a null .* 2 row\(s\) repeat"):
        publish(tmp_path, bad, about(2))
    assert ArrowStore(tmp_path).open("recs").published.delta_version == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["recs.arrow", "recs.lock"]


def test_an_empty_table_replaces_rows_only_if_conf_allows_it(tmp_path: Path) -> None:
    publish(tmp_path, lists(["a"]), about())
    with pytest.raises(InputError, match="is not published: it is empty"):
        publish(tmp_path, lists([]), about(2))
    assert publish(tmp_path, lists([]), about(2), allow_empty=True) == 0
    table = ArrowStore(tmp_path).open("recs")
    assert (table.rows("a"), table.schema.names) == ([], ["user_id", "rank", "version"])


def test_wrong_keys_are_explained(tmp_path: Path) -> None:
    publish(tmp_path, lists(["a"]), about())
    table = ArrowStore(tmp_path).open("recs")
    with pytest.raises(InputError, match="takes string, not int"):
        table.rows(7)
    with pytest.raises(InputError, match="1 to 2 value"):
        table.rows()
    with pytest.raises(InputError, match="does not accept null"):
        table.rows("a", None)


def test_files_that_are_missing_cut_or_foreign_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="Run publish_online to write it"):
        ArrowTable(tmp_path / "recs.arrow")
    publish(tmp_path, lists(["a"]), about())
    whole = (tmp_path / "recs.arrow").read_bytes()
    (tmp_path / "recs.arrow").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(TableError, match="not a complete Arrow file"):
        ArrowStore(tmp_path).open("recs")
    other, rows = str(tmp_path / "other.arrow"), lists(["a"])
    with pa.OSFile(other, "wb") as out, pa.ipc.new_file(out, rows.schema) as writer:
        writer.write_table(rows)
    with pytest.raises(TableError, match="publish_online did not write it"):
        ArrowTable(tmp_path / "other.arrow")


def test_erasing_a_user_leaves_the_other_rows(tmp_path: Path) -> None:
    publish(tmp_path, lists(["a", "b"]), about(3))
    with ArrowStore(tmp_path).locked("recs") as store:
        assert store.count("recs", ["user_id"], "a") == 2
        assert store.erase("recs", ["user_id", "related_user_id"], "a") == 2
        assert store.erase("recs", ["user_id"], "a") == 0
        assert store.erase("none", ["user_id"], "a") == 0
    table = ArrowStore(tmp_path).open("recs")
    assert (table.rows("a"), len(table.rows("b")), table.published) == ([], 2, about(3))


def test_two_runs_cannot_write_one_table(tmp_path: Path) -> None:
    with ArrowStore(tmp_path).locked("recs"), pytest.raises(TableError, match="Another run"):
        publish(tmp_path, lists(["a"]), about())


def test_readers_see_one_whole_version_during_swaps(tmp_path: Path) -> None:
    publish(tmp_path, lists(["a", "b"], 0), about(0))
    table, stop, seen = ArrowStore(tmp_path).open("recs"), threading.Event(), set()

    def read() -> None:
        while not stop.is_set():
            table.refresh()
            rows = table.rows("a")
            assert len(rows) == 2, "a gap"
            seen.add(frozenset(row["version"] for row in rows))

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    for version in range(1, 51):
        publish(tmp_path, lists(["a", "b"], version), about(version))
    stop.set()
    for reader in readers:
        reader.join()
    assert all(len(versions) == 1 for versions in seen), "a mix"
    assert table.rows("b")[0]["version"] in range(51)


class Killed(Batches):
    """Rows of a run that is killed when it has read them."""

    def sorted_batches(self) -> Iterator[pa.RecordBatch]:
        yield from super().sorted_batches()
        os.kill(os.getpid(), signal.SIGKILL)


def test_a_killed_run_leaves_the_old_file_and_the_next_one_removes_what_is_left(
    tmp_path: Path,
) -> None:
    publish(tmp_path, lists(["a"]), about())
    killed = os.fork()
    if not killed:
        with ArrowStore(tmp_path).locked("recs") as store:
            store.publish("recs", Killed(lists(["a", "c"], 2)), about(2))
    assert os.waitstatus_to_exitcode(os.waitpid(killed, 0)[1]) == -signal.SIGKILL
    assert len(list(tmp_path.glob("*.new"))) == 1
    assert ArrowStore(tmp_path).open("recs").published == about()
    publish(tmp_path, lists(["a"]), about(3))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["recs.arrow", "recs.lock"]


def test_reading_needs_neither_spark_nor_pandas() -> None:
    code = "import sys, matchlake.serve.online.stores, matchlake.serve.online.postgres; "
    code += "print(*sorted({'pyspark', 'pandas', 'mlflow', 'py4j'} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
