"""Random changes of good values, read by a process of its own: its end tells of a crash.

`python -m tests.support.fuzzing FORMAT SEED COUNT FOLDER` prints the number of each error code.
"""

import gzip
import io
import json
import random
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fastavro
import fastavro.utils
from tests.support.avro_bombs import DECIMAL, NODE, NULLS, chain, long, of
from tests.support.parsing import parsed
from tests.support.protobuf_nodes import node_class, node_options
from tests.support.streams import COLUMNS, stream_entry, valid_value

from matchlake.ingest.params import StreamParams

USER = {"user_id": {"type": "string", "comment": "user"}}
AT_ONCE = 100
"""Values per array; every second one is good."""


def mutated(draw: random.Random, good: bytes) -> bytes:
    """The bytes with up to eight changes: bits, cuts, repeats, numbers, brackets, other bytes."""
    value = bytearray(good)
    for _ in range(draw.randrange(1, 9)):
        at = draw.randrange(len(value) + 1)
        until = min(len(value), at + draw.choice((0, 1, 2, 5, 50)))
        match draw.randrange(7):
            case 0 if at < len(value):
                value[at] ^= 1 << draw.randrange(8)
            case 1:
                del value[at:until]
            case 2:
                value[at:at] = value[at:until] * draw.choice((1, 2, 500))
            case 3:
                value[at:until] = long(draw.choice((-1, 2**31, 2**63 - 1, -(2**63), 1, 99)))
            case 4:
                value[at:until] = draw.choice((b"[", b"{", b'"', b"\\ud800", b",", b"\n", b"\0"))
            case 5:
                value[at:at] = draw.choice((b"[", b"\2", b'{"a":', b"\x12")) * draw.randrange(5000)
            case _:
                value[at:until] = draw.randbytes(draw.randrange(9))
    return bytes(value)


def avro(schema: Any, count: int = 20) -> list[bytes]:
    """Good values of the schema."""
    values = []
    for record in fastavro.utils.generate_many(schema, count):
        out = io.BytesIO()
        fastavro.schemaless_writer(out, fastavro.parse_schema(schema), record)
        values.append(out.getvalue())
    return values


def json_values(_: Path) -> tuple[dict[str, Any], list[bytes]]:
    """A stream of JSON and good values of it."""
    more = {"note": "\\u\ud83d\ude00", "deep": {"a": [{"b": None}] * 9}}
    return {"columns": COLUMNS}, [valid_value(n, **more) for n in range(20)]


def csv_values(_: Path) -> tuple[dict[str, Any], list[bytes]]:
    """A stream of CSV and good values of it."""
    values = [f'u{n},"i ""{n}""\n",{1 + n % 4},2024-05-01T10:00:00Z'.encode() for n in range(20)]
    return {"columns": COLUMNS, "format": "csv"}, values


def avro_values(_: Path) -> tuple[dict[str, Any], list[bytes]]:
    """A stream of Avro with every kind of type and good values of it."""
    kinds = [NULLS, DECIMAL, {"type": "map", "values": ["null", "bytes", "double"]}, "boolean"]
    kinds += [{"type": "fixed", "name": "F", "size": 16}, {"type": "array", "items": "string"}]
    schema = of({"type": "record", "name": "R", "fields": [
        {"name": f"f{at}", "type": kind} for at, kind in enumerate(kinds)
    ]})  # fmt: skip
    return {"format": "avro", "format_options": {"avro_schema": schema}}, avro(schema)


def deep_values(_: Path) -> tuple[dict[str, Any], list[bytes]]:
    """A stream of Avro with a recursive schema and good values of it."""
    options = {"avro_schema": NODE}
    return {"format": "avro", "format_options": options}, [chain(n) for n in (1, 3, 50)]


def protobuf_values(folder: Path) -> tuple[dict[str, Any], list[bytes]]:
    """A stream of Protobuf and good values of it."""
    made = node_class()
    leaf = made(user_id="u")
    values = [made(user_id="u", next=leaf, all=[leaf] * n).SerializeToString() for n in range(9)]
    return {"format": "protobuf", "format_options": node_options(folder)}, values


FORMATS: dict[str, Callable[[Path], tuple[dict[str, Any], list[bytes]]]] = {
    "json": json_values,
    "csv": csv_values,
    "avro": avro_values,
    "deep": deep_values,
    "protobuf": protobuf_values,
}


def read_mutated(name: str, seed: int, count: int, folder: Path) -> Counter[str]:
    """The error codes of changed values; the good ones between them have to stay valid."""
    draw = random.Random(seed)  # noqa: S311 - the same values in each run
    changes, good = FORMATS[name](folder)
    entry = stream_entry("t", "s", **{"columns": USER, "unknown_fields": "rescue", **changes})
    if entry["columns"] is USER:
        entry["event_time"] = None
    stream = StreamParams.model_validate(entry)
    codes: Counter[str] = Counter()
    for _ in range(count // AT_ONCE):
        bases = [draw.choice(good) for _ in range(AT_ONCE // 2)]
        values = [value for base in bases for value in (base, mutated(draw, base))]
        rows = parsed(values, stream)
        assert not any(row["_error_code"] for row in rows[::2]), rows
        codes.update(row["_error_code"] or "valid" for row in rows[1::2])
    return codes


def write_mutated_files(seed: int, count: int, folder: Path) -> None:
    """Packed files of JSON lines, of which every second one has changed bytes."""
    draw = random.Random(seed)  # noqa: S311 - the same files in each run
    for at in range(count):
        lines = b"".join(valid_value(n, user_id=f"u{at}") + b"\n" for n in range(200))
        packed = gzip.compress(lines)
        name = "changed" if at % 2 else "good"
        (folder / f"{name}{at}.json.gz").write_bytes(mutated(draw, packed) if at % 2 else packed)


if __name__ == "__main__":
    name, seed, count, folder = sys.argv[1:]
    json.dump(read_mutated(name, int(seed), int(count), Path(folder)), sys.stdout)
