"""Streams of changes: tombstones by key, Debezium's envelopes, and what of them is quarantined."""

import io
import json
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pytest
from fastavro import parse_schema, schemaless_writer
from pydantic import ValidationError
from tests.support.streams import stream_entry

from matchlake.ingest.params import StreamParams
from matchlake.ingest.parse.user_match import NAMES
from matchlake.ingest.streams.messages import read_values
from matchlake.ingest.streams.user_records import record_match

COLUMNS: dict[str, Any] = {
    "id": {"type": "bigint", "comment": "key"},
    "user_id": {"type": "string", "comment": "who"},
    "price": {"type": "decimal(10,2)", "required": False, "comment": "how much", "min": 0},
}
Message = tuple[bytes | None, Any]


def stream(kind: str, **keys: Any) -> StreamParams:
    entry = {"columns": COLUMNS, "event_time": None, "key_columns": ["id"], **keys}
    return StreamParams.model_validate(stream_entry("t", "shop", change_data=kind, **entry))


def read(messages: Sequence[Message], of: StreamParams) -> list[dict[str, Any]]:
    """The rows of messages, given as key and value; a value that is no bytes becomes JSON."""
    end = b"\n" if of.format == "json" else b""
    raw = [v if v is None or isinstance(v, bytes) else json.dumps(v).encode() for _, v in messages]
    values = pa.array([v if v is None else v + end for v in raw], pa.binary())
    keys = pa.array([k if v is None else None for k, v in messages], pa.binary())
    batch = pa.StructArray.from_arrays([values, keys], names=["value", "key"])
    (found,) = read_values([batch], of)
    rows: list[dict[str, Any]] = found.to_pylist()
    for number, message in enumerate(messages if len(messages) > 1 else ()):
        assert read([message], of) == [rows[number]], "a result depends on the others"
    return rows


def told(rows: list[dict[str, Any]]) -> list[Any]:
    """Operation, key, user and price of each valid row, or the error code."""
    return [
        row["_error_code"]
        or (row["_operation"], row["id"], row["user_id"], row["price"] and str(row["price"]))
        for row in rows
    ]


ROW = {"id": 1, "user_id": "u", "price": "12.1"}
KEYS = [
    (b"7", 7),
    (b'{"id": 7}', 7),
    (b'{"schema": {}, "payload": {"id": 7}}', 7),
    (b'{"id": "7"}', "wrong_type"),
    (b"seven", "wrong_type"),
    (b"7.5", "wrong_type"),
    (b'{"other": 7}', "missing_field"),
    (b'{"id": null}', "null_field"),
    (b"{", "wrong_type"),
    (b"[7]", "wrong_type"),
    (b"\xff", "invalid_utf8"),
    (b"", "empty"),
    (None, "tombstone"),
]


@pytest.mark.parametrize("kind", ["tombstones", "debezium"])
def test_a_tombstone_deletes_the_row_of_its_key(kind: str) -> None:
    rows = read([(key, None) for key, _ in KEYS], stream(kind))
    expected = [("delete", at, None, None) if isinstance(at, int) else at for _, at in KEYS]
    assert told(rows) == expected
    assert all(row["_operation"] is None for row in rows if row["_error_code"])
    assert rows[3]["_error_message"].startswith("the key of the tombstone: id: ")


def test_a_text_is_a_key_as_it_is() -> None:
    texts = [b"007", b" a ", b'"q"', b"true", b"1e5", b"null", b"x y"]
    of = stream("tombstones", key_columns=["user_id"])
    assert [row["user_id"] for row in read([(text, None) for text in texts], of)] == [
        *("007", " a ", "q", "true", "1e5", "null", "x y")
    ]
    both = stream("tombstones", key_columns=["id", "user_id"])
    (row, plain) = read([(b'{"id": 1, "user_id": "a"}', None), (b"1", None)], both)
    assert (row["id"], row["user_id"], plain["_error_code"]) == (1, "a", "not_an_object")


def test_tombstones_values_are_rows() -> None:
    messages = [(b"1", ROW), (b"2", None), (b"3", {"id": 3}), (b"x", b"{"), (b"4", ROW | {"id": 4})]
    assert told(read(messages, stream("tombstones"))) == [
        ("upsert", 1, "u", "12.10"),
        ("delete", 2, None, None),
        "missing_field",
        "malformed_json",
        ("upsert", 4, "u", "12.10"),
    ]


