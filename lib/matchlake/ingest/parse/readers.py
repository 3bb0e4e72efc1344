"""The reader of a stream's format: batches of values in, declared columns and findings out."""

import json
from typing import Protocol

import pyarrow as pa

from matchlake.ingest.params import StreamParams
from matchlake.ingest.parse.decoders import (
    avro_decoder,
    confluent_decoder,
    csv_decoder,
    protobuf_decoder,
)
from matchlake.ingest.parse.json import JsonReader
from matchlake.ingest.parse.records import (
    RecordReader,
    as_text,
    beyond,
    declared_tree,
    unknown_fields,
)
from matchlake.ingest.reasons import Finding, Reason

_MOST_DIGITS = 4000


def _integer(digits: str) -> int | str:
    """An integer; of more digits than Python turns into a number, its text."""
    return int(digits) if len(digits) <= _MOST_DIGITS else digits


_DECODER = json.JSONDecoder(parse_int=_integer)


class Reader(Protocol):
    """Reads values of one format."""

    rescued: dict[int, str]
    """The fields of the last batch that are not declared, as JSON, by row."""

    def read(self, values: pa.Array) -> tuple[dict[str, pa.Array], dict[int, Finding]]:
        """The columns of binary values, and the rows that could not be read, with the reason."""

    def why_null(self, values: pa.Array, row: int, name: str) -> Reason:
        """Whether a column that is null in a row's value is missing there, or null."""


def reader_of(stream: StreamParams) -> Reader:
    """The reader of the stream's values; raises ConfigError where its format lacks something."""
    columns, reading, undeclared = stream.columns, stream.reading, stream.undeclared
    match stream.format:
        case "csv":
            by_place = {name: c.model_copy(update={"path": None}) for name, c in columns.items()}
            return RecordReader(by_place, csv_decoder(reading, list(columns)), typed=False)
        case "avro":
            return RecordReader(columns, avro_decoder(reading), undeclared)
        case "confluent_avro":
            return RecordReader(columns, confluent_decoder(reading), undeclared)
        case "protobuf":
            return RecordReader(columns, protobuf_decoder(reading), undeclared)
    return _Json(stream)


class _Json:
    """Reads JSON in batches; looks at single values only where undeclared fields matter."""

    def __init__(self, stream: StreamParams) -> None:
        self._reader = JsonReader(stream.columns)
        self._undeclared = stream.undeclared
        self._tree = declared_tree(stream.columns)
        self.why_null = self._reader.why_null
        self.rescued: dict[int, str] = {}

    def read(self, values: pa.Array) -> tuple[dict[str, pa.Array], dict[int, Finding]]:
        found, findings = self._reader.read(values)
        self.rescued = {}
        if self._undeclared == "ignore":
            return found, findings
        for row, raw in enumerate(values.to_pylist()):
            if row in findings:
                continue
            try:
                more = beyond(_DECODER.decode(raw.decode()), self._tree)
            except RecursionError:
                more = {"...": "nested too deeply to be told apart"}
            except ValueError as error:
                findings[row] = Finding(Reason.MALFORMED_JSON, str(error))
                continue
            if more and self._undeclared == "refuse":
                findings[row] = unknown_fields(more)
            elif more:
                self.rescued[row] = as_text(more)
        return found, findings
