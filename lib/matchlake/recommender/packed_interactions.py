"""Packs and counts the interactions of a fit in one pass, and keeps them until the fit ends.

The caller's plan runs only once, so it need not be deterministic. A row of the packed frame has
many interactions as an Arrow stream, with dictionary-encoded ids. This module does not need Spark;
`packed_frame.py` runs it on Spark.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from matchlake.engine.packing import binary_array, in_chunks, pack_table, unpack_tables
from matchlake.recommender.interaction_stats import VALUE, Counts
from matchlake.schemas import ITEM_ID, USER_ID

Hashes = npt.NDArray[np.uint64]

_COUNTS = (
    "rows long, invalid long, total double, minimum double, maximum double, "
    "positive long, total_log double"
)
PACKED_SCHEMA = f"data binary, {_COUNTS}, users binary, items binary"

_SKETCH = 2048
"""The number of hashes in the sketch of a side's distinct ids; the standard error is 2%."""


def unpack_pairs(data: pa.ChunkedArray) -> pa.Table:
    """Returns the interactions of several packed rows, with ids encoded by one dictionary."""
    return pa.concat_tables(unpack_tables(data)).unify_dictionaries().combine_chunks()


@dataclass(frozen=True)
class DenseIds:
    """Ids of one side in sorted order, and the index of each interaction's id."""

    ids: pa.Array
    places: npt.NDArray[np.int32]


def dense_places(column: pa.ChunkedArray) -> DenseIds:
    """Sorted distinct ids (strings by their UTF-8 bytes, as Spark sorts them) and indices."""
    encoded = column.combine_chunks()
    order = pc.sort_indices(encoded.dictionary)
    rank = np.empty(len(order), np.int32)
    rank[np.asarray(order)] = np.arange(len(order), dtype=np.int32)
    return DenseIds(encoded.dictionary.take(order), rank[np.asarray(encoded.indices)])


@dataclass(frozen=True)
class Pack:
    """The task that packs interactions; values below 0 are invalid if `nonnegative`."""

    nonnegative: bool

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Reads interactions; yields packed rows of about PACKED interactions."""
        for table in in_chunks(batches):
            if len(table):
                yield self._packed(table.combine_chunks())

    def _packed(self, table: pa.Table) -> pa.RecordBatch:
        values = table[VALUE].to_numpy()
        valid = np.isfinite(values)
        if self.nonnegative:
            valid &= values >= 0
        sketches = []
        for index, name in ((0, USER_ID), (1, ITEM_ID)):
            valid &= np.asarray(table[name].is_valid())
            encoded = table[name].combine_chunks().dictionary_encode()
            sketches.append(_sketch(encoded.dictionary).tobytes())
            table = table.set_column(index, name, encoded)
        fitted = values[valid]
        row = {
            "rows": len(table),
            "invalid": len(table) - len(fitted),
            "total": float(fitted.sum(dtype=np.float64)),
            "minimum": float(fitted.min()) if len(fitted) else None,
            "maximum": float(fitted.max()) if len(fitted) else None,
            "positive": int((fitted > 0).sum()),
            "total_log": float(np.log(fitted[fitted > 0], dtype=np.float64).sum()),
            "users": sketches[0],
            "items": sketches[1],
        }
        arrays = [pa.array([value], _TYPES[name]) for name, value in row.items()]
        data = binary_array([pack_table(table)]).chunk(0)
        return pa.RecordBatch.from_arrays([data, *arrays], names=["data", *row])


_TYPES = {
    **dict.fromkeys(("rows", "invalid", "positive"), pa.int64()),
    **dict.fromkeys(("total", "minimum", "maximum", "total_log"), pa.float64()),
    **dict.fromkeys(("users", "items"), pa.binary()),
}


def _sketch(ids: pa.Array) -> Hashes:
    """Returns the smallest hashes of distinct ids (k minimum values: Bar-Yossef et al. 2002)."""
    hashes = pd.util.hash_array(ids.drop_null().to_numpy(zero_copy_only=False), categorize=False)
    return np.partition(hashes, _SKETCH)[:_SKETCH] if len(hashes) > _SKETCH else hashes


def _distinct(sketches: pa.ChunkedArray) -> int:
    """Returns the estimated number of distinct ids; exact below `_SKETCH`."""
    parts = [np.frombuffer(sketch.as_buffer(), np.uint64) for sketch in sketches]
    smallest = np.unique(np.concatenate(parts))[:_SKETCH] if parts else np.zeros(0)
    if len(smallest) < _SKETCH:
        return len(smallest)
    return round((_SKETCH - 1) * 2.0**64 / float(smallest[-1]))


def counts_of(table: pa.Table) -> Counts:
    """Adds up the counts of packed rows, which need not have `data`."""
    rows, invalid, positive = (
        pc.sum(table[name]).as_py() or 0 for name in ("rows", "invalid", "positive")
    )
    mean = math.fsum(table["total"].to_pylist()) / (rows - invalid) if rows > invalid else None
    minimum, maximum = pc.min(table["minimum"]).as_py(), pc.max(table["maximum"]).as_py()
    users, items = _distinct(table["users"]), _distinct(table["items"])
    log_mean = math.fsum(table["total_log"].to_pylist()) / positive if positive else None
    return Counts(rows, invalid, users, items, mean, minimum, maximum, log_mean)
