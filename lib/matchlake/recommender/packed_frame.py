"""Packed interactions as a Spark frame; see `packed_interactions.py`."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql.types import StructType

from matchlake.engine.packing import unpack_tables
from matchlake.recommender.checkpoint import Checkpointer
from matchlake.recommender.interaction_spec import InteractionSpec
from matchlake.recommender.interaction_stats import VALUE, InteractionStats
from matchlake.recommender.interactions import validate
from matchlake.recommender.packed_interactions import PACKED_SCHEMA, Pack, counts_of
from matchlake.recommender.scaled_weights import scaled_weights
from matchlake.schemas import ITEM_ID, USER_ID


@dataclass(frozen=True)
class PackedPairs:
    """Interactions of `schema` (`user_id`, `item_id`, `value`) in the column `data` of `frame`.

    When a fit reads a value, it subtracts `mean` and scales by `weight_scale`.
    """

    frame: DataFrame
    schema: StructType
    mean: float
    weight_scale: float | None = None

    def unpacked(self) -> DataFrame:
        """Returns one row per interaction, with the values of the fit; lazy."""
        return self.frame.mapInArrow(_Unpack(self.mean, self.weight_scale), self.schema)


def pack_pairs(
    pairs: DataFrame, spec: InteractionSpec, checkpoint: Checkpointer
) -> tuple[PackedPairs, InteractionStats]:
    """Packs and counts the rows of `prepare`: a checkpoint, and an action for the counts.

    Raises InputError for invalid rows.
    """
    packed = checkpoint(pairs.mapInArrow(Pack(spec.nonnegative), PACKED_SCHEMA))
    size = validate(counts_of(packed.drop("data").toArrow()), pairs, spec)
    return PackedPairs(packed.select("data"), pairs.schema, size.mean), size


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
