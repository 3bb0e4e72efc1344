"""The online store in a real PostgreSQL: swaps under readers, kills, a server that goes away."""

import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pyarrow as pa
import pytest
from pydantic import ValidationError
from tests.support.postgres import PASSWORD, Server, running_postgres

from matchlake.dev.sandbox.cloud.certificates import make_certificates
from matchlake.errors import InputError, SchemaError, SourceError, TableError
from matchlake.io.secrets import Secret
from matchlake.serve.online.params import PostgresParams
from matchlake.serve.online.postgres import PostgresStore
from matchlake.serve.online.postgres_types import postgres_type
from matchlake.serve.online.tables import OnlineColumn, Published

KEYS = ("user_id", "rank")
LISTS = (OnlineColumn("user_id", "string"), OnlineColumn("rank", "int"))


class TextRows:
    """Rows as the job gives them for a copy as text."""

    def __init__(
        self,
        table: pa.Table,
        columns: tuple[OnlineColumn, ...],
        meanwhile: Callable[[], None] = lambda: None,
    ) -> None:
        self.table, self.columns, self.meanwhile = table, columns, meanwhile

    def text_batches(self) -> Iterator[pa.RecordBatch]:
        first, *others = self.table.to_batches(max_chunksize=max(1, len(self.table) // 2)) or [None]
        yield from [first] if first is not None else []
        self.meanwhile()
        yield from others

    def sorted_batches(self) -> Iterator[pa.RecordBatch]:
        return iter(())


def about(version: int, keys: tuple[str, ...] = KEYS) -> Published:
    return Published("gold.recommendations", version, "2024-05-01T10:00:00+00:00", keys)


def lists(users: int, version: int, **more: Any) -> TextRows:
    ids = [f"u{user}" for user in range(users) for _ in (1, 2)]
    table = pa.table(
        {
            "user_id": ids,
            "rank": pa.array([1, 2] * users, pa.int32()),
            "version": pa.array([version] * len(ids), pa.int64()),
        }
    )
    return TextRows(table, (*LISTS, OnlineColumn("version", "bigint")), **more)


def publish(store: PostgresStore, rows: TextRows, published: Published, name: str = "recs") -> int:
    with store.locked(name) as tables:
        return tables.publish(name, rows, published)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with running_postgres() as started:
        yield started


@pytest.fixture
def store(server: Server, request: pytest.FixtureRequest) -> PostgresStore:
    """A store with a schema of the test's own."""
    return server.store(schema_name=f"t{abs(hash(request.node.name)) % 10**9}")


def version(store: PostgresStore) -> Published:
    with closing(store.open("recs")) as table:
        return table.published


def left_over(server: Server, store: PostgresStore) -> list[str]:
    with server.connect() as connection:
        rows = connection.execute(
            "SELECT tablename FROM pg_tables WHERE schemaname = %s ORDER BY 1",
            [store.params.schema_name],
        ).fetchall()
    return [row[0] for row in rows]


def test_a_lookup_gives_the_rows_of_a_key_or_of_its_first_columns(store: PostgresStore) -> None:
    assert publish(store, lists(50, 1), about(1)) == 100
    with closing(store.open("recs")) as table:
        assert [row["rank"] for row in table.rows("u7")] == [1, 2]
        assert table.rows("u7", 2) == [{"user_id": "u7", "rank": 2, "version": 1}]
        assert table.rows("nobody") == []
        assert table.published == about(1)
        with pytest.raises(InputError, match="another type than its column"):
            table.rows("u7", [1])
        with pytest.raises(InputError, match="1 to 2 value"):
            table.rows()


def test_texts_numbers_and_nulls_arrive_as_they_are(store: PostgresStore) -> None:
    texts = ["", None, "\\.", "a\n\\.\nb", '"', "\\N", ",;\t", "日本\u2028", "NULL", "' OR 1=1 --"]
    floats = [float("nan"), float("inf"), float("-inf"), 0.1, -0.0, 1e308, None, 5e-324, 2.0, 1.5]
    table = pa.table({"id": pa.array(range(10), pa.int64()), "t": texts, "f": floats})
    columns = (OnlineColumn("id", "bigint"), OnlineColumn("t", "string"))
    publish(store, TextRows(table, (*columns, OnlineColumn("f", "double"))), about(1, ("id",)))
    online = store.open("recs")
    for row in table.to_pylist():
        (found,) = online.rows(row["id"])
        assert (found["t"], repr(found["f"])) == (row["t"], repr(row["f"]))
    online.close()


def test_every_spark_type_has_a_type_or_is_refused_by_name() -> None:
    assert postgres_type("p", "decimal(38,18)") == "numeric(38, 18)"
    assert postgres_type("p", "array<struct<a:int>>") == "jsonb"
    assert postgres_type("p", "varchar(12)") == "text"
    with pytest.raises(SchemaError, match="Column p has the type interval day to second"):
        postgres_type("p", "interval day to second")


def test_null_and_repeated_keys_are_refused_with_their_numbers(
    server: Server, store: PostgresStore
) -> None:
    publish(store, lists(5, 1), about(1))
    for ids, match in (
        (["a", "a", "a", "b", "b"], r"0 row\(s\) have a null .* 3 row\(s\) repeat"),
        (["a", None, None, "b", "c"], r"2 row\(s\) have a null .* 0 row\(s\) repeat"),
    ):
        table = pa.table({"user_id": ids, "rank": pa.array([1] * 5, pa.int32())})
        with pytest.raises(InputError, match=match):
            publish(store, TextRows(table, LISTS), about(2))
    assert version(store) == about(1)
    with pytest.raises(InputError, match="is not published: it is empty"):
        publish(store, lists(0, 3), about(3))
    publish(store, lists(5, 4), about(4))
    assert left_over(server, store) == ["recs"]


def test_a_text_that_postgresql_cannot_hold_is_refused_without_its_value(
    store: PostgresStore,
) -> None:
    table = pa.table({"user_id": ["a", "secret\x00text"], "rank": pa.array([1, 2], pa.int32())})
    with pytest.raises(InputError, match="character with code 0") as error:
        publish(store, TextRows(table, LISTS), about(1))
    assert "secret" not in str(error.value)


def test_readers_see_one_version_each_during_swaps(store: PostgresStore) -> None:
    publish(store, lists(20, 0), about(0))
    stop, problems, reads = threading.Event(), [], [0]

    def read() -> None:
        with closing(store.open("recs")) as table:
            while not stop.is_set():
                rows = table.rows("u3")
                versions = {row["version"] for row in rows}
                if len(rows) != 2 or len(versions) != 1:
                    problems.append(rows)
                reads[0] += 1
            table.close()

        readers = [threading.Thread(target=read) for _ in range(3)]
        for reader in readers:
            reader.start()
        for version in range(1, 51):
            publish(store, lists(20, version), about(version))
        stop.set()
        for reader in readers:
            reader.join()
        assert problems == []
        assert reads[0] > 50
        table = store.open("recs")
        assert {row["version"] for row in table.rows("u3")} == {50}


def test_a_transaction_that_began_before_never_sees_an_empty_table(
    server: Server, store: PostgresStore
) -> None:
    publish(store, lists(3, 1), about(1))
    count = f"SELECT count(*) FROM {store.params.schema_name}.recs"
    with server.connect() as reader:
        reader.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        reader.execute("SELECT 1")  # the snapshot is from here on
        publish(store, lists(4, 2), about(2))
        row = reader.execute(count).fetchone()
        assert row is not None
        assert row[0] == 8
        reader.execute("COMMIT")


def test_the_columns_change_under_a_reader(store: PostgresStore) -> None:
    publish(store, lists(3, 1), about(1))
    with closing(store.open("recs")) as table:
        assert all(table.rows("u1")[0]["version"] == 1 for _ in range(10))
        wider = pa.table({"user_id": ["u1"], "rank": pa.array([1], pa.int32()), "new": ["x"]})
        publish(store, TextRows(wider, (*LISTS, OnlineColumn("new", "string"))), about(2))
        assert table.rows("u1") == [{"user_id": "u1", "rank": 1, "new": "x"}]


def test_a_long_reader_delays_a_swap_and_a_view_forbids_it(
    server: Server, store: PostgresStore
) -> None:
    publish(store, lists(3, 1), about(1))
    name = f"{store.params.schema_name}.recs"
    quick = server.store(schema_name=store.params.schema_name, timeout_seconds=0.1)
    with server.connect() as reader:
        reader.execute("BEGIN")
        reader.execute(f"SELECT * FROM {name} LIMIT 1")
        with pytest.raises(TableError, match="readers have locked it for more"):
            publish(quick, lists(3, 2), about(2))
        reader.execute("COMMIT")
        publish(quick, lists(3, 3), about(3))
        reader.execute(f"CREATE VIEW {store.params.schema_name}.v AS SELECT * FROM {name}")
    with pytest.raises(TableError, match="a view or another object depends"):
        publish(quick, lists(3, 4), about(4))
    assert version(store) == about(3)


def test_roles_that_conf_names_may_read(server: Server, store: PostgresStore) -> None:
    with server.connect() as connection:
        connection.execute("CREATE ROLE shop")
    params = store.params.model_copy(update={"readers": ("shop",)})
    publish(PostgresStore(params, PASSWORD), lists(3, 1), about(1))
    publish(PostgresStore(params, PASSWORD), lists(3, 2), about(2))
    with server.connect() as connection:
        connection.execute("SET ROLE shop")
        connection.execute(f"SELECT * FROM {params.schema_name}.recs")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute(f"DELETE FROM {params.schema_name}.recs")


def test_two_runs_cannot_write_one_table(store: PostgresStore) -> None:
    with store.locked("recs"), pytest.raises(TableError, match="Another run is writing"):
        publish(store, lists(3, 1), about(1))


def test_erasing_a_user_leaves_the_other_rows(store: PostgresStore) -> None:
    publish(store, lists(3, 1), about(1))
    assert store.count("recs", ["user_id", "related_user_id"], "u1") == 2
    with store.locked("recs") as tables:
        assert tables.erase("recs", ["user_id"], "u1") == 2
        assert tables.erase("none", ["user_id"], "u1") == 0
    assert store.count("recs", ["user_id"], "u1") == store.count("none", ["user_id"], "u1") == 0
    with closing(store.open("recs")) as table:
        assert (table.rows("u1"), len(table.rows("u2"))) == ([], 2)


def test_a_killed_run_leaves_the_old_rows_and_the_next_one_removes_what_is_left(
    server: Server, store: PostgresStore
) -> None:
    publish(store, lists(3, 1), about(1))
    killed = os.fork()
    if not killed:
        publish(store, lists(3, 2, meanwhile=lambda: os.kill(os.getpid(), 9)), about(2))
    assert os.waitstatus_to_exitcode(os.waitpid(killed, 0)[1]) == -signal.SIGKILL
    assert version(store) == about(1)
    with server.connect() as connection:  # as a kill after the copy leaves it
        connection.execute(f"CREATE TABLE {store.params.schema_name}.recs__new (a int)")
        connection.execute(f"CREATE TABLE {store.params.schema_name}.recs__old (a int)")
    deadline = time.monotonic() + 20
    while True:  # the server frees the lock of a killed run when it notices
        try:
            publish(store, lists(3, 3), about(3))
            break
        except TableError:
            assert time.monotonic() < deadline
            time.sleep(0.1)
    assert left_over(server, store) == ["recs"]


def test_a_wrong_password_and_an_absent_server_are_told_without_a_secret(
    store: PostgresStore, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    wrong = PostgresStore(store.params, Secret("wrong-password-4711"))
    with pytest.raises(SourceError, match="password authentication failed") as refused:
        publish(wrong, lists(3, 1), about(1))
    nowhere = PostgresStore(store.params.model_copy(update={"port": 9}), PASSWORD)
    with pytest.raises(SourceError, match="cannot be used") as absent:
        version(nowhere)
    told = f"{refused.value}{absent.value}{wrong!r}{nowhere!r}{caplog.text}"
    assert "4711" not in told
    assert PASSWORD.reveal() not in told


def test_a_server_that_goes_away_keeps_the_old_rows_and_readers_connect_again() -> None:
    with running_postgres() as server:
        store = server.store()
        publish(store, lists(3, 1), about(1))
        table = store.open("recs")
        assert table.rows("u1")
        with pytest.raises(SourceError, match="keeps its rows"):
            publish(store, lists(3, 2, meanwhile=lambda: server.stop(signal.SIGQUIT)), about(2))
        with pytest.raises(SourceError, match="cannot be used"):
            table.rows("u1")
        server.start()
        assert table.rows("u1")[0]["version"] == 1
        publish(store, lists(3, 3), about(3))
        assert table.rows("u1")[0]["version"] == 3
        assert left_over(server, store) == ["recs"]
        table.close()


def test_a_server_without_tls_is_refused_unless_conf_says_otherwise(store: PostgresStore) -> None:
    with pytest.raises(SourceError, match="does not support SSL"):
        version(PostgresStore(store.params.model_copy(update={"tls": "verify-full"}), PASSWORD))
    away = store.params.model_dump() | {"host": "db.example.com"}
    with pytest.raises(ValidationError, match="for a server on this machine only"):
        PostgresParams.model_validate(away)


@pytest.mark.soak
def test_the_certificate_of_a_server_is_checked(tmp_path: Path) -> None:
    for name in ("own", "others"):
        (tmp_path / name).mkdir()
        make_certificates(tmp_path / name)
    with running_postgres(with_tls=True) as server:
        server.stop()
        server.start(*server.certified(tmp_path / "own" / "server.pem"))
        safe = server.store(tls="verify-full", ca_file=str(tmp_path / "own" / "ca.pem"))
        publish(safe, lists(3, 1), about(1))
        assert version(safe) == about(1)
        others = server.store(tls="verify-full", ca_file=str(tmp_path / "others" / "ca.pem"))
        with pytest.raises(SourceError, match="certificate verify failed"):
            version(others)
