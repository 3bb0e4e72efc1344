"""Turns Kafka messages into the rows of a bronze table, valid and quarantined."""

import gc
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import tee
from typing import cast

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import StructField, StructType

from matchlake.ingest.params import StreamParams
from matchlake.ingest.parse.decoders import schema_id
from matchlake.ingest.parse.guard import killers
from matchlake.ingest.rejections import ErrorCode
from matchlake.ingest.rules import WARNINGS
from matchlake.ingest.schema import (
    BATCH,
    ERROR_CODE,
    ERROR_COLUMNS,
    QUARANTINED,
    RAW,
    STATUS,
    VALID,
)
from matchlake.ingest.streams.stream_reader import StreamReader
from matchlake.ingest.streams.stream_rules import with_rules
from matchlake.ingest.tables import record_columns, stream_table
from matchlake.schemas import quote_identifier, quote_text

MESSAGE = ("key", "value", "headers", "partition", "offset", "timestamp")
"""The columns of a message that become a row."""
ODD_TIMESTAMP = "odd_timestamp"
"""The column with a timestamp, in milliseconds, that no table can hold; null for all others."""
_READ_FROM = ("checkpoint_id", "batch_id")
_READ, _REFUSED, _KEY = "_read", "_refused", "_key"
_arrow_udf = getattr(F, "arrow_udf", None)
"""None with versions before Spark 4.1."""


def parse_messages(
    messages: DataFrame,
    stream: StreamParams,
    passing: Sequence[str] = (),
    batch: tuple[int, int] | None = None,
    *,
    guarded: bool = False,
    emptied: Callable[[DataFrame], DataFrame] | None = None,
) -> DataFrame:
    """One row per message, with the columns of `stream_table(stream)`. Lazy, no shuffle.

    Reads key, value (binary), headers, partition, offset, timestamp, and `odd_timestamp` if it is
    there. The columns of `passing` are kept. `batch` gives checkpoint_id and batch_id. Without
    `batch` the result has these two columns only if `passing` names them.

    Messages with an odd timestamp, or a value that is too large, are quarantined and not decoded.
    With `guarded`, this also applies to values that crash the process that decodes them. `emptied`
    empties the rows of erased users. The rules of the stream come after it, because a row that
    breaks one loses the columns by which a user is recognised.
    """
    refusals = _refusals(stream, messages.columns)
    read = _Read(stream, batch and batch[1], guarded, " OR ".join(each[0] for each in refusals))
    odd = [name for name in messages.columns if name == ODD_TIMESTAMP]
    rows = read.added_to(messages.select(*MESSAGE, *odd, *passing))
    # Uses SQL text, because Column objects need 780 calls from Python to the JVM per batch.
    expressions = {name: f"{_READ}.{quote_identifier(name)}" for name in read.fields.names}
    for is_refused, *error in refusals:
        for column, part in zip(ERROR_COLUMNS, error, strict=True):
            expressions[column.name] = f"IF({is_refused}, {part}, {expressions[column.name]})"
    is_valid = f"{expressions[ERROR_CODE.name]} IS NULL"
    expressions |= {
        STATUS.name: f"IF({is_valid}, '{VALID}', '{QUARANTINED}')",
        "topic": quote_text(stream.topic),
        "kafka_timestamp": "`timestamp`",
        RAW.name: f"IF({is_valid}, NULL, struct(key, value, headers))",
        "value_bytes": "length(value)",
        "attempt": "1",
    }
    expressions.setdefault("schema_version", str(stream.schema_version))
    if batch:
        expressions["checkpoint_id"] = f"CAST({batch[0]:d} AS BIGINT)"
    absent = {name for name in _READ_FROM if not batch and name not in passing}
    names = [name for name in stream_table(stream).column_names if name not in absent]
    if stream.rules:
        expressions[RAW.name] = "struct(key, value, headers)"
    quoted = {name: quote_identifier(name) for name in names if name != WARNINGS.name}
    parsed = rows.selectExpr(
        *(f"{expressions.get(name, as_is)} AS {as_is}" for name, as_is in quoted.items())
    )
    parsed = emptied(parsed) if emptied else parsed
    return with_rules(parsed, stream, names) if stream.rules else parsed


def _refusals(stream: StreamParams, columns: Sequence[str]) -> list[tuple[str, str, str]]:
    """SQL of the condition, the error code and the message of what is not decoded."""
    refusals, limit = [], stream.limits.max_value_bytes
    if limit is not None:
        above = f"' bytes, above limits.max_value_bytes, {limit}'"
        text = f"concat('the value has ', length(value), {above})"
        refusals.append((f"length(value) > {limit}", f"'{ErrorCode.VALUE_TOO_LARGE}'", text))
    if ODD_TIMESTAMP in columns:
        text = (
            "concat('partition ', partition, ', offset ', offset, ': the timestamp ', "
            f"{ODD_TIMESTAMP}, ' ms is beyond what a table can hold')"
        )
        refusals.append((f"{ODD_TIMESTAMP} IS NOT NULL", f"'{ErrorCode.BAD_TIMESTAMP}'", text))
    return refusals


