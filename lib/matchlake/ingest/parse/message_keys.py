"""The key columns in the key of a message: a JSON object, one JSON value, or plain text."""

import json
from collections.abc import Callable
from typing import Any

import pyarrow as pa

from matchlake.ingest.columns import Columns
from matchlake.ingest.parse.readers import Reader
from matchlake.ingest.rejections import ErrorCode, Rejection

_WRAPPED = {"schema", "payload"}
"""The fields of a key that Kafka Connect writes with its schema."""
_PLAIN = ("int", "bigint", "double", "boolean")
"""The types whose values are written in JSON without quotes."""


class KeyReader:
    """Reads keys as columns, by a reader of JSON lines."""

    rescued: dict[int, str]

    def __init__(self, json_reader: Reader, columns: Columns) -> None:
        self._reader = json_reader
        self._columns = columns
        # As strings, fractions keep their digits; but a double does not become a string.
        doubles = any(column.type == "double" for column in columns.values())
        self._fraction: Callable[[str], float | str] = float if doubles else str
        self.rescued = {}

    def read(self, values: pa.Array) -> tuple[dict[str, pa.Array], dict[int, Rejection]]:
        """The columns of the keys, and the rejections by row."""
        lines = [self._line(raw) for raw in values.to_pylist()]
        return self._reader.read(pa.array(lines, pa.binary()))

    def why_null(self, values: pa.Array, row: int, name: str) -> ErrorCode:
        """Whether the field of a null column is missing in the key, or null."""
        line = pa.array([self._line(values[row].as_py())], pa.binary())
        return self._reader.why_null(line, 0, name)

    def _line(self, raw: bytes) -> bytes:
        """The key as a line of JSON."""
        try:
            text = raw.decode()
            value = json.loads(text, parse_float=self._fraction)
        except (ValueError, RecursionError):  # not JSON, or not UTF-8
            value = None
        if isinstance(value, dict) and set(value) == _WRAPPED:
            return json.dumps(value["payload"]).encode() + b"\n"
        if isinstance(value, dict) or len(self._columns) != 1 or not _is_text(raw):
            return raw + b"\n"
        ((name, column),) = self._columns.items()
        is_quoted = isinstance(value, str) and text.lstrip()[:1] == '"'
        node: Any = value if is_quoted or column.type in _PLAIN else text
        for part in reversed((column.path or name).split(".")):
            node = {part: text if node is None else node}
        return json.dumps(node).encode() + b"\n"


def _is_text(raw: bytes) -> bool:
    try:
        return bool(raw.decode().strip())
    except UnicodeDecodeError:
        return False
