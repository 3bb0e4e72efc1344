"""Decoders of single values: CSV rows, Avro with a known or a registered schema, Protobuf."""

import csv
import datetime as dt
import functools
import io
import json
import urllib.error
import urllib.request
from collections.abc import Mapping, MutableSequence, Sequence
from pathlib import Path
from typing import Any

import fastavro
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import DecodeError, Message
from google.protobuf.unknown_fields import UnknownFieldSet

from matchlake.errors import ConfigError, SourceError
from matchlake.ingest.format_params import FormatParams
from matchlake.ingest.parse.records import Decoder, Record
from matchlake.ingest.reasons import Finding, Reason

_MAGIC = b"\0"
_HEAD = 5
_GREATEST_ID = 2**31 - 1
_NOT_FOUND = 404


def csv_decoder(reading: FormatParams, fields: Sequence[str]) -> Decoder:
    """Reads one row of text, whose fields are `fields` in their order; no text is no value."""

    def decode(raw: bytes) -> Record | Finding:
        try:
            text = raw.decode()
        except UnicodeDecodeError as error:
            return Finding(Reason.INVALID_UTF8, f"{error.reason} at byte {error.start}")
        if not text.strip():
            return Finding(Reason.EMPTY, f"the value is {len(raw)} bytes of nothing")
        lines = io.StringIO(text, newline="")
        try:
            rows = list(
                csv.reader(lines, delimiter=reading.separator, quotechar=reading.quote, strict=True)
            )
        except csv.Error as error:
            return Finding(Reason.MALFORMED_ROW, str(error))
        if len(rows) != 1:
            return Finding(Reason.MALFORMED_ROW, f"{len(rows)} rows where one was expected")
        if len(rows[0]) != len(fields):
            told = f"{len(rows[0])} fields where {len(fields)} were expected"
            return Finding(Reason.MALFORMED_ROW, told)
        return {name: value or None for name, value in zip(fields, rows[0], strict=True)}

    return decode


def avro_decoder(reading: FormatParams) -> Decoder:
    """Reads Avro that was written with the one schema that conf holds."""
    return functools.partial(_avro, fastavro.parse_schema(reading.avro_schema or {}))


def confluent_decoder(reading: FormatParams) -> Decoder:
    """Reads Avro after a zero byte and four that name its schema in a registry.

    A schema is asked for once. Raises SourceError where the registry does not answer: that is no
    fault of the record.
    """
    schemas: dict[int, Any] = {}

    def decode(raw: bytes) -> Record | Finding:
        if not raw:
            return Finding(Reason.EMPTY, "the value is 0 bytes of nothing")
        number = schema_id(raw)
        if number is None:
            return Finding(Reason.MALFORMED_AVRO, "does not begin with a zero byte and a schema id")
        if number not in schemas:
            schemas[number] = _registered(reading, number)
        schema = schemas[number]
        return schema if isinstance(schema, Finding) else _avro(schema, raw[_HEAD:])

    return decode


def schema_id(raw: bytes | None) -> int | None:
    """The id of a registry's schema that a value names; None where it names none."""
    if raw is None or raw[:1] != _MAGIC or len(raw) < _HEAD:
        return None
    number = int.from_bytes(raw[1:_HEAD], "big")
    return number if number <= _GREATEST_ID else None


def protobuf_decoder(reading: FormatParams) -> Decoder:
    """Reads messages of one type, as its descriptors tell; raises ConfigError without them.

    A field that is not there is null where the message can tell, else its default value.
    """
    made = _message_class(reading)

    def decode(raw: bytes) -> Record | Finding:
        message = made()
        try:
            message.ParseFromString(raw)
        except DecodeError as error:
            return Finding(Reason.MALFORMED_PROTOBUF, str(error))
        return _fields(message)

    return decode


