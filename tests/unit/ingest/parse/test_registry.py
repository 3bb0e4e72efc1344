"""The client of a schema registry: how often it asks, how much it reads, and whom it trusts."""

import json
from typing import Any

import pytest
from tests.support.parsing import parsed
from tests.support.registry import schema_registry
from tests.support.streams import stream_entry

from matchlake.errors import SourceError
from matchlake.ingest.params import StreamParams

COLUMNS = {"user_id": {"type": "string", "comment": "user"}}
EVENT = {"type": "record", "name": "E", "fields": [{"name": "user_id", "type": "string"}]}
USER = b"\2u"


def stream(address: str, **options: Any) -> StreamParams:
    told = {"format": "confluent_avro", "format_options": {"registry": address, **options}}
    entry = stream_entry("t", "s", columns=COLUMNS, event_time=None, **told)
    return StreamParams.model_validate(entry)


def framed(number: int) -> bytes:
    return b"\0" + number.to_bytes(4, "big") + USER


def test_registry_is_not_asked_for_more_than_a_number_of_unknown_ids() -> None:
    asked: list[str] = []
    values = [framed(1), *(framed(n) for n in range(1000, 2000)), framed(1), framed(2)]
    with schema_registry({1: EVENT, 2: EVENT}, asked) as address:
        rows = parsed(values, stream(address, max_unknown_schemas=10))
    assert len(asked) == 11
    codes = [row["_error_code"] for row in rows]
    assert codes == [None, *["unknown_schema"] * 1000, None, "unknown_schema"]
    assert rows[1]["_error_message"] == "the registry has no schema 1000"
    (rest,) = {row["_error_message"] for row in (*rows[11:1001], rows[-1])}
    assert rest.startswith("not requested: 10 other ids of the same task have no usable schema")


def test_registry_ids_with_unusable_schemas_count_as_unknown() -> None:
    asked: list[str] = []
    with schema_registry({n: {"type": "no such type"} for n in range(50)}, asked) as address:
        rows = parsed([framed(n) for n in range(50)], stream(address, max_unknown_schemas=3))
    assert {row["_error_code"] for row in rows} == {"unknown_schema"}
    assert len(asked) == 3


def test_registry_redirect_is_not_followed() -> None:
    first: list[str] = []
    other: list[str] = []
    with (
        schema_registry({1: EVENT}, other) as elsewhere,
        schema_registry({}, first, moved_to=elsewhere) as address,
        pytest.raises(SourceError, match=r"schemas/ids/1 answered with HTTP status 302"),
    ):
        parsed([framed(1)], stream(address))
    assert (first, other) == (["/schemas/ids/1"], [])


def test_registry_answer_above_a_mebibyte_is_not_read() -> None:
    large = EVENT | {"doc": "x" * 2**20}
    with schema_registry({1: EVENT, 2: large}, []) as address:
        rows = parsed([framed(1), framed(2)], stream(address))
    assert [row["_error_code"] for row in rows] == [None, "unknown_schema"]
    assert rows[1]["_error_message"] == "the answer for schema 2 is larger than 1 MiB"
    assert len(json.dumps(large)) > 2**20
