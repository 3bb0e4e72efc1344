"""Hostile values of every Arrow type that a reader may give, for tests of casts."""

import datetime as dt
from decimal import Decimal

import numpy as np
import pyarrow as pa

TEXTS = [
    *("a", "", " ", "5", "-7", "+5", "0x1F", "1e5", "1.5", "nan", "inf", "1" * 400, "9" * 19),
    *("3000000000", "true", "1", "2024-05-01", "20240501", "0000-01-01", "2024-02-30"),
    *("2024-05-01T10:00:00.123456789Z", "9999-12-31T23:59:59.999999", "\u0000", "\ufffd", "😀"),
]
_INTEGERS = [0, 1, -1, 127, -128]
_EDGES = [-(2**63), 2**63 - 1, 2**53, 2**53 + 1, 1714557600000, 20240501]
_MOMENTS = [0, -1, 1, 86_400, 2**31, 2**62, -(2**62), 1714557600]
_FLOATS = [0.0, -0.0, 1.5, 2.0, float("nan"), float("inf"), -float("inf"), 1e-40, 60000.0]
_DECIMALS = [Decimal("1.00"), Decimal("-1.50"), Decimal("9" * 30), Decimal(0)]
_BAD = pa.array([b"a\xff", b"ok", b"\xc3\x28", b"", None])


def _listed() -> dict[str, pa.Array]:
    floats = np.array([*_FLOATS, 2.0**53, 2e16, 1714557600123.0])
    found = {f"float{bits}": pa.array(floats.astype(f"float{bits}")) for bits in (32, 64)}
    found["float16"] = pa.array(np.array(_FLOATS).astype("float16"))
    for bits in (8, 16, 32, 64):
        more = _EDGES if bits == 64 else []
        found[f"int{bits}"] = pa.array([*_INTEGERS, *more, None], f"int{bits}")
        found[f"uint{bits}"] = pa.array([0, 1, 2**bits - 1, None], f"uint{bits}")
    for unit in ("s", "ms", "us", "ns"):
        for zone in (None, "UTC", "Europe/Berlin"):
            found[f"timestamp[{unit},{zone}]"] = pa.array(_MOMENTS, pa.timestamp(unit, zone))
        found[f"duration[{unit}]"] = pa.array([0, 5, None], pa.duration(unit))
    found |= {f"decimal{bits}": pa.array(_DECIMALS, kind) for bits, kind in (
        (128, pa.decimal128(38, 4)), (256, pa.decimal256(60, 10)),
    )}  # fmt: skip
    found["decimal32"] = pa.array([Decimal("1.5"), None], pa.decimal32(5, 1))
    found["decimal64"] = pa.array([Decimal(12), None], pa.decimal64(12, 0))
    return found


def _texts_and_nested() -> dict[str, pa.Array]:
    texts = [*TEXTS, None]
    lists = [["a", None], [], None, ["b"]]
    named = pa.struct([("a", pa.int64())])
    return {
        "string": pa.array(texts),
        "large_string": pa.array(texts, pa.large_string()),
        "string_view": pa.array(texts, pa.string_view()),
        "dictionary": pa.array(texts).dictionary_encode(),
        "run_end": pa.RunEndEncodedArray.from_arrays([2, 3], ["a", None]),
        "broken_text": _BAD.view(pa.string()),
        "binary": _BAD,
        "large_binary": _BAD.cast(pa.large_binary()),
        "fixed": pa.array([b"ab", b"\xff\xfe", None], pa.binary(2)),
        "uuid": pa.ExtensionArray.from_storage(pa.uuid(), pa.array([bytes(16)], pa.binary(16))),
        "boolean": pa.array([True, False, None]),
        "null": pa.nulls(3),
        "date32": pa.array([0, -1, 2**30, -(2**30), None], pa.date32()),
        "date64": pa.array([dt.date(2024, 5, 1), None], pa.date64()),
        "time32": pa.array([5, None], pa.time32("ms")),
        "time64": pa.array([5, None], pa.time64("us")),
        "list": pa.array(lists),
        "large_list": pa.array(lists, pa.large_list(pa.large_string())),
        "list_of_nulls": pa.array([[None], []], pa.list_(pa.null())),
        "list_of_broken_texts": pa.ListArray.from_arrays([0, 1, 5], _BAD.view(pa.string())),
        "list_of_integers": pa.array([[1], [], None]),
        "list_of_structs": pa.array([[{"a": 1}], None], pa.list_(named)),
        "struct": pa.array([{"a": 1}, None], named),
        "map": pa.array([[("a", 1)], None], pa.map_(pa.string(), pa.int64())),
    }


ARRAYS: dict[str, pa.Array] = _listed() | _texts_and_nested()
