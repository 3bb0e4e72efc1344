"""Values that are no JSON: each gives exactly one row, valid or with its reason."""

import datetime as dt
import io
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fastavro
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, timestamp_pb2
from tests.support.parsing import parsed
from tests.support.registry import schema_registry
from tests.support.streams import COLUMNS, stream_entry

from matchlake.errors import ConfigError, SourceError
from matchlake.ingest.params import StreamParams
from matchlake.ingest.parse.formats import FORMATS

WHEN = dt.datetime(2024, 5, 1, 10, tzinfo=dt.UTC)
ROW = ("u", "i", 4.5, WHEN)
AVRO: dict[str, Any] = {
    "type": "record",
    "name": "Rating",
    "fields": [
        {"name": "user_id", "type": ["null", "string", "long"]},
        {"name": "item_id", "type": "string"},
        {"name": "rating", "type": ["double", "null", "string"]},
        {"name": "event_time", "type": {"type": "long", "logicalType": "timestamp-millis"}},
    ],
}
WIDER = {**AVRO, "fields": [*AVRO["fields"], {"name": "device", "type": "string"}]}
REFERRING = {**AVRO, "fields": [{"name": "device", "type": "shop.Device"}]}
VALID = {"user_id": "u", "item_id": "i", "rating": 4.5, "event_time": WHEN}


def stream(**changes: Any) -> StreamParams:
    return StreamParams.model_validate(stream_entry("t", "s", **changes))


def avro(record: dict[str, Any], schema: Any = AVRO) -> bytes:
    out = io.BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(schema), record)
    return out.getvalue()


def framed(number: int, datum: bytes) -> bytes:
    return b"\0" + number.to_bytes(4, "big") + datum


def typed(rows: list[dict[str, Any]]) -> list[Any]:
    """What became of each: its reason, or its columns."""
    return [row["_error_code"] or tuple(row[name] for name in COLUMNS) for row in rows]


