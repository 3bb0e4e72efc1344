"""Which quarantined records and rows name a user, which mention one, and in what time."""

import io
import json
from pathlib import Path
from typing import Any

import fastavro
import pytest
from google.protobuf import descriptor_pb2, wrappers_pb2
from tests.support.streams import stream_entry

from matchlake.ingest.files.params import LakeSource
from matchlake.ingest.params import StreamParams
from matchlake.ingest.user_match import Match, record_match, row_match

AVRO = {
    "type": "record",
    "name": "r",
    "fields": [{"name": "user_id", "type": "string"}, {"name": "item_id", "type": "string"}],
}
COLUMNS = {
    "user_id": {"type": "string", "comment": "u"},
    "age": {"type": "int", "comment": "a"},
    "zip": {"type": "string", "comment": "z"},
}


def stream(**changes: object) -> StreamParams:
    return StreamParams.model_validate(stream_entry("t", "s", **changes))


def source(kind: str, **options: Any) -> LakeSource:
    entry = {"path": "p", "format": kind, "table": "b.u", "comment": "c", "keys": ["user_id"]}
    return LakeSource.model_validate({**entry, "columns": COLUMNS, "format_options": options})


def avro(user: str, item: str) -> bytes:
    out = io.BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(AVRO), {"user_id": user, "item_id": item})
    return out.getvalue()


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"user_id": "42", "rating": 99}, "names"),
        ({"user_id": 42, "rating": 99}, "names"),
        ({"user_id": "43", "rating": 42}, "mentions"),
        ({"user_id": "43", "item_id": "liked by 42"}, "mentions"),
        ({"user_id": "43", "item_id": "i420"}, None),
        ({"other": {"user_id": "42"}}, "mentions"),
        ('{"rating": 1, "user_id": "42', "names"),
        ("{'user_id': 42, 'rating'", "names"),
        ('{"rating": 42, "user_id": "43"', "mentions"),
        ("", None),
        ("\ufffd 42", "mentions"),
    ],
)
def test_record_match_json_names_only_by_the_user_field(value: Any, expected: Match) -> None:
    text = value if isinstance(value, str) else json.dumps(value)
    assert record_match(stream(), "42")(None, text.encode()) == expected


def test_record_match_key_names_the_user_only_if_the_stream_has_users() -> None:
    assert record_match(stream(), "42")(b"42", b"{}") == "names"
    assert record_match(stream(user_columns=[]), "42")(b"42", b"{}") == "mentions"
    assert record_match(stream(user_columns=["item_id"]), "i")(None, b'{"item_id": "i"}') == "names"


def test_record_match_csv_by_position_where_the_number_of_fields_is_right() -> None:
    match = record_match(stream(format="csv"), "42")
    assert match(None, b"42,i1,99,2024-01-01") == "names"
    assert match(None, b"7,i1,42,2024-01-01") == "mentions", "a rating of 42"
    assert match(None, b"42,i1") == "mentions", "a torn row has no positions"
    assert match(None, b"7,i1,1,2024-01-01") is None


def test_record_match_avro_by_the_field_and_torn_values_by_the_text() -> None:
    match = record_match(stream(format="avro", format_options={"avro_schema": AVRO}), "Zoë")
    assert match(None, avro("Zoë", "i")) == "names"
    assert match(None, avro("u", "Zoë")) == "mentions"
    assert match(None, avro("Zoë", "i")[:-1]) == "mentions"
    assert match(None, avro("Zoëx", "i")) is None


@pytest.mark.parametrize("user", ["Zoë", "u" * 70, "u" * 300])
def test_record_match_torn_binary_values_hold_a_text_after_its_length(
    user: str, tmp_path: Path
) -> None:
    proto = descriptor_pb2.FileDescriptorSet()
    wrappers_pb2.DESCRIPTOR.CopyToProto(proto.file.add())
    (tmp_path / "d").write_bytes(proto.SerializeToString())
    options = {"descriptors": str(tmp_path / "d"), "message": "google.protobuf.StringValue"}
    match = record_match(stream(format="protobuf", format_options=options), user)
    written = wrappers_pb2.StringValue(value=user).SerializeToString()
    assert match(None, b"\x30" + written) == "mentions"
    assert match(None, wrappers_pb2.StringValue(value=f"{user}x").SerializeToString()) is None


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


@pytest.mark.parametrize("kind", ["json", "csv"])
def test_record_match_long_texts_end(kind: str) -> None:
    """A search that looks again from each place would take hours for one of these texts."""
    match = record_match(stream(format=kind), "42x")
    for piece in (b"\t", b" ", b",", b'"', b"42", b'"user_id" ', b'"user_id":"', b"4"):
        match(None, piece * (500_000 // len(piece)))