def wrapped(payload: Any) -> Any:
    return {"schema": {"type": "struct"}, "payload": payload}


ENVELOPES: list[tuple[Any, Any]] = [
    ({"op": "c", "before": None, "after": ROW, "ts_ms": 5}, ("upsert", 1, "u", "12.10")),
    ({"op": "u", "before": ROW, "after": ROW | {"price": 3}}, ("upsert", 1, "u", "3.00")),
    ({"op": "r", "after": ROW | {"price": None}}, ("upsert", 1, "u", None)),
    ({"op": "d", "before": {"id": 1}, "after": None}, ("delete", 1, None, None)),
    ({"op": "d", "before": ROW | {"price": -1}}, ("delete", 1, None, None)),
    ({"op": "d", "before": None}, "missing_field"),
    ({"op": "d", "before": {"id": None}}, "null_field"),
    ({"op": "c", "after": None}, "missing_field"),
    ({"op": "c", "after": {"id": 1}}, "missing_field"),
    ({"op": "c", "after": ROW | {"user_id": None}}, "null_field"),
    ({"op": "c", "after": ROW | {"price": "12.345"}}, "wrong_type"),
    ({"op": "c", "after": "row"}, "wrong_type"),
    ({"op": "t"}, "not_allowed"),
    ({"op": 1, "after": ROW}, "not_allowed"),
    ({"op": None, "after": ROW}, "missing_field"),
    (ROW, "missing_field"),
]


@pytest.mark.parametrize("wrap", [dict, wrapped])
def test_debezium_envelopes(wrap: Any) -> None:
    rows = read([(b"k", wrap(each)) for each, _ in ENVELOPES], stream("debezium"))
    for (envelope, expected), found in zip(ENVELOPES, told(rows), strict=True):
        assert (envelope, found) == (envelope, expected)
    assert rows[12]["_error_message"] == "op: 't' is not one of c, u, r, d"


def test_debezium_avro() -> None:
    fields = [{"name": "id", "type": "long"}, {"name": "user_id", "type": ["null", "string"]}]
    row = {"type": "record", "name": "row", "fields": fields}
    images = [{"name": "before", "type": ["null", row]}, {"name": "after", "type": ["null", "row"]}]
    schema = {
        "type": "record",
        "name": "envelope",
        "fields": [*images, {"name": "op", "type": "string"}],
    }
    of = stream("debezium", format="avro", format_options={"avro_schema": schema})
    values: list[dict[str, Any]] = [
        {"op": "c", "before": None, "after": {"id": 1, "user_id": "u"}},
        {"op": "d", "before": {"id": 1, "user_id": None}, "after": None},
    ]
    rows = read([*((b"k", _avro(schema, each)) for each in values), (b"5", None)], of)
    assert told(rows) == [
        ("upsert", 1, "u", None),
        ("delete", 1, None, None),
        ("delete", 5, None, None),
    ]


def _avro(schema: dict[str, Any], record: dict[str, Any]) -> bytes:
    raw = io.BytesIO()
    schemaless_writer(raw, parse_schema(dict(schema)), record)
    return raw.getvalue()


def test_a_user_is_found_in_a_quarantined_envelope() -> None:
    match = record_match(stream("debezium"), "u")
    for image in ("before", "after"):
        for wrap in (dict, wrapped):
            assert match(None, json.dumps(wrap({"op": "x", image: ROW})).encode()) == NAMES


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"key_columns": []}, "set both change_data and key_columns"),
        ({"change_data": "none"}, "set both change_data and key_columns"),
        ({"key_columns": ["price"]}, "key_columns price is not a required column"),
        ({"format": "csv"}, "a csv row cannot be an envelope"),
        ({"unknown_fields": "rescue"}, "unknown_fields can only be ignore"),
    ],
)
def test_params_refuse_what_cannot_be(keys: dict[str, Any], message: str) -> None:
    entry = {"columns": COLUMNS, "event_time": None, "key_columns": ["id"]}
    given = stream_entry("t", "shop", **{"change_data": "debezium", **entry, **keys})
    with pytest.raises(ValidationError, match=message):
        StreamParams.model_validate(given)
