"""Casts of values to the declared types: a table says which kind of value becomes which type.

Neither Arrow nor Spark decides what a value means: a pair that `CASTS` lacks is refused.
`conf/README.md` shows the table.
"""

from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from matchlake.ingest.columns import ColumnParams
from matchlake.ingest.parse.cast_numbers import (
    decimal_to_double,
    decimal_to_integer,
    decimal_to_text,
    float_to_double,
    float_to_integer,
    float_to_text,
    integer_to_double,
    integer_to_integer,
    integer_to_text,
    text_to_boolean,
    text_to_double,
    text_to_integer,
    to_decimal,
)
from matchlake.ingest.parse.cast_texts import as_it_is, bytes_to_text, undecodable
from matchlake.ingest.parse.cast_times import (
    UTC,
    date_to_date,
    date_to_instant,
    instant_to_date,
    instant_to_instant,
    number_to_instant,
    outside_years,
    text_to_date,
    text_to_instant,
)
from matchlake.ingest.parse.decimals import DecimalTypes
from matchlake.ingest.parse.safe_cast import Converted, mask_of, without
from matchlake.ingest.rejections import ErrorCode

ARROW = DecimalTypes(
    {
        "string": pa.string(),
        "int": pa.int32(),
        "bigint": pa.int64(),
        "double": pa.float64(),
        "boolean": pa.bool_(),
        "timestamp": UTC,
        "date": pa.date32(),
        "array<string>": pa.list_(pa.string()),
    }
)
Cast = Callable[[pa.Array, ColumnParams], Converted]

CASTS: Mapping[str, Mapping[str, Cast]] = {
    "string": {
        "text": as_it_is,
        "bytes": bytes_to_text,
        "integer": integer_to_text,
        "decimal": decimal_to_text,
        "floating point": float_to_text,
    },
    "int": {
        "integer": integer_to_integer,
        "decimal": decimal_to_integer,
        "floating point": float_to_integer,
        "text": text_to_integer,
    },
    "bigint": {
        "integer": integer_to_integer,
        "decimal": decimal_to_integer,
        "floating point": float_to_integer,
        "text": text_to_integer,
    },
    "double": {
        "floating point": float_to_double,
        "integer": integer_to_double,
        "decimal": decimal_to_double,
        "text": text_to_double,
    },
    "boolean": {"boolean": as_it_is, "text": text_to_boolean},
    "timestamp": {
        "timestamp": instant_to_instant,
        "date": date_to_instant,
        "text": text_to_instant,
        "integer": number_to_instant,
        "decimal": number_to_instant,
        "floating point": number_to_instant,
    },
    "date": {"date": date_to_date, "timestamp": instant_to_date, "text": text_to_date},
    "array<string>": {"list of texts": as_it_is},
    "decimal": {"decimal": to_decimal, "integer": to_decimal, "text": to_decimal},
}
"""The cast per declared type and kind of value; a pair that is not here is `wrong_type`."""

_TEXTS = ARROW["array<string>"]
_KINDS: tuple[tuple[Callable[[pa.DataType], bool], str], ...] = (
    (pa.types.is_string, "text"),
    (pa.types.is_binary, "bytes"),
    (pa.types.is_integer, "integer"),
    (pa.types.is_decimal, "decimal"),
    (pa.types.is_floating, "floating point"),
    (pa.types.is_boolean, "boolean"),
    (pa.types.is_timestamp, "timestamp"),
    (pa.types.is_date, "date"),
    (lambda type_: type_ == _TEXTS, "list of texts"),
)
_OF_TEXT = {pa.string(), pa.large_string(), pa.string_view(), pa.null()}
_USUAL: tuple[tuple[Callable[[pa.DataType], bool], pa.DataType], ...] = (
    (pa.types.is_large_string, pa.string()),
    (pa.types.is_string_view, pa.string()),
    (pa.types.is_large_binary, pa.binary()),
    (pa.types.is_fixed_size_binary, pa.binary()),
    (pa.types.is_binary_view, pa.binary()),
    (lambda type_: _is_list(type_) and type_.value_type in _OF_TEXT, _TEXTS),
)


def convert(values: pa.Array, column: ColumnParams) -> Converted:
    """Casts `values` to the type of the column: null where they fail, and the failures.

    An `int` is given with 64 bits, because its range is checked later. The result of a value does
    not depend on the other values.
    """
    values = plain(values)
    to = pa.int64() if column.type == "int" else ARROW[column.type]
    declared = "decimal" if pa.types.is_decimal(to) else column.type
    cast = CASTS[declared].get(kind_of(values.type))
    if cast is None:
        return pa.nulls(len(values), to), [(ErrorCode.WRONG_TYPE, mask_of(values.is_valid()))]
    invalid = undecodable(values)
    converted, failures = cast(without(values, invalid), column)
    outside = outside_years(converted)
    found = [(ErrorCode.INVALID_UTF8, invalid), *failures, (ErrorCode.OUT_OF_RANGE, outside)]
    return without(converted, outside), [(code, rows) for code, rows in found if rows.any()]


def kind_of(type_: pa.DataType) -> str:
    """The kind of the values of a plain type; empty for a type that no column takes."""
    return next((kind for matches, kind in _KINDS if matches(type_)), "")


def plain(values: pa.Array) -> pa.Array:
    """The same values in the usual Arrow type of their kind, without dictionaries and views."""
    type_ = values.type
    if isinstance(type_, pa.BaseExtensionType):
        return plain(values.storage)
    if pa.types.is_dictionary(type_):
        return plain(values.dictionary_decode())
    if pa.types.is_run_end_encoded(type_):
        return plain(pc.run_end_decode(values))
    usual = next((usual for matches, usual in _USUAL if matches(type_)), None)
    return values if usual is None else values.cast(usual)


def _is_list(type_: pa.DataType) -> bool:
    lists = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
    views = (pa.types.is_list_view, pa.types.is_large_list_view)
    return any(matches(type_) for matches in (*lists, *views))


def indices_among(rows: npt.ArrayLike, count: int) -> pa.Array:
    """The index in `rows` of each of `count` rows; null for rows that are not in `rows`."""
    chosen = np.asarray(rows, np.int64)
    indices, absent = np.zeros(count, np.int64), np.ones(count, bool)
    indices[chosen], absent[chosen] = np.arange(len(chosen)), False
    return pa.array(indices, mask=absent)
