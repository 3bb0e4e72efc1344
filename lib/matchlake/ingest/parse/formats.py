"""The formats of streams: one entry per format. Imports no Spark and no library of a format.

To add a format, add one entry to `FORMATS`, and its decoder in a module of this folder.
"""

import urllib.parse
from typing import Any, NamedTuple

from pydantic import Field, field_validator

from matchlake.ingest.rejections import ErrorCode
from matchlake.params import Params


class JsonOptions(Params):
    """The options of JSON: none."""


class CsvOptions(Params):
    """The options of CSV values. The fields are the declared columns in their order."""

    separator: str = Field(",", min_length=1, max_length=1)
    """The character between two fields."""
    quote: str = Field('"', min_length=1, max_length=1)
    """The character around a field that holds a separator."""


class AvroOptions(Params):
    """The options of Avro without a registry."""

    avro_schema: dict[str, Any]
    """The schema of all values."""


class ConfluentAvroOptions(Params):
    """The options of Avro with a schema registry."""

    registry: str
    """The address of the registry, http or https."""
    registry_timeout_seconds: float = Field(10.0, gt=0)
    """Seconds to wait for an answer of the registry before the batch fails."""
    max_unknown_schemas: int = Field(100, ge=1)
    """The maximum number of unusable schema ids per task. After that, values with
    other ids are quarantined without a request."""

    @field_validator("registry")
    @classmethod
    def _validate_address(cls, registry: str) -> str:
        if not registry.startswith(("http://", "https://")):
            raise ValueError("registry must begin with http:// or https://")
        if "@" in urllib.parse.urlsplit(registry).netloc:
            raise ValueError("registry must hold no login, because logs show the address")
        return registry.rstrip("/")


class ProtobufOptions(Params):
    """The options of Protobuf."""

    descriptors: str
    """The file of a FileDescriptorSet (`protoc --include_imports -o FILE`), readable by every
    worker."""
    message: str
    """The full name of the message."""


class Format(NamedTuple):
    """A format of the values of a stream."""

    options: type[Params]
    """The class of `format_options`."""
    decoder: str | None
    """`module:function`, called with the options, the names of the columns and the limits; it
    returns a `Decoder` of single values. None: values are read in batches, as JSON."""
    errors: tuple[ErrorCode, ...]
    """The error codes that only the decoding of this format gives."""
    positional: bool = False
    """Whether a value holds the columns as texts in their order, and no names."""
    text_length_factor: int | None = None
    """The length prefix of a string is this multiple of its bytes; None: there is no prefix."""
    names_schema: bool = False
    """Whether a value begins with the id of its schema in a registry."""


_DECODERS = "matchlake.ingest.parse.decoders"
_LIMITS = (ErrorCode.NESTED_TOO_DEEP, ErrorCode.TOO_MANY_ITEMS)

FORMATS: dict[str, Format] = {
    "json": Format(
        JsonOptions,
        None,
        (ErrorCode.EMPTY, ErrorCode.INVALID_UTF8, ErrorCode.MALFORMED_JSON),
    ),
    "csv": Format(
        CsvOptions,
        f"{_DECODERS}:csv_decoder",
        (ErrorCode.EMPTY, ErrorCode.INVALID_UTF8, ErrorCode.MALFORMED_ROW),
        positional=True,
    ),
    "avro": Format(
        AvroOptions,
        f"{_DECODERS}:avro_decoder",
        (ErrorCode.EMPTY, ErrorCode.MALFORMED_AVRO, *_LIMITS),
        text_length_factor=2,
    ),
    "confluent_avro": Format(
        ConfluentAvroOptions,
        f"{_DECODERS}:confluent_decoder",
        (ErrorCode.EMPTY, ErrorCode.MALFORMED_AVRO, ErrorCode.UNKNOWN_SCHEMA, *_LIMITS),
        text_length_factor=2,
        names_schema=True,
    ),
    "protobuf": Format(
        ProtobufOptions,
        f"{_DECODERS}:protobuf_decoder",
        (ErrorCode.MALFORMED_PROTOBUF, ErrorCode.TOO_MANY_ITEMS),
        text_length_factor=1,
    ),
}
"""The formats by the name that conf gives them."""
