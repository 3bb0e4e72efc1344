"""Fold-in on Spark: each partition gets the fixed side and its own part of the history."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import ArrayType, FloatType, LongType, StructField, StructType

from matchlake.engine.arrow import combined
from matchlake.engine.broadcast import sent_packed, sent_to_all, spread_over
from matchlake.engine.csr import csr_from_pairs
from matchlake.engine.packing import unpack_tables
from matchlake.recommender.als.fold_in import fixed_side, fold_in
from matchlake.recommender.als.params import AlsParams, needed
from matchlake.recommender.interactions import VALUE, fits

_FIXED, _HISTORY = 0, 1


def fold_in_frame(
    history: DataFrame, fixed: DataFrame, mean: float, params: AlsParams
) -> DataFrame:
    """`query`, `factors`, `bias`, `observed` of every query in `history`; lazy.

    `history` has `query`, `target`, `value`; `fixed` has `id`, `idx`, `factors`, `bias`. Pairs of
    an unknown target do not count; repeated pairs count each time. Where `observed` is 0, `factors`
    is null: nothing is known of such a query, and it is answered as an unknown one. What computes
    the rows fails, and shows one, on values that a fit would refuse.
    """
    spread = spread_over(history)
    side = fixed.select(F.col("id").alias("target"), "idx", "factors", "bias")
    rows = sent_to_all(side, spread, _FIXED)
    told = history.select(
        "query",
        F.col("target").try_cast(side.schema["target"].dataType).alias("target"),
        _checked(params).alias(VALUE),
    )
    scene = spread.gather(rows, sent_packed(told, spread, _HISTORY))
    schema = StructType(
        [
            StructField("query", history.schema["query"].dataType),
            StructField("factors", ArrayType(FloatType())),
            StructField("bias", FloatType()),
            StructField("observed", LongType()),
        ]
    )
    return scene.mapInArrow(_Task(mean, params), schema)


def _checked(params: AlsParams) -> Column:
    """The value as float; a task that meets one that a fit would refuse fails and shows its row."""
    value = F.col(VALUE).cast("float")
    shown = [F.coalesce(F.col(n).cast("string"), F.lit("null")) for n in ("query", "target", VALUE)]
    said = F.lit("An interaction cannot be folded in, that of "), F.concat_ws(", ", *shown)
    told = F.concat(*said, F.lit(f". {needed(params)}"))
    return F.when(fits(value, params), value).otherwise(F.raise_error(told))


@dataclass(frozen=True)
class _Task:
    """The body of a task: the fixed side and its part of the history in, folded rows out."""

    mean: float
    params: AlsParams

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        arrived = list(batches)
        if not arrived:
            return
        table = pa.Table.from_batches(arrived)
        packed = unpack_tables(table["data"])
        if not packed:
            return
        # In their order in the model: sums of floats are those of any other call, bit by bit.
        rows = table.filter(pc.equal(table["kind"], _FIXED)).sort_by("idx")
        told = pa.concat_tables(packed)
        encoded = combined(told["query"]).dictionary_encode()
        ids = combined(rows["target"])
        places = np.asarray(pc.fill_null(pc.index_in(combined(told["target"]), ids), -1))
        owners = np.asarray(pc.fill_null(encoded.indices, -1))
        known = (places >= 0) & (owners >= 0)
        shape = len(encoded.dictionary), len(ids)
        values = np.asarray(told[VALUE])[known]
        histories = csr_from_pairs(owners[known], places[known], values, shape)
        flat = np.asarray(combined(rows["factors"]).flatten())
        factors, bias = fold_in(
            histories,
            fixed_side(
                flat.reshape(len(ids), self.params.rank),
                np.asarray(rows["bias"]),
                self.mean,
                self.params,
            ),
        )
        rank = self.params.rank
        bounds = pa.array(np.arange(0, (len(factors) + 1) * rank, rank, dtype=np.int32))
        flat, observed = np.ascontiguousarray(factors).ravel(), histories.counts()
        unknown = pa.array(observed == 0)
        yield pa.RecordBatch.from_pydict(
            {
                "query": encoded.dictionary,
                "factors": pa.ListArray.from_arrays(bounds, flat, mask=unknown),
                "bias": pa.array(bias),
                "observed": pa.array(observed),
            }
        )
