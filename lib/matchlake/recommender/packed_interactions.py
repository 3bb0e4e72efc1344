"""Interactions as a fit reads them: packed and counted in one pass, and kept until it ends.

The caller's plan runs once, even if a fit reads its result often, and need not give the same rows
twice. A row of the packed frame holds many interactions as an Arrow stream, with dictionary-encoded
ids.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import DataFrame
from pyspark.sql.types import StructType

from matchlake.engine.packing import binary_array, in_chunks, pack_table, unpack_tables
from matchlake.recommender.checkpoint import Checkpointer
from matchlake.recommender.interaction_spec import InteractionSpec
from matchlake.recommender.interactions import VALUE, Counts, InteractionStats, validate
from matchlake.recommender.scaled_weights import scaled_weights
from matchlake.schemas import ITEM_ID, USER_ID

Hashes = npt.NDArray[np.uint64]

_COUNTS = (
    "rows long, invalid long, total double, minimum double, maximum double, "
    "positive long, total_log double"
)
_SCHEMA = f"data binary, {_COUNTS}, users binary, items binary"

_SKETCH = 2048
"""Hashes in the sketch of the distinct ids of a side: the standard error is 2 % (1 / sqrt)."""


@dataclass(frozen=True)
class PackedPairs:
    """Interactions of `schema` (`user_id`, `item_id`, `value`) in the column `data` of `frame`.

    `mean` is subtracted from every value, and `weight_scale` scales it, when a fit reads it.
    """

    frame: DataFrame
    schema: StructType
    mean: float
    weight_scale: float | None = None

    def unpacked(self) -> DataFrame:
        """The interactions one by one, their values as a fit reads them; lazy."""
        return self.frame.mapInArrow(_Unpack(self.mean, self.weight_scale), self.schema)


def pack_pairs(
    pairs: DataFrame, spec: InteractionSpec, checkpoint: Checkpointer
) -> tuple[PackedPairs, InteractionStats]:
    """Packs and counts the rows of `prepare`: a checkpoint, and an action for the counts.

    Raises InputError for invalid rows.
    """
    packed = checkpoint(pairs.mapInArrow(_Pack(spec.nonnegative), _SCHEMA))
    size = validate(_counts(packed.drop("data").toArrow()), pairs, spec)
    return PackedPairs(packed.select("data"), pairs.schema, size.mean), size


def unpack_pairs(data: pa.ChunkedArray) -> pa.Table:
    """The interactions of several packed rows, their ids encoded by one dictionary."""
    return pa.concat_tables(unpack_tables(data)).unify_dictionaries().combine_chunks()


@dataclass(frozen=True)
class DenseIds:
    """Ids of one side in their order, and for each interaction the index of its id."""

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
class _Pack:
    """The task of `pack_pairs`; values below 0 are invalid if `nonnegative`."""

    nonnegative: bool

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
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


@dataclass(frozen=True)
class _Unpack:
    """The task of `PackedPairs.unpacked`."""

    mean: float
    weight_scale: float | None

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            for table in unpack_tables(batch["data"]):
                columns = [table[name].combine_chunks() for name in (USER_ID, ITEM_ID, VALUE)]
                users, items = (column.dictionary_decode() for column in columns[:2])
                values = np.asarray(columns[2]) - np.float32(self.mean)
                values = scaled_weights(values, self.weight_scale)
                names = [USER_ID, ITEM_ID, VALUE]
                yield from pa.table([users, items, values], names=names).to_batches(1 << 16)


def _sketch(ids: pa.Array) -> Hashes:
    """The smallest hashes of distinct ids (k minimum values: Bar-Yossef et al. 2002)."""
    hashes = pd.util.hash_array(ids.drop_null().to_numpy(zero_copy_only=False), categorize=False)
    return np.partition(hashes, _SKETCH)[:_SKETCH] if len(hashes) > _SKETCH else hashes


def _distinct(sketches: pa.ChunkedArray) -> int:
    """The estimated number of distinct ids; exact below `_SKETCH`."""
    parts = [np.frombuffer(sketch.as_buffer(), np.uint64) for sketch in sketches]
    smallest = np.unique(np.concatenate(parts))[:_SKETCH] if parts else np.zeros(0)
    if len(smallest) < _SKETCH:
        return len(smallest)
    return round((_SKETCH - 1) * 2.0**64 / float(smallest[-1]))


def _counts(table: pa.Table) -> Counts:
    rows, invalid, positive = (
        pc.sum(table[name]).as_py() or 0 for name in ("rows", "invalid", "positive")
    )
    mean = math.fsum(table["total"].to_pylist()) / (rows - invalid) if rows > invalid else None
    minimum, maximum = pc.min(table["minimum"]).as_py(), pc.max(table["maximum"]).as_py()
    users, items = _distinct(table["users"]), _distinct(table["items"])
    log_mean = math.fsum(table["total_log"].to_pylist()) / positive if positive else None
    return Counts(rows, invalid, users, items, mean, minimum, maximum, log_mean)
