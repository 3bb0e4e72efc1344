"""The id of a user is found in files of any form, and no other id is taken for it."""

import gzip
import io

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from matchlake.lakehouse.file_search import IdSearch

LONG, SHORT = "member-4711", "42"
COLUMNS = ("customer_id", "user_id")


def parquet(**columns: list[object]) -> bytes:
    file = io.BytesIO()
    pq.write_table(pa.table(columns), file)
    return file.getvalue()


WITH_LONG = {
    "word in a text": b"a note about member-4711, who called",
    "csv": b"id;name\nmember-4711;Zoe\n",
    "json": b'{"person": {"key": "member-4711"}}\n',
    "base64": b"bWVtYmVyLTQ3MTEgaXMgaGVyZQ==",
    "gzip": gzip.compress(b"x,member-4711\n"),
    "parquet": parquet(note=["of member-4711"]),
    "utf-16": "name;member-4711;x".encode("utf-16"),
}
WITH_SHORT = {
    "csv": b"name,customer_id\nZoe,42\n",
    "csv with quotes": b'"customer_id";"age"\n"42";"7"\n',
    "json number": b'{"age": 7, "user_id": 42}',
    "json text": b'{"user_id": "42"}\n',
    "parquet number": parquet(customer_id=[7, 42]),
    "parquet double": parquet(customer_id=[7.0, 42.0, None]),
    "gzip": gzip.compress(b"user_id\n42\n"),
}
WITHOUT = {
    "longer id": b"member-47112 and xmember-4711 and member-4711-b",
    "csv": b"customer_id,age\n7,42\n421,8\n",
    "json": b'{"user_id": 421, "age": 42, "other_user_id": "42"}',
    "parquet": parquet(customer_id=[421], age=[42]),
    "short id in a text": b"42 people",
    "nothing": b"",
}


@pytest.mark.parametrize("raw", WITH_LONG.values(), ids=WITH_LONG)
def test_long_id_is_found_anywhere(raw: bytes) -> None:
    assert IdSearch(LONG, COLUMNS).result(raw) == "found"


@pytest.mark.parametrize("raw", WITH_SHORT.values(), ids=WITH_SHORT)
def test_short_id_is_found_in_named_fields(raw: bytes) -> None:
    assert IdSearch(SHORT, COLUMNS).result(raw) == "found"


@pytest.mark.parametrize("raw", WITHOUT.values(), ids=WITHOUT)
@pytest.mark.parametrize("user", [LONG, SHORT])
def test_other_ids_and_other_fields_are_not_found(user: str, raw: bytes) -> None:
    assert IdSearch(user, COLUMNS).result(raw) is None


def test_id_with_accents_is_found_in_windows_files() -> None:
    assert IdSearch("Zoë-77", COLUMNS).result("name;Zoë-77".encode("cp1252")) == "found"


def test_container_that_breaks_off_is_reported() -> None:
    broken = gzip.compress(b"x" * 10_000)[:-12]
    assert IdSearch(LONG, COLUMNS).result(broken) == "unread"


def test_search_does_not_print_the_id() -> None:
    assert LONG not in repr(IdSearch(LONG, COLUMNS))
