"""Which records that could not be read are a user's."""

import io
import re

import fastavro
import pytest
from google.protobuf import wrappers_pb2
from tests.support.streams import stream_entry

from matchlake.ingest.params import StreamParams
from matchlake.ingest.user_match import matches_exactly

FORMAT_OPTIONS = {
    "avro": {"avro_schema": {"type": "string"}},
    "protobuf": {"descriptors": "f", "message": "m"},
}


def stream(**changes: object) -> StreamParams:
    return StreamParams.model_validate(stream_entry("t", "s", **changes))


@pytest.mark.parametrize("user", ["Zoë", "u" * 70, "u" * 300])
@pytest.mark.parametrize("kind", sorted(FORMAT_OPTIONS))
def test_a_text_is_found_with_its_length_as_the_format_writes_it(kind: str, user: str) -> None:
    condition = matches_exactly(
        stream(format=kind, format_options=FORMAT_OPTIONS[kind]), "user_id", user
    )
    (wanted,) = (bytes.fromhex(each) for each in re.findall(r"X'([0-9a-f]+)'", condition))
    out = io.BytesIO()
    fastavro.schemaless_writer(out, "string", user)
    values = {
        "avro": out.getvalue(),
        "protobuf": wrappers_pb2.StringValue(value=user).SerializeToString(),
    }
    assert wanted in values[kind]
    out.truncate(0)
    fastavro.schemaless_writer(out, "string", f"{user}x")
    assert wanted not in out.getvalue()


def test_a_stream_without_users_names_none() -> None:
    assert matches_exactly(stream(), "colour", "red") == "false"