def _avro(schema: Any, raw: bytes) -> Record | Finding:
    if not raw:
        return Finding(Reason.EMPTY, "the value is 0 bytes of nothing")
    stream = io.BytesIO(raw)
    try:
        record = fastavro.schemaless_reader(stream, schema, None)
    except Exception as error:  # noqa: BLE001 - bytes that are no Avro make it raise anything
        return Finding(Reason.MALFORMED_AVRO, f"{type(error).__name__}: {error}".strip(": "))
    if stream.tell() != len(raw):
        return Finding(Reason.MALFORMED_AVRO, f"{len(raw) - stream.tell()} bytes after the record")
    if not isinstance(record, Mapping):
        return Finding(Reason.NOT_AN_OBJECT, "the schema is no record")
    return record


def _registered(reading: FormatParams, number: int) -> Any:
    """The parsed schema, or why there is none that values could be read with."""
    address = f"{reading.registry}/schemas/ids/{number}"
    try:
        with urllib.request.urlopen(  # noqa: S310 - http and https alone pass the declaration
            address, timeout=reading.registry_timeout_seconds
        ) as answer:
            found = json.load(answer)
        text, kind = found["schema"], found.get("schemaType", "AVRO")
    except urllib.error.HTTPError as error:
        if error.code == _NOT_FOUND:
            return Finding(Reason.UNKNOWN_SCHEMA, f"the registry has no schema {number}")
        raise SourceError(f"The schema registry answers {error.code} to {address}.") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SourceError(
            f"The schema registry does not answer at {address}: {error}. Nothing of the batch was "
            "written; it is read again at the next start."
        ) from error
    if kind != "AVRO":
        return Finding(Reason.UNKNOWN_SCHEMA, f"schema {number} is {kind}, and not AVRO")
    try:
        return fastavro.parse_schema(json.loads(text))
    except Exception as error:  # noqa: BLE001 - of a schema that refers to others, or is none
        told = f"schema {number} cannot be read by itself: {type(error).__name__}: {error}"
        return Finding(Reason.UNKNOWN_SCHEMA, told)


def _message_class(reading: FormatParams) -> type[Message]:
    try:
        raw = Path(reading.descriptors or "").read_bytes()
        pool = descriptor_pool.DescriptorPool()
        for file in descriptor_pb2.FileDescriptorSet.FromString(raw).file:
            pool.Add(file)
        found = pool.FindMessageTypeByName(reading.message or "")
    except (OSError, DecodeError, TypeError) as error:
        raise ConfigError(f"{reading.descriptors} gives no descriptors: {error}") from None
    except KeyError:
        raise ConfigError(f"{reading.descriptors} has no message {reading.message}.") from None
    made: type[Message] = message_factory.GetMessageClass(found)
    return made


def _fields(message: Message) -> dict[str, Any]:
    """The message's fields by name, and those that its type does not know by number."""
    record: dict[str, Any] = {}
    for descriptor in message.DESCRIPTOR.fields:
        value = getattr(message, descriptor.name)
        # Of several versions of Protobuf none tells in the same way whether a field is repeated.
        if isinstance(value, MutableSequence | Mapping) and not isinstance(value, Message):
            record[descriptor.name] = _several(descriptor, value)
        elif descriptor.has_presence and not message.HasField(descriptor.name):
            record[descriptor.name] = None
        else:
            record[descriptor.name] = _value(descriptor, value)
    for unknown in UnknownFieldSet(message):
        record[str(unknown.field_number)] = str(unknown.data)
    return record


def _several(descriptor: FieldDescriptor, value: Any) -> Any:
    if isinstance(value, Mapping):
        inside = descriptor.message_type.fields_by_name["value"]
        return {str(key): _value(inside, value[key]) for key in value}
    return [_value(descriptor, each) for each in value]


def _value(descriptor: FieldDescriptor, value: Any) -> Any:
    if descriptor.type == FieldDescriptor.TYPE_ENUM:
        named = descriptor.enum_type.values_by_number.get(value)
        return named.name if named else value
    if descriptor.type != FieldDescriptor.TYPE_MESSAGE:
        return value
    if descriptor.message_type.full_name == "google.protobuf.Timestamp":
        # Microseconds, as tables have them; a year beyond Python's is a text that will not do.
        try:
            return value.ToDatetime(tzinfo=dt.UTC)
        except (ValueError, OverflowError):
            return str(value)
    return _fields(value)
