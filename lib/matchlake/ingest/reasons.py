"""Why a record is not good: a closed list, and one finding."""

from enum import StrEnum
from typing import NamedTuple, Self


class Reason(StrEnum):
    """Every reason for which a record is quarantined, with what it means."""

    TOMBSTONE = "tombstone", "the message has no value"
    EMPTY = "empty", "the value has no bytes but white space"
    INVALID_UTF8 = "invalid_utf8", "the value is not UTF-8"
    MALFORMED_JSON = "malformed_json", "the value is not one JSON text"
    MALFORMED_AVRO = "malformed_avro", "the value is not one Avro record of its schema"
    MALFORMED_PROTOBUF = "malformed_protobuf", "the value is no Protobuf message"
    UNKNOWN_SCHEMA = "unknown_schema", "the registry has not the schema that the value names"
    UNKNOWN_FIELD = "unknown_field", "a field is not declared, and such fields are refused"
    MALFORMED_ROW = "malformed_row", "the row has not as many fields as the header"
    CORRUPT_FILE = "corrupt_file", "the file cannot be read to its end: all of it is refused"
    NOT_AN_OBJECT = "not_an_object", "the value is JSON, but not an object"
    MISSING_FIELD = "missing_field", "a required field is not there"
    NULL_FIELD = "null_field", "a required field is null"
    WRONG_TYPE = "wrong_type", "a field is not of its declared type"
    OUT_OF_RANGE = "out_of_range", "a number is below the least or above the greatest allowed"
    NOT_ALLOWED = "not_allowed", "a text is none of those allowed"

    meaning: str

    def __new__(cls, value: str, meaning: str) -> Self:
        """A member that is its own name in tables and knows its meaning."""
        member = str.__new__(cls, value)
        member._value_ = value
        member.meaning = meaning
        return member


class Finding(NamedTuple):
    """What is wrong with one record."""

    reason: Reason
    detail: str