def noise(valid: bytes, count: int = 2000) -> list[bytes]:
    """Random bytes, and the valid value with some of its bytes changed, left out or repeated."""
    draw = random.Random(7)  # noqa: S311 - the same noise in each run
    values = []
    for _ in range(count // 2):
        values.append(draw.randbytes(draw.randrange(1, 60)))
        changed = bytearray(valid)
        for _ in range(draw.randrange(1, 4)):
            at = draw.randrange(len(changed))
            changed[at : at + draw.randrange(3)] = draw.randbytes(draw.randrange(3))
        values.append(bytes(changed))
    return values


def isolated(one: StreamParams, valid: bytes) -> None:
    """Among noise every value meets the fate that it meets alone."""
    values = [value for bad in noise(valid) for value in (valid, bad)]
    rows = typed(parsed(values, one))
    assert rows[::2] == [ROW] * (len(values) // 2)
    assert rows[1:200:2] == [typed(parsed([value], one))[0] for value in values[1:200:2]]


def test_csv_values() -> None:
    one = stream(format="csv")
    cases = {
        b"u,i,4.5,2024-05-01T10:00:00Z": ROW,
        b'"u",i,4.5,2024-05-01 10:00:00\r\n': ROW,
        b'"a ""b"", c\nd",i,1,2024-05-01T12:00:00+02:00': ('a "b", c\nd', "i", 1.0, WHEN),
        b"u,i,4.5": "malformed_row",
        b"u,i,4.5,2024-05-01T10:00:00Z\nu,i,4.5,2024-05-01T10:00:00Z": "malformed_row",
        b'"u,i,4.5,2024-05-01T10:00:00Z': "malformed_row",
        b",i,4.5,2024-05-01T10:00:00Z": "null_field",
        b"u,i,much,2024-05-01T10:00:00Z": "wrong_type",
        b"u,i,9,2024-05-01T10:00:00Z": "out_of_range",
        b"u\xff,i,4.5,2024-05-01T10:00:00Z": "invalid_utf8",
        b" ": "empty",
        b"": "empty",
    }
    assert typed(parsed(list(cases), one)) == list(cases.values())
    assert typed(parsed([None], one)) == ["tombstone"]
    other = stream(format="csv", format_options={"separator": ";", "quote": "'"})
    assert typed(parsed([b"'u';i;4.5;2024-05-01T10:00:00Z"], other)) == [ROW]
    isolated(one, next(iter(cases)))


def test_avro_values_of_a_known_schema() -> None:
    one = stream(format="avro", format_options={"avro_schema": AVRO})
    valid = avro(VALID)
    cases = [
        (valid, ROW),
        (avro(VALID | {"user_id": 17}), ("17", *ROW[1:])),
        (avro(VALID | {"user_id": None}), "null_field"),
        (avro(VALID | {"rating": "4.5"}), "wrong_type"),
        (avro(VALID | {"rating": 7.5}), "out_of_range"),
        (valid[:-1], "malformed_avro"),
        (valid + valid, "malformed_avro"),
        (b"{}", "malformed_avro"),
        (b"", "empty"),
        (None, "tombstone"),
    ]
    assert typed(parsed([value for value, _ in cases], one)) == [fate for _, fate in cases]
    isolated(one, valid)


@pytest.fixture
def registry() -> Iterator[tuple[str, list[str]]]:
    asked: list[str] = []
    with schema_registry({1: AVRO, 258: WIDER, 7: REFERRING}, asked) as address:
        yield address, asked


def test_confluent_values_find_their_schema_and_keep_undeclared_fields(
    registry: tuple[str, list[str]],
) -> None:
    address, asked = registry
    old, new = framed(1, avro(VALID)), framed(258, avro(VALID | {"device": "tv"}, WIDER))
    values = [
        old,
        new,
        old,
        new,
        framed(9, avro(VALID)),
        b"\0\0\0",
        avro(VALID),
        framed(1, b"\xff"),
    ]
    told = {"format": "confluent_avro", "format_options": {"registry": address + "/"}}
    fates = [ROW] * 4 + ["unknown_schema", "malformed_avro", "malformed_avro", "malformed_avro"]
    assert typed(parsed(values, stream(**told))) == fates
    versions = [row["schema_version"] for row in parsed(values, stream(**told))]
    assert versions == [1, 258, 1, 258, 9, None, None, 1]
    del asked[3:]
    assert asked == ["/schemas/ids/1", "/schemas/ids/258", "/schemas/ids/9"], "each once"

    rescued = parsed(values, stream(**told, unknown_fields="rescue"))
    assert typed(rescued) == fates
    assert [row["_rescued_data"] for row in rescued[:4]] == [None, '{"device": "tv"}'] * 2
    fates[1] = fates[3] = "unknown_field"
    assert typed(parsed(values, stream(**told, unknown_fields="quarantine"))) == fates
    isolated(stream(**told), old)
    (row,) = parsed([framed(7, avro(VALID))], stream(**told))
    assert row["_error_code"] == "unknown_schema"
    assert row["_error_message"] == "schema 7 cannot be read by itself: UnknownType: shop.Device"


def test_a_registry_that_does_not_answer_fails_the_batch_and_refuses_no_record() -> None:
    with schema_registry({}, []) as address:
        pass
    one = stream(format="confluent_avro", format_options={"registry": address})
    with pytest.raises(SourceError, match=r"schemas/ids/1 gave no usable response"):
        parsed([framed(1, avro(VALID))], one)


def rating_file() -> descriptor_pb2.FileDescriptorSet:
    """What protoc makes of a message with a nested one, an enumeration and a timestamp."""
    kinds = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="rating.proto", package="shop", syntax="proto3")
    file.dependency.append("google/protobuf/timestamp.proto")
    user = file.message_type.add(name="User")
    user.field.add(name="id", number=1, type=kinds.TYPE_STRING, label=kinds.LABEL_OPTIONAL)
    rating = file.message_type.add(name="Rating")
    fields = {"user": (kinds.TYPE_MESSAGE, ".shop.User"), "item_id": (kinds.TYPE_UINT64, None)}
    fields |= {"rating": (kinds.TYPE_DOUBLE, None)}
    fields |= {"event_time": (kinds.TYPE_MESSAGE, ".google.protobuf.Timestamp")}
    for number, (name, (kind, of)) in enumerate(fields.items(), 1):
        rating.field.add(
            name=name, number=number, type=kind, type_name=of, label=kinds.LABEL_OPTIONAL
        )
    time = descriptor_pb2.FileDescriptorProto()
    timestamp_pb2.DESCRIPTOR.CopyToProto(time)
    return descriptor_pb2.FileDescriptorSet(file=[time, file])


def test_protobuf_values(tmp_path: Path) -> None:
    described = rating_file()
    (tmp_path / "rating.desc").write_bytes(described.SerializeToString())
    pool = descriptor_pool.DescriptorPool()
    for file in described.file:
        pool.Add(file)
    made = message_factory.GetMessageClass(pool.FindMessageTypeByName("shop.Rating"))

    def rating(**changes: Any) -> bytes:
        fields = {"user": {"id": "u"}, "item_id": 8, "rating": 4.5, "event_time": WHEN}
        message = made(**{k: v for k, v in (fields | changes).items() if v is not None})
        return bytes(message.SerializeToString())

    options = {"descriptors": str(tmp_path / "rating.desc"), "message": "shop.Rating"}
    columns = COLUMNS | {"user_id": COLUMNS["user_id"] | {"path": "user.id"}}
    told = {"format": "protobuf", "format_options": options, "columns": columns}
    row = ("u", "8", 4.5, WHEN)
    unknown = rating() + b"\x7a\x02hi"
    cases = [
        (rating(), row),
        (rating(rating=0), "out_of_range"),
        (rating(event_time=None), "null_field"),
        (rating(user=None), "missing_field"),
        (rating(item_id=2**64 - 1), ("u", str(2**64 - 1), 4.5, WHEN)),
        (rating()[:-1], "malformed_protobuf"),
        (unknown, row),
        (b"", "missing_field"),
        (None, "tombstone"),
    ]
    values = [value for value, _ in cases]
    assert typed(parsed(values, stream(**told))) == [fate for _, fate in cases]
    kept = parsed([unknown], stream(**told, unknown_fields="rescue"))[0]["_rescued_data"]
    assert list(json.loads(kept)) == ["15"]
    rows = typed(
        parsed([value for bad in noise(rating()) for value in (rating(), bad)], stream(**told))
    )
    assert rows[::2] == [row] * 2000
    with pytest.raises(ConfigError, match=r"has no message shop\.Nothing"):
        parsed([], stream(**told | {"format_options": options | {"message": "shop.Nothing"}}))


def test_json_rescues_or_quarantines_undeclared_fields() -> None:
    plain = VALID | {"event_time": "2024-05-01T10:00:00Z"}
    more = json.dumps(plain | {"client": {"app": [1, None]}, "ä": 1.5}).encode()
    values = [json.dumps(plain).encode(), more, b"{", more]
    rows = parsed(values, stream(unknown_fields="rescue"))
    assert typed(rows) == [ROW, ROW, "malformed_json", ROW]
    text = '{"client": {"app": [1, null]}, "ä": 1.5}'
    assert [row["_rescued_data"] for row in rows] == [None, text, None, text]
    refused = parsed(values, stream(unknown_fields="quarantine"))
    assert typed(refused) == [ROW, "unknown_field", "malformed_json", "unknown_field"]
    assert refused[1]["_error_message"] == "not declared: client, ä"
    assert refused[1]["user_id"] is None


def test_an_undeclared_integer_of_any_length_is_rescued_or_quarantined() -> None:
    plain = json.dumps(VALID | {"event_time": "2024-05-01T10:00:00Z"})
    values = [f'{plain[:-1]}, "x": {"9" * size}}}'.encode() for size in (30, 5000)]
    rows = parsed(values, stream(unknown_fields="rescue"))
    kept = [f'{{"x": {"9" * 30}}}', f'{{"x": "{"9" * 5000}"}}']
    assert [(row["_status"], row["_rescued_data"]) for row in rows] == [
        ("valid", text) for text in kept
    ]
    assert typed(parsed(values, stream(unknown_fields="quarantine"))) == ["unknown_field"] * 2


def test_formats_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(ValueError, match="format xml is none of json, csv, avro, confluent_avro"):
        stream(format="xml")
    with pytest.raises(ValueError, match="separator: Extra inputs are not permitted"):
        stream(format="json", format_options={"separator": ";"})


@pytest.mark.parametrize("name", ["json", "csv", "avro"])
def test_formats_unreadable_values_give_errors_of_the_entry(name: str) -> None:
    options = {"avro_schema": AVRO} if name == "avro" else {}
    rows = parsed([b"", b"\xff", b'"', b"{"], stream(format=name, format_options=options))
    assert {row["_error_code"] for row in rows} <= set(FORMATS[name].errors)


def test_format_options_missing_key_is_named() -> None:
    for format_, needed in (("avro", "avro_schema"), ("confluent_avro", "registry")):
        with pytest.raises(ValueError, match=f"format_options\n.*{needed}: Field required"):
            stream(format=format_)
    with pytest.raises(ValueError, match="registry: registry must begin with http"):
        stream(format="confluent_avro", format_options={"registry": "file:///etc/passwd"})
    with pytest.raises(ValueError, match="registry must hold no login"):
        stream(format="confluent_avro", format_options={"registry": "https://me:word@registry"})
