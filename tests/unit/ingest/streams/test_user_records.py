"""Which quarantined records name a user, which mention one, and in what time."""

import io
import json
from pathlib import Path
from typing import Any

import fastavro
import pytest
from google.protobuf import descriptor_pb2, wrappers_pb2
from tests.support.streams import stream_entry

from matchlake.ingest.params import StreamParams
from matchlake.ingest.parse.user_match import Match
from matchlake.ingest.streams.user_records import record_match, record_users

AVRO = {
    "type": "record",
    "name": "r",
    "fields": [{"name": "user_id", "type": "string"}, {"name": "item_id", "type": "string"}],
}


def stream(**changes: object) -> StreamParams:
    return StreamParams.model_validate(stream_entry("t", "s", **changes))


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


@pytest.mark.parametrize("kind", ["json", "csv"])
def test_record_match_long_texts_end(kind: str) -> None:
    """A search that looks again from each place would take hours for one of these texts."""
    match = record_match(stream(format=kind), "42x")
    for piece in (b"\t", b" ", b",", b'"', b"42", b'"user_id" ', b'"user_id":"', b"4"):
        match(None, piece * (500_000 // len(piece)))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"user_id": "42", "rating": 99}', ["42"]),
        ('{"user_id": 42}', ["42"]),
        ('{"rating": 42}', []),
        ('{"rating": 1, "user_id": "42', ["42"]),
        ("{'user_id': 42, 'rating'", ["42"]),
        ('{"user_id": "Zo\\u00eb \\"x\\"", "rating', ['Zoë "x"']),
        ('{"user_id": , "rating', []),
        ("", []),
    ],
)
def test_record_users_are_those_of_the_user_fields(text: str, expected: list[str]) -> None:
    assert record_users(stream())(None, text.encode()) == expected


def test_record_users_of_keys_of_other_formats_and_of_values_that_must_not_be_decoded() -> None:
    users = record_users(stream())
    assert users(b"7", b'{"user_id": "42"}') == ["7", "42"]
    assert users(None, None) == []
    assert record_users(stream(user_columns=[]))(b"7", b'{"user_id": "42"}') == []
    assert record_users(stream(format="csv"))(None, b"42,i1,99,2024-01-01") == ["42"]
    of_avro = record_users(stream(format="avro", format_options={"avro_schema": AVRO}))
    assert of_avro(None, avro("Zoë", "i")) == ["Zoë"]
    assert of_avro(None, avro("Zoë", "i"), "kills_reader") == []


def test_record_users_of_long_texts_end() -> None:
    users = record_users(stream())
    for piece in (b" ", b'"', b'"user_id" ', b'"user_id":"', b"user_id:", b"'user_id'='", b"\\"):
        users(None, b"{" + piece * (500_000 // len(piece)))
