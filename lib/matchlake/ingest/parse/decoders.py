"""Decoders of single values: CSV rows, Avro with a given or a registered schema, Protobuf."""

import csv
import datetime as dt
import io
from collections.abc import Mapping, MutableSequence, Sequence
from pathlib import Path
from typing import Any

import fastavro
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import DecodeError, Message
from google.protobuf.unknown_fields import UnknownFieldSet

from matchlake.errors import ConfigError
from matchlake.ingest.parse.avro_limits import AvroLimits
from matchlake.ingest.parse.formats import (
    AvroOptions,
    ConfluentAvroOptions,
    CsvOptions,
    ProtobufOptions,
)
from matchlake.ingest.parse.limits import Limits
from matchlake.ingest.parse.records import Decoder, Record
from matchlake.ingest.parse.registry import SchemaRegistry
from matchlake.ingest.rejections import ErrorCode, Rejection

_MAGIC = b"\0"
_HEAD = 5
_GREATEST_ID = 2**31 - 1


def csv_decoder(options: CsvOptions, columns: Sequence[str], _limits: Limits) -> Decoder:
    """Reads one row of text with the fields `columns` in their order; an empty field is null."""

    def decode(raw: bytes) -> Record | Rejection:
        try:
            text = raw.decode()
        except UnicodeDecodeError as error:
            return Rejection(ErrorCode.INVALID_UTF8, f"{error.reason} at byte {error.start}")
        if not text.strip():
            return Rejection(ErrorCode.EMPTY, f"the value is {len(raw)} bytes of white space")
        lines = io.StringIO(text, newline="")
        try:
            rows = list(
                csv.reader(lines, delimiter=options.separator, quotechar=options.quote, strict=True)
            )
        except csv.Error as error:
            return Rejection(ErrorCode.MALFORMED_ROW, str(error))
        if len(rows) != 1:
            return Rejection(ErrorCode.MALFORMED_ROW, f"{len(rows)} rows where one was expected")
        if len(rows[0]) != len(columns):
            message = f"{len(rows[0])} fields where {len(columns)} were expected"
            return Rejection(ErrorCode.MALFORMED_ROW, message)
        return {name: value or None for name, value in zip(columns, rows[0], strict=True)}

    return decode


def avro_decoder(options: AvroOptions, _columns: Sequence[str], limits: Limits) -> Decoder:
    """Reads Avro with the schema of conf."""
    return _avro_decoder(options.avro_schema, limits)


def confluent_decoder(
    options: ConfluentAvroOptions, _columns: Sequence[str], limits: Limits
) -> Decoder:
    """Reads a zero byte, four bytes with the id of a schema in a registry, and Avro.

    Fetches each schema once. The decoder raises SourceError if the registry fails, which is not an
    error of the record.
    """
    registry = SchemaRegistry(options)
    decoders: dict[int, Decoder | Rejection] = {}

    def decode(raw: bytes) -> Record | Rejection:
        if not raw:
            return Rejection(ErrorCode.EMPTY, "the value is 0 bytes")
        number = schema_id(raw)
        if number is None:
            return Rejection(
                ErrorCode.MALFORMED_AVRO, "does not begin with a zero byte and a schema id"
            )
        if number not in decoders:
            found = _registered(registry, number, limits)
            if found is registry.exhausted:  # not cached: there may be a million such ids
                return registry.exhausted
            decoders[number] = found
        decoder = decoders[number]
        return decoder if isinstance(decoder, Rejection) else decoder(raw[_HEAD:])

    return decode


def schema_id(raw: bytes | None) -> int | None:
    """The id of the schema in a registry at the start of a value; None without one."""
    if raw is None or raw[:1] != _MAGIC or len(raw) < _HEAD:
        return None
    number = int.from_bytes(raw[1:_HEAD], "big")
    return number if number <= _GREATEST_ID else None


def protobuf_decoder(options: ProtobufOptions, _columns: Sequence[str], limits: Limits) -> Decoder:
    """Reads messages of one type; raises ConfigError if its descriptors are missing.

    Protobuf itself refuses messages that are nested deeper than 100. A missing field is null if the
    message records presence. Otherwise it has its default value.
    """
    made = _message_class(options)

    def decode(raw: bytes) -> Record | Rejection:
        message = made()
        try:
            message.ParseFromString(raw)
        except DecodeError as error:
            return Rejection(ErrorCode.MALFORMED_PROTOBUF, str(error))
        try:
            return _Fields(limits.max_items).of(message)
        except _TooManyItemsError:
            text = f"more items than limits.max_items, {limits.max_items}"
            return Rejection(ErrorCode.TOO_MANY_ITEMS, text)

    return decode


