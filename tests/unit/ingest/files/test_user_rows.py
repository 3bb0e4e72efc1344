"""Which quarantined rows of lake files name a user, and which mention one."""

from typing import Any

import pytest

from matchlake.ingest.files.params import LakeSource
from matchlake.ingest.files.user_rows import row_match, row_users
from matchlake.ingest.parse.user_match import Match

COLUMNS = {
    "user_id": {"type": "string", "comment": "u"},
    "age": {"type": "int", "comment": "a"},
    "zip": {"type": "string", "comment": "z"},
}


def source(kind: str, **options: Any) -> LakeSource:
    entry = {"path": "p", "format": kind, "table": "b.u", "comment": "c", "keys": ["user_id"]}
    return LakeSource.model_validate({**entry, "columns": COLUMNS, "format_options": options})


@pytest.mark.parametrize(
    ("kind", "text", "expected"),
    [
        ("csv", "42,old,12345", "names"),
        ("csv", "u-9,42,12345", "mentions"),
        ("csv", '"42",old,"1,2"', "names"),
        ("csv", "42,30", "mentions"),
        ("csv", "u-9,142,12345", None),
        ("json", '{"user_id": "42", "age": "old"}', "names"),
        ("json", '{"user_id": "7", "age": 42}', "mentions"),
        ("json", '{"user_id": "42", "age', "names"),
        ("parquet", '{"user_id":"42","age":300}', "names"),
        ("parquet", '{"user_id":"7","age":42}', "mentions"),
    ],
)
def test_row_match_another_users_row_with_the_number_elsewhere_is_no_match(
    kind: str, text: str, expected: Match
) -> None:
    assert row_match(source(kind), "42")(text) == expected


@pytest.mark.parametrize(
    ("kind", "text", "expected"),
    [
        ("csv", "42,old,12345", ["42"]),
        ("csv", "42,30", []),
        ("json", '{"user_id": "42", "age": "old"}', ["42"]),
        ("json", '{"user_id": "42", "age', ["42"]),
        ("parquet", '{"user_id":"42","age":300}', ["42"]),
        ("csv", None, []),
        ("json", "", []),
    ],
)
def test_row_users_are_those_of_the_user_columns(
    kind: str, text: str | None, expected: list[str]
) -> None:
    assert row_users(source(kind))(text) == expected
