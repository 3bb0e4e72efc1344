"""`fit_als`: matrix factorization by alternating least squares."""

from collections.abc import Callable, Iterator

import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import (
    ArrayType,
    DoubleType,
    FloatType,
    IntegerType,
    LongType,
    StructField,
    StructType,
)

from matchlake.recommender.columns import require_columns
from matchlake.recommender.model import FactorModel
from matchlake.recommender.one_task import ITEM_SIDE, USER_SIDE, fit_batches
from matchlake.recommender.params import AlsParams
from matchlake.schemas import ITEM_ID, USER_ID

__all__ = ["AlsParams", "fit_als"]

Cut = Callable[[DataFrame], DataFrame]
"""Writes a frame out and gives it back without its lineage."""


def keep_locally(frame: DataFrame) -> DataFrame:
    """The cut used when the caller gives none: a local checkpoint on the executors."""
    return frame.localCheckpoint()


def fit_als(interactions: DataFrame, params: AlsParams, *, cut: Cut = keep_locally) -> FactorModel:
    """Learns a factor model from `user_id`, `item_id` and `rating` (explicit) or `strength`."""
    value = params.value_column
    require_columns(interactions, (USER_ID, ITEM_ID, value), "the interactions")
    pairs = interactions.select(
        USER_ID, ITEM_ID, F.col(value).cast("float").alias(value)
    ).repartition(1)
    schema = _rows_schema(pairs)
    fitted = cut(pairs.mapInArrow(_Fit(params), schema))
    first = fitted.select("mean").first()
    return FactorModel(
        users=_side(fitted, USER_SIDE, USER_ID, "user_idx"),
        items=_side(fitted, ITEM_SIDE, ITEM_ID, "item_idx"),
        mean=float(first["mean"]) if first else 0.0,
        params=params,
    )


class _Fit:
    def __init__(self, params: AlsParams) -> None:
        self.params = params

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        table = pa.Table.from_batches(list(batches))
        schema = pa.schema(
            [
                ("side", pa.int32()),
                (USER_ID, table.schema.field(USER_ID).type),
                (ITEM_ID, table.schema.field(ITEM_ID).type),
                ("idx", pa.int64()),
                ("factors", pa.list_(pa.float32())),
                ("bias", pa.float32()),
                ("observed", pa.int64()),
                ("mean", pa.float64()),
            ]
        )
        return fit_batches(iter(table.to_batches()), self.params, schema)


def _rows_schema(pairs: DataFrame) -> StructType:
    return StructType(
        [
            StructField("side", IntegerType()),
            StructField(USER_ID, pairs.schema[USER_ID].dataType),
            StructField(ITEM_ID, pairs.schema[ITEM_ID].dataType),
            StructField("idx", LongType()),
            StructField("factors", ArrayType(FloatType())),
            StructField("bias", FloatType()),
            StructField("observed", LongType()),
            StructField("mean", DoubleType()),
        ]
    )


def _side(fitted: DataFrame, side: int, key: str, index: str) -> DataFrame:
    return fitted.where(F.col("side") == side).select(
        key, F.col("idx").alias(index), "factors", "bias", "observed"
    )
