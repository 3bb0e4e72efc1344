"""Avro schemas and values that end a process or fill its memory, if nothing limits them."""

import json
import sys
from typing import Any

from tests.support.parsing import parsed
from tests.support.streams import stream_entry

from matchlake.ingest.params import StreamParams

NODE: dict[str, Any] = {
    "type": "record",
    "name": "Node",
    "fields": [{"name": "user_id", "type": "string"}, {"name": "next", "type": ["null", "Node"]}],
}


def of(kind: Any) -> dict[str, Any]:
    """A record with the column `user_id` and a field of the type."""
    fields = [{"name": "user_id", "type": "string"}, {"name": "more", "type": kind}]
    return {"type": "record", "name": "Event", "fields": fields}


def long(number: int) -> bytes:
    """The number as Avro writes it."""
    number = (number << 1) ^ (number >> 63)
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes([*out, number])


def doubled(levels: int, leaf: Any) -> dict[str, Any]:
    """A record of two records of two records ..., each schema written once."""
    kind = leaf
    for level in range(levels):
        fields = [{"name": "a", "type": kind}]
        again = kind["name"] if isinstance(kind, dict) else kind
        fields.append({"name": "b", "type": again})
        kind = {"type": "record", "name": f"L{level}", "fields": fields}
    return of(kind)


def chain(depth: int, end: bytes = b"\0") -> bytes:
    """A value of `NODE` with `depth` records within each other."""
    return b"\2u\2" * (depth - 1) + b"\2u" + end


USER = b"\2u"
NULLS = {"type": "array", "items": "null"}
DECIMAL = {"type": "bytes", "logicalType": "decimal", "precision": 9}
BOMBS: dict[str, tuple[dict[str, Any], bytes, str]] = {
    "depth": (NODE, b"\2u\2" * 100_000, "nested_too_deep"),
    "depth, whole": (NODE, chain(100_000), "nested_too_deep"),
    "depth of maps": (
        of({"type": "map", "values": {"type": "record", "name": "M", "fields": [
            {"name": "m", "type": {"type": "map", "values": "M"}}]}}),
        USER + b"\2\2k" * 100_000,
        "nested_too_deep",
    ),
    "within itself": (
        of({"type": "record", "name": "S", "fields": [{"name": "s", "type": "S"}]}),
        USER,
        "nested_too_deep",
    ),
    "nulls": (of(NULLS), USER + long(50_000_000) + b"\0", "too_many_items"),
    "nulls, a negative block": (of(NULLS), USER + long(-2**40) + b"\0\0", "too_many_items"),
    "empty records": (
        of({"type": "array", "items": {"type": "record", "name": "N", "fields": []}}),
        USER + long(2**40) + b"\0",
        "too_many_items",
    ),
    "records that double": (doubled(40, "null"), USER, "too_many_items"),
    "arrays of wide records": (
        of({"type": "array", "items": {"type": "record", "name": "W", "fields": [
            {"name": "n", "type": "int"}, *({"name": f"f{n}", "type": "null"} for n in range(2000))
        ]}}),
        USER + long(100_000) + b"\2" * 100_000 + b"\0",
        "too_many_items",
    ),
    "a long decimal": (of(DECIMAL), USER + long(1_000_000) + b"\7" * 1_000_000, "malformed_avro"),
    "a text without end": (of("string"), USER + long(2**62), "malformed_avro"),
}  # fmt: skip


def codes() -> dict[str, Any]:
    """The error code of each bomb."""
    columns = {"user_id": {"type": "string", "comment": "user"}}
    found = {}
    for name, (schema, value, _) in BOMBS.items():
        told = {"format": "avro", "format_options": {"avro_schema": schema}}
        entry = stream_entry("t", "s", columns=columns, event_time=None, **told)
        (row,) = parsed([value], StreamParams.model_validate(entry))
        found[name] = row["_error_code"]
    return found


if __name__ == "__main__":
    json.dump(codes(), sys.stdout)
