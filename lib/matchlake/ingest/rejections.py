"""The error codes of quarantined records, and the rejection of one record."""

from enum import StrEnum
from typing import NamedTuple, Self


class ErrorCode(StrEnum):
    """Every error code of a quarantined record, with its meaning."""

    TOMBSTONE = "tombstone", "the message has no value"
    EMPTY = "empty", "the value is empty or white space"
    INVALID_UTF8 = "invalid_utf8", "the value is not UTF-8"
    INVALID_ENCODING = "invalid_encoding", "a text has bytes that the declared encoding lacks"
    VALUE_TOO_LARGE = "value_too_large", "the value has more bytes than max_value_bytes"
    NESTED_TOO_DEEP = "nested_too_deep", "the value is nested deeper than max_depth"
    TOO_MANY_ITEMS = "too_many_items", "the value has more items than max_items"
    BAD_TIMESTAMP = "bad_timestamp", "Kafka's timestamp of the message is beyond what a table holds"
    KILLS_READER = "kills_reader", "the process that decodes the value ends, so it is not decoded"
    MALFORMED_JSON = "malformed_json", "the value is not one JSON text"
    MALFORMED_AVRO = "malformed_avro", "the value is not one Avro record of its schema"
    MALFORMED_PROTOBUF = "malformed_protobuf", "the value is no Protobuf message"
    UNKNOWN_SCHEMA = "unknown_schema", "the registry does not have the schema of the value"
    UNKNOWN_FIELD = "unknown_field", "a field is not declared, and unknown_fields is quarantine"
    MALFORMED_ROW = "malformed_row", "the number of fields is not that of the columns"
    CORRUPT_FILE = "corrupt_file", "the file is broken or above a limit, so all of it is rejected"
    WRONG_COLUMNS = "wrong_columns", "the file has other columns than declared, so all is rejected"
    NOT_AN_OBJECT = "not_an_object", "the value is JSON, but not an object"
    MISSING_FIELD = "missing_field", "a required field is missing"
    NULL_FIELD = "null_field", "a required field is null"
    WRONG_TYPE = "wrong_type", "a field does not have its declared type"
    OUT_OF_RANGE = "out_of_range", "a number is outside its declared range"
    NOT_ALLOWED = "not_allowed", "a text is not in the declared list"
    BROKEN_RULE = "broken_rule", "the row breaks a rule, whose name begins the message"

    meaning: str

    def __new__(cls, value: str, meaning: str) -> Self:
        """A member with its name in tables as its value, and its meaning."""
        member = str.__new__(cls, value)
        member._value_ = value
        member.meaning = meaning
        return member


class Rejection(NamedTuple):
    """The error of one record."""

    code: ErrorCode
    message: str