@dataclass(frozen=True)
class _Read:
    """Adds the column `_read` to messages: a struct of the columns that Python computes."""

    stream: StreamParams
    number: int | None
    """The number of the batch, if it is a column."""
    guarded: bool
    refused: str
    """The SQL condition of messages that are not decoded; empty: there are none."""

    @property
    def fields(self) -> StructType:
        """The columns that Python computes."""
        names = {"schema_version"} if self.stream.format_entry.names_schema else set()
        if self.number is not None:
            # Passes the number as a column: with a literal Spark would compile new code for each
            # batch.
            names.add("batch_id")
        own = (column for column in BATCH if column.name in names)
        columns = (*record_columns(self.stream), *ERROR_COLUMNS, *own)
        # The columns have no comments: with comments the schema would differ from that of Python.
        bare = (f"{quote_identifier(column.name)} {column.type}" for column in columns)
        return cast("StructType", StructType.fromDDL(", ".join(bare)))

    def added_to(self, messages: DataFrame) -> DataFrame:
        """The messages with the column `_read`.

        Spark computes the size of each column of a row that it sends to Python. This takes as long
        as the transfer. With Arrow functions only the value is sent. Without Arrow functions whole
        rows are sent. Headers are then JSON, because the size of a list takes 5 us.
        """
        stream, number, guarded = self.stream, self.number, self.guarded

        def read_all(values: Iterator[pa.Array]) -> Iterator[pa.Array]:
            return read_values(values, stream, number, guarded=guarded)

        def add_read(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
            batches, copies = tee(batches)
            read = read_all(_sent(batch, stream) for batch in copies)
            for batch, one in zip(batches, read, strict=True):
                yield batch.append_column(_READ, one)

        value = "concat(value, X'0A')" if _is_ended(stream) else "value"
        refused = f"coalesce({self.refused or 'false'}, false)"
        sent = F.expr(f"IF({refused}, NULL, {value})")
        key = F.expr(f"IF(value IS NULL AND NOT {refused}, key, NULL)")
        if _arrow_udf:
            both = F.struct(sent.alias("value"), key.alias("key")) if stream.has_deletes else sent
            return messages.withColumn(_READ, _arrow_udf(read_all, self.fields)(both))
        whole = F.expr(f"IF({refused}, value, NULL)")
        added = {_REFUSED: whole, "value": sent, "headers": F.to_json("headers")}
        rows = messages.withColumns(added | ({_KEY: key} if stream.has_deletes else {}))
        schema = StructType([*rows.schema, StructField(_READ, self.fields)])
        received = "substring(value, 1, length(value) - 1)" if _is_ended(stream) else "value"
        kind = messages.schema["headers"].dataType.simpleString()
        return rows.mapInArrow(add_read, schema).withColumns(
            {
                "headers": F.from_json("headers", kind),
                "value": F.expr(f"coalesce({_REFUSED}, {received})"),
            }
        )


def _sent(batch: pa.RecordBatch, stream: StreamParams) -> pa.Array:
    """The values of a batch; also the keys of messages without a value, if these are deletes."""
    values = batch.column("value")
    if not stream.has_deletes:
        return values
    return pa.StructArray.from_arrays([values, batch.column(_KEY)], names=["value", "key"])


def _is_ended(stream: StreamParams) -> bool:
    """Whether a newline is added to each value, so that Arrow reads a batch without a copy."""
    return stream.format_entry.decoder is None


def read_values(
    batches: Iterable[pa.Array],
    stream: StreamParams,
    number: int | None = None,
    *,
    guarded: bool = False,
) -> Iterator[pa.StructArray]:
    """The declared columns, `_error_code` and `_error_message` of each value, array by array.

    The columns `_rescued_data` and the schema id follow if the stream has them, and batch_id if
    `number` is given. If records can delete rows, `_operation` precedes the error, and a batch
    is a struct of `value` and of the `key` of messages without one. JSON values must end with a
    newline. With `guarded`, values that crash the
    process that decodes them are found in child processes first, and are not decoded here.
    """
    read = StreamReader(stream).read
    _spare_imports()
    for batch in batches:
        values = batch.field("value") if stream.has_deletes else batch
        keys = batch.field("key") if stream.has_deletes else pa.nulls(len(batch), pa.binary())
        killing = killers(values, read) if guarded else []
        columns = read(values, keys, killing)
        if stream.format_entry.names_schema:
            columns["schema_version"] = pa.array(map(schema_id, values.to_pylist()), pa.int32())
        if number is not None:
            columns["batch_id"] = pa.array(np.full(len(values), number, np.int64))
        yield pa.StructArray.from_arrays(list(columns.values()), names=list(columns))


@cache
def _spare_imports() -> None:
    """Excludes all existing objects from garbage collection, once per process.

    Spark collects garbage after each task, which takes 30 ms with all imported modules.
    """
    gc.freeze()
