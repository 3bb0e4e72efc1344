"""Reads the values of one stream as its declared columns, with errors and rescued fields."""

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

from matchlake.ingest.columns import Columns
from matchlake.ingest.params import StreamParams
from matchlake.ingest.parse.casts import indices_among
from matchlake.ingest.parse.changes import ChangeReader, Envelope, checked_changes
from matchlake.ingest.parse.formats import JsonOptions
from matchlake.ingest.parse.message_keys import KeyReader
from matchlake.ingest.parse.readers import Reader, make_reader
from matchlake.ingest.parse.validation import check_columns, error_arrays
from matchlake.ingest.rejections import ErrorCode, Rejection
from matchlake.ingest.schema import RESCUED

_KILLED = Rejection(ErrorCode.KILLS_READER, "the process that decoded the value ended unexpectedly")


class StreamReader:
    """Reads arrays of values. The result of a value does not depend on the other values."""

    def __init__(self, stream: StreamParams) -> None:
        self._stream = stream
        envelope = _envelope(stream)
        self._reader = _reader(stream, envelope.fields if envelope else stream.columns)
        self._changes: ChangeReader | None = None
        if stream.has_deletes:
            self._changes = ChangeReader(self._reader, _key_reader(stream), envelope)

    def read(
        self, values: pa.Array, keys: pa.Array | None = None, killing: Sequence[int] = ()
    ) -> dict[str, pa.Array]:
        """The columns of valid records, their errors and `_rescued_data`.

        `keys` are the keys of messages without a value, if these are deletes. The rows of
        `killing` are not decoded.
        """
        count, columns = len(values), self._stream.columns
        if killing:
            values = pc.if_else(indices_among(killing, count).is_valid(), None, values)
        killed = dict.fromkeys(killing, _KILLED)
        if self._changes:
            keys = pa.nulls(count, pa.binary()) if keys is None else keys
            parts, rejections = self._changes.read(values, keys)
            rejections |= killed
            found = checked_changes(parts, rejections, columns, self._stream.key_columns)
        else:
            read, rejections = self._reader.read(values)
            rejections |= killed
            found = check_columns(
                columns,
                read,
                rejections,
                lambda row, name: self._reader.why_null(values, row, name),
            )
        return found | self._rescued(rejections, count) | error_arrays(rejections, count)

    def _rescued(self, rejections: dict[int, Rejection], count: int) -> dict[str, pa.Array]:
        if self._stream.unknown_fields != "rescue":
            return {}
        rescued = self._reader.rescued
        kept = {row: text for row, text in rescued.items() if row not in rejections}
        return {RESCUED.name: pa.array(map(kept.get, range(count)), pa.string())}


def _reader(stream: StreamParams, columns: Columns) -> Reader:
    return make_reader(
        stream.format, stream.format_options, columns, stream.unknown_fields, stream.limits
    )


def _key_reader(stream: StreamParams) -> Reader:
    """The reader of keys: Avro if the stream has a registry, else JSON or text."""
    columns = {name: stream.columns[name] for name in stream.key_columns}
    if stream.format_entry.names_schema:
        return make_reader(stream.format, stream.format_options, columns, "ignore", stream.limits)
    return KeyReader(make_reader("json", JsonOptions(), columns, "ignore", stream.limits), columns)


def _envelope(stream: StreamParams) -> Envelope | None:
    """The envelope of Debezium. Only a JSON envelope may be nested below a schema."""
    if stream.change_data != "debezium":
        return None
    return Envelope(stream.columns, stream.key_columns, may_be_wrapped=stream.format == "json")
