"""Decimal columns: exact, never rounded, the same in every format."""

import json
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from fastavro import parse_schema, schemaless_writer
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from tests.support.parsing import parsed
from tests.support.streams import stream_entry

from matchlake.ingest.columns import ColumnParams
from matchlake.ingest.params import StreamParams
from matchlake.ingest.parse.casts import convert
from matchlake.ingest.tables import allowed_values, declared_columns

PRICE = {"type": "decimal(10,2)", "comment": "price", "min": 0.05, "max": 99999.99}


def stream(price: dict[str, Any], **keys: Any) -> StreamParams:
    columns = {"sku": {"type": "string", "comment": "what"}, "price": price}
    entry = stream_entry("t", "shop", **{"columns": columns, "event_time": None, **keys})
    return StreamParams.model_validate(entry)


def read(texts: list[str], price: dict[str, Any] = PRICE) -> list[Any]:
    """The price of JSON values with these texts, or the error code."""
    rows = parsed([f'{{"sku":"s","price":{text}}}'.encode() for text in texts], stream(price))
    return [row["_error_code"] or row["price"] for row in rows]


CASES = [
    ("12.1", "12.10"),
    ('"12.10"', "12.10"),
    ("12.340", "12.34"),
    ("1e2", "100.00"),
    ("1.25E1", "12.50"),
    ("7", "7.00"),
    ("12.3450000000000000000000", "wrong_type"),
    ("12.345", "wrong_type"),
    ("0.049", "wrong_type"),
    ("0.04", "out_of_range"),
    ("100000", "out_of_range"),
    ("123456789.01", "wrong_type"),
    ("1e400", "wrong_type"),
    ("1e-400", "wrong_type"),
    ('"NaN"', "wrong_type"),
    ("NaN", "malformed_json"),
    ('"1_0"', "wrong_type"),
    ('" 1"', "wrong_type"),
    ('""', "wrong_type"),
    ("true", "wrong_type"),
    ("[1]", "wrong_type"),
    ("null", "null_field"),
    ("0.1" + "0" * 50, "0.10"),
    ("0.1" + "0" * 80, "wrong_type"),
    ('"+.5"', "0.50"),
    ("1e37", "wrong_type"),
    ("1e38", "wrong_type"),
    ("9e38", "wrong_type"),
    ("1" * 5000, "wrong_type"),
]


@pytest.mark.parametrize("copies", [1, 3])
def test_json_numbers_and_texts_are_exact(copies: int) -> None:
    found = read([text for text, _ in CASES] * copies)
    for (text, expected), value in zip(CASES * copies, found, strict=True):
        assert (text, str(value)) == (text, expected)


def test_json_alone_has_the_same_result() -> None:
    values = [f'{{"sku":"s","price":{text}}}'.encode() for text, _ in CASES]
    for value, row in zip(values, parsed(values, stream(PRICE)), strict=True):
        assert parsed([value], stream(PRICE)) == [row]


def test_a_message_shows_the_digits() -> None:
    (row,) = parsed([b'{"sku":"s","price":12.345}'], stream(PRICE))
    assert row["_error_message"] == "price: 12.345 is not a valid decimal(10,2)"


@given(st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**20), max_value=10**20))
def test_json_agrees_with_python(number: Decimal) -> None:
    price = {"type": "decimal(12,3)", "comment": "c"}
    (found,) = read([format(number, "f")], price)
    exact = round(number, 3) == number and abs(number) < 10**9 if abs(number) < 10**12 else False
    assert found == (number if exact else "wrong_type")


def test_formats_csv_and_avro_give_what_json_gives() -> None:
    rows = parsed([b"s,12.1", b"s,12.345", b"s,x", b"s,"], stream(PRICE, format="csv"))
    assert [row["_error_code"] or str(row["price"]) for row in rows] == [
        *("12.10", "wrong_type", "wrong_type", "null_field")
    ]
    price = {"type": "bytes", "logicalType": "decimal", "precision": 12, "scale": 4}
    fields = [{"name": "sku", "type": "string"}, {"name": "price", "type": price}]
    schema = {"type": "record", "name": "r", "fields": fields}
    rows = parsed(
        [_avro(schema, Decimal(text)) for text in ("12.1", "12.3450", "12.345678")[:2]],
        stream(PRICE, format="avro", format_options={"avro_schema": schema}),
    )
    assert [row["_error_code"] or str(row["price"]) for row in rows] == ["12.10", "wrong_type"]


def _avro(schema: dict[str, Any], price: Decimal) -> bytes:
    import io  # noqa: PLC0415

    raw = io.BytesIO()
    schemaless_writer(raw, parse_schema(schema), {"sku": "s", "price": price})
    return raw.getvalue()


def test_a_double_has_no_exact_digits() -> None:
    column = ColumnParams.model_validate(PRICE)
    values, [(code, failed)] = convert(pa.array([12.1, None], pa.float64()), column)
    assert values.null_count == 2
    assert (code, list(failed)) == ("wrong_type", [True, False])
    values, [(_, failed)] = convert(pa.array([12, 2**62], pa.int64()), column)
    assert values.to_pylist() == [Decimal("12.00"), None]
    np.testing.assert_array_equal(failed, [False, True])


def test_columns_of_files_are_exact() -> None:
    column = ColumnParams.model_validate(PRICE)
    texts = ["12.1", "1e1", "12.345", "x", None]
    decimals = [Decimal("12.1000"), Decimal(10), Decimal("12.3450"), Decimal(10) ** 9, None]
    for array in (pa.array(texts), pa.array(decimals, pa.decimal128(20, 4))):
        values, [(_, failed)] = convert(array, column)
        assert values.type == pa.decimal128(10, 2)
        assert values.to_pylist() == [Decimal("12.10"), Decimal("10.00"), None, None, None]
        np.testing.assert_array_equal(failed, [False, False, True, True, False])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"type": "decimal"}, r"type decimal is none of .*decimal\(p,s\)"),
        ({"type": "decimal(39,2)"}, r"1 to 38"),
        ({"type": "decimal(4,5)"}, r"0 to p"),
        ({"min": 0.001}, r"that decimal\(10,2\) can hold"),
        ({"max": 1e9}, r"that decimal\(10,2\) can hold"),
    ],
)
def test_params_refuse_what_no_decimal_is(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        ColumnParams.model_validate(PRICE | changes)


def test_tables_have_the_type_and_exact_bounds() -> None:
    columns = {"price": ColumnParams.model_validate(PRICE | {"type": "decimal( 10, 2 )"})}
    assert [column.type for column in declared_columns(columns)] == ["DECIMAL(10,2)"]
    ((_, rule),) = allowed_values(columns)
    assert rule == "`price` IS NULL OR (`price` >= 0.05 AND `price` <= 99999.99)"
    assert json.loads(columns["price"].model_dump_json())["type"] == "decimal(10,2)"
