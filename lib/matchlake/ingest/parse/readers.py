"""Reads the values of a stream: turns batches of bytes into columns and rejections."""

import importlib
import json
from typing import Protocol

import pyarrow as pa

from matchlake.ingest.columns import Columns
from matchlake.ingest.parse.formats import FORMATS
from matchlake.ingest.parse.json import JsonReader
from matchlake.ingest.parse.limits import Limits
from matchlake.ingest.parse.paths import declared_tree
from matchlake.ingest.parse.records import (
    Decoder,
    Record,
    RecordReader,
    as_text,
    undeclared_fields,
    unknown_field_rejection,
)
from matchlake.ingest.rejections import ErrorCode, Rejection
from matchlake.params import Params

_MAX_DIGITS = 4000


def _integer(digits: str) -> int | str:
    """The integer, or its text if it has more digits than Python converts."""
    return int(digits) if len(digits) <= _MAX_DIGITS else digits


_DECODER = json.JSONDecoder(parse_int=_integer)


class Reader(Protocol):
    """Reads values of one format."""

    rescued: dict[int, str]
    """The undeclared fields of the last batch, as JSON, by row."""

    def read(self, values: pa.Array) -> tuple[dict[str, pa.Array], dict[int, Rejection]]:
        """The columns of binary values, and the rejections of unreadable values by row."""

    def why_null(self, values: pa.Array, row: int, name: str) -> ErrorCode:
        """Whether the field of a null column is missing in the value, or null."""


def make_reader(
    name: str, options: Params, columns: Columns, unknown_fields: str, limits: Limits
) -> Reader:
    """The reader of a format; raises ConfigError if a file of its options is unreadable."""
    entry = FORMATS[name]
    if entry.decoder is None:
        return _BatchJsonReader(columns, unknown_fields)
    if entry.positional:  # without field names there are no paths and no unknown fields
        columns = {name: c.model_copy(update={"path": None}) for name, c in columns.items()}
        unknown_fields = "ignore"
    decode = make_decoder(name, options, columns, limits)
    return RecordReader(columns, decode, unknown_fields, typed=not entry.positional)


def make_decoder(name: str, options: Params, columns: Columns, limits: Limits) -> Decoder:
    """The decoder of single values of a format; raises ConfigError as `make_reader` does."""
    entry = FORMATS[name]
    if entry.decoder is None:
        return _decode_json
    module, _, function = entry.decoder.partition(":")
    make = getattr(importlib.import_module(module), function)
    decode: Decoder = make(options, list(columns), limits)
    return decode


def _decode_json(raw: bytes) -> Record | Rejection:
    try:
        value = _DECODER.decode(raw.decode())
    except (ValueError, RecursionError) as error:
        return Rejection(ErrorCode.MALFORMED_JSON, str(error))
    is_object = isinstance(value, dict)
    return value if is_object else Rejection(ErrorCode.NOT_AN_OBJECT, "the value is not an object")


class _BatchJsonReader:
    """Reads JSON in batches; decodes single values only to find undeclared fields."""

    def __init__(self, columns: Columns, unknown_fields: str) -> None:
        self._reader = JsonReader(columns)
        self._unknown_fields = unknown_fields
        self._tree = declared_tree(columns)
        self.why_null = self._reader.why_null
        self.rescued: dict[int, str] = {}

    def read(self, values: pa.Array) -> tuple[dict[str, pa.Array], dict[int, Rejection]]:
        columns, rejections = self._reader.read(values)
        self.rescued = {}
        if self._unknown_fields == "ignore":
            return columns, rejections
        for row, raw in enumerate(values.to_pylist()):
            if row in rejections:
                continue
            try:
                more = undeclared_fields(_DECODER.decode(raw.decode()), self._tree)
            except RecursionError:
                more = {"...": "nested too deeply to compare with the declared fields"}
            except ValueError as error:
                rejections[row] = Rejection(ErrorCode.MALFORMED_JSON, str(error))
                continue
            if more and self._unknown_fields == "quarantine":
                rejections[row] = unknown_field_rejection(more)
            elif more:
                self.rescued[row] = as_text(more)
        return columns, rejections
