"""Limits on one value: no value ends the process that decodes it, or fills its memory."""

import io
import json
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import fastavro
import fastavro.utils
import pytest
from tests.support.avro_bombs import BOMBS, NODE, NULLS, USER, chain, long, of
from tests.support.parsing import parsed
from tests.support.protobuf_nodes import node_class, node_options
from tests.support.registry import schema_registry
from tests.support.sources import ROOT
from tests.support.streams import stream_entry

from matchlake.ingest.params import StreamParams
from matchlake.ingest.parse.avro_limits import AvroLimits
from matchlake.ingest.parse.limits import Limits

COLUMNS = {"user_id": {"type": "string", "comment": "user"}}


def stream(**changes: Any) -> StreamParams:
    entry = stream_entry("t", "s", columns=COLUMNS, event_time=None, **changes)
    return StreamParams.model_validate(entry)


def avro_stream(schema: dict[str, Any], **limits: int) -> StreamParams:
    return stream(format="avro", format_options={"avro_schema": schema}, limits=limits)


def codes(values: list[bytes], one: StreamParams) -> list[str | None]:
    return [row["_error_code"] for row in parsed(values, one)]


def test_avro_bombs_are_rejected_and_the_process_lives() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.avro_bombs"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (6 * 2**30, 6 * 2**30)),
    )
    assert done.returncode == 0, f"ended with {done.returncode}: {done.stderr[-500:]}"
    assert json.loads(done.stdout) == {name: code for name, (_, _, code) in BOMBS.items()}


def test_avro_recursive_schema_is_read_up_to_the_limit() -> None:
    one = avro_stream(NODE, max_depth=7)
    assert codes([chain(1), chain(7), chain(8)], one) == [None, None, "nested_too_deep"]
    message = parsed([chain(8)], one)[0]["_error_message"]
    assert message == "nested deeper than limits.max_depth, 7"


def test_avro_items_are_counted_exactly() -> None:
    numbers = of({"type": "array", "items": "long"})
    value = USER + long(6) + b"\2" * 6 + b"\0"
    assert codes([value], avro_stream(numbers, max_items=9)) == [None], "record, 2 fields, 6 items"
    assert codes([value], avro_stream(numbers, max_items=8)) == ["too_many_items"]
    texts = of({"type": "map", "values": ["null", "string"]})
    value = USER + long(-2) + long(8) + b"\2a\0\2b\2\2x" + b"\0"
    assert codes([value], avro_stream(texts, max_items=5)) == [None]
    assert codes([value], avro_stream(texts, max_items=4)) == ["too_many_items"]


def test_avro_block_of_nulls_may_be_as_large_as_the_value() -> None:
    few, many = USER + long(5) + b"\0", USER + long(6) + b"\0"
    assert codes([few[:2] + long(4) + b"\0", many], avro_stream(of(NULLS))) == [
        None,
        "too_many_items",
    ]


def test_avro_walk_moves_over_every_type_as_fastavro_does() -> None:
    kinds: list[Any] = [
        *("null", "boolean", "int", "long", "float", "double", "bytes", "string"),
        {"type": "enum", "name": "E", "symbols": ["a", "b"]},
        {"type": "fixed", "name": "F", "size": 3},
        {"type": "bytes", "logicalType": "decimal", "precision": 5},
        {"type": "long", "logicalType": "timestamp-millis"},
        ["null", "string", {"type": "array", "items": "int"}],
        {"type": "map", "values": {"type": "array", "items": ["null", "double"]}},
        {"type": "record", "name": "R", "fields": [{"name": "x", "type": ["null", "Event"]}]},
    ]
    named = [{"name": f"f{at}", "type": kind} for at, kind in enumerate(kinds)]
    fields = [{"name": "user_id", "type": "string"}, *named, {"name": "end", "type": "string"}]
    schema = fastavro.parse_schema({"type": "record", "name": "Event", "fields": fields})
    walk = AvroLimits(schema, Limits())
    for made in fastavro.utils.generate_many(schema, 50):
        value = written(schema, made)
        assert walk.rejection_of(value) is None
        short = walk.rejection_of(value[:-1])
        assert short
        assert short.code == "malformed_avro"


def written(schema: Any, record: Any) -> bytes:
    out = io.BytesIO()
    fastavro.schemaless_writer(out, schema, record)
    return out.getvalue()


def test_avro_ordinary_values_are_not_walked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("matchlake.ingest.parse.avro_limits._Walk", None)
    one = avro_stream(of({"type": "array", "items": ["null", "string"]}))
    assert codes([USER + long(1000) + b"\2\2x" * 1000 + b"\0"], one) == [None]


def test_avro_schemas_of_a_registry_are_limited_too() -> None:
    deep: Any = "string"
    for _ in range(300):
        deep = {"type": "array", "items": deep}
    trusted = {"__fastavro_parsed": True, "type": "record", "name": "A", "fields": []}
    framed = [b"\0\0\0\0" + bytes([at]) for at in range(4)]
    with schema_registry({0: NODE, 1: of(NULLS), 2: of(deep), 3: trusted}, []) as address:
        one = stream(format="confluent_avro", format_options={"registry": address})
        rows = parsed(
            [
                framed[0] + chain(3),
                framed[0] + chain(100_000),
                framed[1] + USER + long(2**40) + b"\0",
                framed[2] + USER,
                framed[3],
            ],
            one,
        )
    assert [row["_error_code"] for row in rows] == [
        None,
        "nested_too_deep",
        "too_many_items",
        "unknown_schema",
        "unknown_schema",
    ]
    assert rows[3]["_error_message"] == "schema 2 is nested deeper than 200"


def test_protobuf_refuses_deep_messages_and_many_items(tmp_path: Path) -> None:
    options = node_options(tmp_path)
    one = stream(format="protobuf", format_options=options, limits={"max_items": 1000})
    user = node_class()(user_id="u").SerializeToString()
    nested, deep = user, b""
    for _ in range(50):
        nested = user + b"\x12" + _varint(len(nested)) + nested
    for _ in range(2000):
        deep = b"\x12" + _varint(len(deep)) + deep
    many = user + b"\x1a\0" * 1000
    values = [nested, user + deep, many]
    assert codes(values, one) == [None, "malformed_protobuf", "too_many_items"]


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes([*out, number])


@pytest.mark.parametrize("unknown_fields", ["ignore", "rescue"])
def test_json_of_any_depth_and_length_has_a_row(unknown_fields: str) -> None:
    deep, ends = b'{"user_id":"u","x":' + b"[" * 500_000, b"]" * 500_000 + b"}"
    long_number = b'{"user_id":"u","x":' + b"9" * 900_000 + b"}"
    keys = json.dumps({"user_id": "u"} | {f"k{n}": n for n in range(90_000)}).encode()
    one = stream(unknown_fields=unknown_fields)
    values = [deep, deep + ends, b"[" * 500_000, long_number, keys, b'{"user_id":"u"}']
    found = codes(values, one)
    assert found[0] == found[2] == "malformed_json"
    assert found[3:] == [None, None, None]
