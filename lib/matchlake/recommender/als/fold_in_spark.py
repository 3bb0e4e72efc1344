"""Fold-in on Spark: each partition gets the fixed side and a part of the history."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import ArrayType, FloatType, LongType, StructField, StructType

from matchlake.engine.arrow import combined, matrix_lists
from matchlake.engine.broadcast import plan_partitions, replicate, route_packed
from matchlake.engine.csr import csr_from_pairs
from matchlake.engine.packing import unpack_tables
from matchlake.recommender.als.fold_in import fixed_side, fold_in
from matchlake.recommender.als.params import AlsParams
from matchlake.recommender.interaction_spec import InteractionSpec
from matchlake.recommender.interaction_stats import VALUE
from matchlake.recommender.interactions import is_valid

_FIXED, _HISTORY = 0, 1


def fold_in_frame(
    history: DataFrame, fixed: DataFrame, mean: float, params: AlsParams
) -> DataFrame:
    """Returns `query`, `factors`, `bias`, `n_interactions` of every query in `history`; lazy.

    `history` has `query`, `target`, `value`; `fixed` has `id`, `idx`, `factors`, `bias`. Pairs with
    an unknown target are ignored; repeated pairs count each time. If `n_interactions` is 0,
    `factors` is null, and the query is treated as unknown. A task fails on values that a fit
    refuses, and shows one of them.
    """
    plan = plan_partitions(history)
    side = fixed.select(F.col("id").alias("target"), "idx", "factors", "bias")
    pairs = history.select(
        "query",
        F.col("target").try_cast(side.schema["target"].dataType).alias("target"),
        _valid_value(params.interaction_spec).alias(VALUE),
    )
    rows = plan.assemble(replicate(side, plan, _FIXED), route_packed(pairs, plan, _HISTORY))
    schema = StructType(
        [
            StructField("query", history.schema["query"].dataType),
            StructField("factors", ArrayType(FloatType())),
            StructField("bias", FloatType()),
            StructField("n_interactions", LongType()),
        ]
    )
    return rows.mapInArrow(_Task(mean, params), schema)


def _valid_value(spec: InteractionSpec) -> Column:
    """Returns the value as float; a task fails on a value that a fit refuses, and shows its row."""
    value = F.col(VALUE).cast("float")
    shown = [F.coalesce(F.col(n).cast("string"), F.lit("null")) for n in ("query", "target", VALUE)]
    message = F.concat(
        F.lit("This interaction cannot be folded in: "),
        F.concat_ws(", ", *shown),
        F.lit(f". {spec.requirement}"),
    )
    return F.when(is_valid(value, spec), value).otherwise(F.raise_error(message))


@dataclass(frozen=True)
class _Task:
    """The function of a task: reads the fixed side and a part of the history; folds in."""

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
        # Rows are sorted in the model's order, so that sums of floats are equal in every call.
        rows = table.filter(pc.equal(table["kind"], _FIXED)).sort_by("idx")
        pairs = pa.concat_tables(packed)
        encoded = combined(pairs["query"]).dictionary_encode()
        ids = combined(rows["target"])
        indices = np.asarray(pc.fill_null(pc.index_in(combined(pairs["target"]), ids), -1))
        owners = np.asarray(pc.fill_null(encoded.indices, -1))
        known = (indices >= 0) & (owners >= 0)
        shape = len(encoded.dictionary), len(ids)
        values = np.asarray(pairs[VALUE])[known]
        histories = csr_from_pairs(owners[known], indices[known], values, shape)
        flat = np.asarray(combined(rows["factors"]).flatten())
        matrix = flat.reshape(len(ids), self.params.rank)
        fixed = fixed_side(matrix, np.asarray(rows["bias"]), self.mean, self.params)
        factors, bias = fold_in(histories, fixed)
        counts = histories.counts()
        yield pa.RecordBatch.from_pydict(
            {
                "query": encoded.dictionary,
                "factors": matrix_lists(factors, counts == 0),
                "bias": pa.array(bias),
                "n_interactions": pa.array(counts),
            }
        )
