"""Fold-in on Spark: computes rows of users or items that got ratings after the fit."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import ArrayType, DataType, FloatType, LongType, StructField, StructType

from matchlake.engine.arrow import combined, matrix_lists
from matchlake.engine.broadcast import (
    plan_partitions,
    replicate,
    route_by_query,
    route_packed,
)
from matchlake.engine.csr import Floats
from matchlake.engine.packing import unpack_tables
from matchlake.errors import InputError
from matchlake.recommender.columns import require_columns
from matchlake.recommender.interaction_stats import VALUE
from matchlake.recommender.matchbox.encoding import encode
from matchlake.recommender.matchbox.fold_in import (
    NewRatings,
    features_of,
    fold_in,
    posterior_of,
    requirement,
)
from matchlake.recommender.matchbox.frames import MatchboxFrames
from matchlake.recommender.matchbox.posterior import factors_of, samples_of
from matchlake.recommender.matchbox.report import PosteriorReport
from matchlake.recommender.matchbox.row_encoder import RowEncoder
from matchlake.recommender.matchbox.single_task import VECTOR
from matchlake.recommender.sides import INDICES, ITEM, KEYS
from matchlake.schemas import RATING

_OTHERS, _RATED, _DESCRIBED = 0, 1, 2
"""The kinds of rows, in the order in which a task receives them."""
PARTITIONS = 8
"""The number of tasks that share the fold-in; each gets all rows of the other side."""


def fold_in_rows(
    model: MatchboxFrames, side: int, history: DataFrame | None, features: DataFrame | None
) -> DataFrame:
    """Computes rows of `side` for all ids in `history` and `features`; lazy.

    Returns the id, `factors`, `biases`, `low_rank`, `n_interactions` and `prior_share` (float: the
    fraction of the prior variance that remains after the ratings).
    """
    key, other = KEYS[side], KEYS[1 - side]
    if history is None and features is None:
        raise InputError(f"There is nothing to fold in: pass ratings, features, or both, by {key}.")
    if history is None:
        history = _no_history(model, side)
    require_columns(history, (key, other, RATING), "the history")
    others = _other_rows(model, side)
    rated = history.join(others.select("target"), F.col(other) == F.col("target"), "semi").select(
        F.col(key).alias("query"),
        F.col(other).alias("target"),
        _valid_rating(model.rating_levels, key).alias(VALUE),
    )
    known = history.select(F.col(key).alias("query")).dropna().distinct()
    described = known.withColumn(VECTOR, F.lit(None).cast(ArrayType(FloatType())))
    encoder = model.encoders[side]
    if features is not None and encoder is not None:
        vectors = encode(features, key, encoder).withColumnRenamed(key, "query")
        without = known.join(vectors.select("query"), "query", "anti")
        described = vectors.unionByName(without, allowMissingColumns=True)
    plan = plan_partitions(known, PARTITIONS)
    rows = plan.assemble(
        replicate(others, plan, _OTHERS),
        route_packed(rated, plan, _RATED),
        route_by_query(described, plan, _DESCRIBED),
    )
    missing = None if encoder is None else RowEncoder(encoder.to_json()).encode({})
    task = _Fold(model.report, side, missing)
    return rows.mapInArrow(task, _schema(key, history.schema[key].dataType))


def _no_history(model: MatchboxFrames, side: int) -> DataFrame:
    """Returns an empty frame of ratings, with the id types of the model."""
    kinds = [model.side(n).schema[key].dataType for n, key in enumerate(KEYS)]
    ids = [F.lit(None).cast(kind).alias(name) for kind, name in zip(kinds, KEYS, strict=True)]
    rating = F.lit(None).cast("float").alias(RATING)
    return model.side(side).limit(0).select(*ids, rating)


def _valid_rating(levels: list[float] | None, key: str) -> Column:
    """Returns the rating as float; a task fails on an invalid row, and shows it.

    A row is invalid if its id is null, or if its rating is null, not finite, or not one of the
    rating levels.
    """
    value = F.col(RATING).cast("float")
    valid = F.abs(value) < F.lit(math.inf) if levels is None else value.isin(levels)
    valid &= F.col(key).isNotNull()
    names = (*KEYS, RATING)
    shown = [F.coalesce(F.col(name).cast("string"), F.lit("null")) for name in names]
    message = F.concat(
        F.lit(f"A rating cannot be folded in; its ({', '.join(names)}) is ("),
        F.concat_ws(", ", *shown),
        F.lit(f"). No {key} may be null, and a rating must be {requirement(levels)}: fix or "),
        F.lit("drop it."),
    )
    return F.when(F.coalesce(valid, F.lit(col=False)), value).otherwise(F.raise_error(message))


def _other_rows(model: MatchboxFrames, side: int) -> DataFrame:
    """Returns all trained rows of the other side."""
    other = 1 - side
    columns: list[str | Column] = [
        F.col(KEYS[other]).alias("target"),
        F.col(INDICES[other]).alias("idx"),
        "factors",
        "biases",
    ]
    if side == ITEM:
        columns.append("response")
    return model.trained_side(other).select(columns)


def _schema(key: str, kind: DataType) -> StructType:
    floats = ArrayType(FloatType())
    return StructType(
        [
            StructField(key, kind),
            StructField("factors", floats),
            StructField("biases", floats),
            StructField("low_rank", floats),
            StructField("n_interactions", LongType()),
            StructField("prior_share", FloatType()),
        ]
    )


@dataclass(frozen=True)
class _Fold:
    """The function of a task: turns rows of the other side, ratings and features into rows."""

    report: PosteriorReport
    side: int
    missing: Floats | None
    """The feature vector of an id without a feature row."""

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        arrived = list(batches)
        if not arrived:
            return
        table = pa.Table.from_batches(arrived)
        described = table.filter(pc.equal(table["kind"], _DESCRIBED))
        if described.num_rows:
            others = table.filter(pc.equal(table["kind"], _OTHERS)).sort_by("idx")
            packed = unpack_tables(table.filter(pc.equal(table["kind"], _RATED))["data"])
            rated = pa.concat_tables(packed) if packed else None
            yield from self._rows(described, others, rated).to_batches()

    def _rows(self, described: pa.Table, others: pa.Table, rated: pa.Table | None) -> pa.Table:
        ids = combined(described["query"])
        new = self._ratings(ids, combined(others["target"]), rated)
        # history features use the indices of the fit, which differ from positions if rows are
        # missing
        indices = np.asarray(others["idx"]).astype(np.int32)[new.others]
        vectors = self._vectors(described)
        features = features_of(self.report, self.side, replace(new, others=indices), vectors)
        posterior = posterior_of(self.report, self.side, *self._others(others))
        rows, share = fold_in(posterior, self.side, new, features)
        factors = factors_of(rows)
        return pa.table(
            {
                KEYS[self.side]: ids,
                "factors": matrix_lists(factors),
                "biases": matrix_lists(rows[:, :, -1]),
                "low_rank": matrix_lists(factors @ self.report.sides[self.side].projection),
                "n_interactions": pa.array(np.bincount(new.rows, minlength=len(ids))),
                "prior_share": pa.array(share),
            }
        )

    @staticmethod
    def _ratings(ids: pa.Array, others: pa.Array, rated: pa.Table | None) -> NewRatings:
        if rated is None:
            none = np.zeros(0, np.int32)
            return NewRatings(none, none, np.zeros(0, np.float32), len(ids))
        rows = np.asarray(pc.index_in(combined(rated["query"]), ids)).astype(np.int32)
        indices = np.asarray(pc.index_in(combined(rated["target"]), others)).astype(np.int32)
        return NewRatings(rows, indices, np.asarray(rated[VALUE]), len(ids))

    def _vectors(self, described: pa.Table) -> Floats | None:
        """Returns one feature vector per id; `missing` for an id without a feature row."""
        if self.missing is None:
            return None
        column = combined(described[VECTOR])
        vectors = np.tile(self.missing, (len(column), 1)).astype(np.float32)
        valid: npt.NDArray[np.bool_] = np.asarray(column.is_valid())
        if valid.any():
            vectors[valid] = np.asarray(column.flatten()).reshape(int(valid.sum()), -1)
        return vectors

    def _others(self, others: pa.Table) -> tuple[Floats, Floats | None]:
        """The rows of the other side in every sample, and the likelihood parameters of users."""
        average = self.report.sides[1 - self.side].average
        factors, biases = (_flat(others, name) for name in ("factors", "biases"))
        rows = samples_of(factors, biases, (average.shape[0], average.shape[1]))
        if self.side != ITEM:
            return rows, None
        return rows, _flat(others, "response").reshape(len(rows), self.report.samples, -1)


def _flat(table: pa.Table, column: str) -> Floats:
    return np.asarray(combined(table[column]).flatten())