def _avro_decoder(schema: Any, limits: Limits) -> Decoder:
    parsed = fastavro.parse_schema(schema)
    guard = AvroLimits(parsed, limits)

    def decode(raw: bytes) -> Record | Rejection:
        if not raw:
            return Rejection(ErrorCode.EMPTY, "the value is 0 bytes")
        return guard.rejection_of(raw) or _avro(parsed, raw)

    return decode


def _avro(schema: Any, raw: bytes) -> Record | Rejection:
    stream = io.BytesIO(raw)
    try:
        record = fastavro.schemaless_reader(stream, schema, None)
    except Exception as error:  # noqa: BLE001 - invalid Avro raises exceptions of any type
        return Rejection(ErrorCode.MALFORMED_AVRO, f"{type(error).__name__}: {error}".strip(": "))
    if stream.tell() != len(raw):
        return Rejection(
            ErrorCode.MALFORMED_AVRO, f"{len(raw) - stream.tell()} bytes after the record"
        )
    if not isinstance(record, Mapping):
        return Rejection(ErrorCode.NOT_AN_OBJECT, "the schema is not that of a record")
    return record


def _registered(registry: SchemaRegistry, number: int, limits: Limits) -> Decoder | Rejection:
    """The decoder of a schema, or the rejection of all values that name the schema."""
    schema = registry.schema(number)
    if isinstance(schema, Rejection):
        return schema
    try:
        return _avro_decoder(schema, limits)
    except Exception as error:  # noqa: BLE001 - an invalid schema raises exceptions of any type
        registry.count_unusable()
        message = f"schema {number} cannot be read by itself: {type(error).__name__}: {error}"
        return Rejection(ErrorCode.UNKNOWN_SCHEMA, message)


def _message_class(options: ProtobufOptions) -> type[Message]:
    try:
        raw = Path(options.descriptors).read_bytes()
        pool = descriptor_pool.DescriptorPool()
        for file in descriptor_pb2.FileDescriptorSet.FromString(raw).file:
            pool.Add(file)
        descriptor = pool.FindMessageTypeByName(options.message)
    except (OSError, DecodeError, TypeError) as error:
        raise ConfigError(f"{options.descriptors} holds no descriptors: {error}") from None
    except KeyError:
        raise ConfigError(f"{options.descriptors} has no message {options.message}.") from None
    made: type[Message] = message_factory.GetMessageClass(descriptor)
    return made


class _TooManyItemsError(Exception):
    """A message with more items than allowed."""


class _Fields:
    """The fields of a message, up to a number of fields and items."""

    def __init__(self, max_items: int) -> None:
        self._left = max_items

    def of(self, message: Message) -> dict[str, Any]:
        """The fields of the message by name, and unknown fields by number."""
        record: dict[str, Any] = {}
        unknown = UnknownFieldSet(message)
        self._count(len(message.DESCRIPTOR.fields) + len(unknown))
        for descriptor in message.DESCRIPTOR.fields:
            value = getattr(message, descriptor.name)
            # Tests the type of the value: the versions of Protobuf mark repeated fields
            # differently.
            if isinstance(value, MutableSequence | Mapping) and not isinstance(value, Message):
                record[descriptor.name] = self._several(descriptor, value)
            elif descriptor.has_presence and not message.HasField(descriptor.name):
                record[descriptor.name] = None
            else:
                record[descriptor.name] = self._value(descriptor, value)
        for field in unknown:
            record[str(field.field_number)] = str(field.data)
        return record

    def _count(self, items: int) -> None:
        self._left -= items
        if self._left < 0:
            raise _TooManyItemsError

    def _several(self, descriptor: FieldDescriptor, value: Any) -> Any:
        self._count(len(value))
        if isinstance(value, Mapping):
            inside = descriptor.message_type.fields_by_name["value"]
            return {str(key): self._value(inside, value[key]) for key in value}
        return [self._value(descriptor, each) for each in value]

    def _value(self, descriptor: FieldDescriptor, value: Any) -> Any:
        if descriptor.type == FieldDescriptor.TYPE_ENUM:
            named = descriptor.enum_type.values_by_number.get(value)
            return named.name if named else value
        if descriptor.type != FieldDescriptor.TYPE_MESSAGE:
            return value
        if descriptor.message_type.full_name == "google.protobuf.Timestamp":
            # Times have microseconds, as in tables. A year that Python cannot hold becomes a
            # string, and the check of the column rejects it.
            try:
                return value.ToDatetime(tzinfo=dt.UTC)
            except (ValueError, OverflowError):
                return str(value)
        return self.of(value)
