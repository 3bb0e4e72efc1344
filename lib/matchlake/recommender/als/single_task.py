"""The one-task schedule: a whole fit, or a stretch of it, inside one Spark task on its threads."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import (
    ArrayType,
    DataType,
    DoubleType,
    FloatType,
    IntegerType,
    LongType,
    StructField,
    StructType,
)

from matchlake.engine.csr import Csr, csr_from_pairs
from matchlake.recommender.als.in_memory import ITEM_SIDE, USER_SIDE, Fitted, fit_rows, initial_rows
from matchlake.recommender.als.model import FactorModel
from matchlake.recommender.als.params import AlsParams
from matchlake.recommender.als.solver import Matrix, stored_width, work_of_a_column
from matchlake.recommender.interactions import SHOWN, VALUE, Survey, refuse_repeated
from matchlake.recommender.packed_interactions import PackedPairs, unpack_pairs
from matchlake.recommender.progress import Report
from matchlake.schemas import ITEM_ID, USER_ID

REPORT, REPEATED = 2, 3
"""Values of `side` beside the two of the factors: an iteration's report, a repeated pair."""


MINUTE = 3 * 10**11
"""Multiplications that a thread does in about a minute, in a fit's inner loops."""


def task_bytes(survey: Survey, params: AlsParams) -> int:
    """An estimate from above of the memory of a one-task fit.

    Interactions as they arrive and in both orders, ids, both factor matrices, what leaves.
    """
    rows = survey.users + survey.items
    return survey.interactions * (64 + 3 * 12) + rows * (100 + 12 * stored_width(params))


@dataclass(frozen=True)
class OneTask:
    """Fits packed `pairs` in one task.

    A state is one frame of rows: trained users and items, and a report for each iteration.
    """

    pairs: PackedPairs
    params: AlsParams
    size: Survey

    def stretch(self) -> int:
        """Iterations from one cut to the next: all, or what takes about a minute a thread."""
        work = self.size.interactions * stored_width(self.params) * work_of_a_column(self.params)
        return max(1, min(self.params.iterations, MINUTE // work))

    def begin(self, model: FactorModel | None) -> DataFrame | None:
        """The state that continues `model`; none where there is no model."""
        if model is None:
            return None
        users = model.users.select(F.lit(USER_SIDE).alias("side"), USER_ID, "factors", "bias")
        items = model.items.select(F.lit(ITEM_SIDE).alias("side"), ITEM_ID, "factors", "bias")
        return users.unionByName(items, allowMissingColumns=True)

    def advance(self, state: DataFrame | None, done: int, iterations: int) -> DataFrame:
        """The state after `iterations` more than the `done` before; lazy."""
        fields = self.pairs.schema
        rows = self.pairs.frame
        if state is not None:
            kept = state.where(F.col("side") <= ITEM_SIDE)
            kept = kept.select("side", USER_ID, ITEM_ID, "factors", "bias")
            rows = rows.unionByName(kept, allowMissingColumns=True)
        params = self.params.model_copy(update={"iterations": iterations})
        schema = state_schema(fields[USER_ID].dataType, fields[ITEM_ID].dataType)
        return rows.repartition(1).mapInArrow(_Task(params, self.pairs.mean, done), schema)

    def report(self, state: DataFrame) -> Report:
        """Iterations done, their seconds and the loss; an error if pairs repeat. One action."""
        rows = state.where(F.col("side") > ITEM_SIDE).collect()
        rows.sort(key=lambda row: row["idx"] or 0)
        refuse_repeated([(row[USER_ID], row[ITEM_ID]) for row in rows if row["side"] == REPEATED])
        seconds = tuple(row["seconds"] for row in rows)
        return Report(rows[-1]["idx"], rows[-1]["number"], seconds)

    def factors(self, state: DataFrame, side: int) -> DataFrame:
        """One side's key, `idx`, `factors`, `bias` and `observed`; lazy."""
        key = USER_ID if side == USER_SIDE else ITEM_ID
        columns = (key, "idx", "factors", "bias", "observed")
        return state.where(F.col("side") == side).select(*columns)


def state_schema(user_type: DataType, item_type: DataType) -> StructType:
    """Columns of a one-task state."""
    return StructType(
        [
            StructField("side", IntegerType()),
            StructField(USER_ID, user_type),
            StructField(ITEM_ID, item_type),
            StructField("idx", LongType()),
            StructField("factors", ArrayType(FloatType())),
            StructField("bias", FloatType()),
            StructField("observed", LongType()),
            StructField("number", DoubleType()),
            StructField("seconds", DoubleType()),
        ]
    )


@dataclass(frozen=True)
class _Side:
    """Ids of one side in their order, and for each interaction the place of its id."""

    ids: pa.Array
    places: npt.NDArray[np.int32]


@dataclass(frozen=True)
class _Task:
    """The body of the one task: interactions and, perhaps, a start in; a state out."""

    params: AlsParams
    mean: float
    done: int

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        table = pa.Table.from_batches(list(batches))
        kept = None
        if "side" in table.column_names:
            kept = table.filter(pc.is_valid(table["side"]))
        pairs = unpack_pairs(table["data"])
        users, items = _dense(pairs[USER_ID]), _dense(pairs[ITEM_ID])
        values = np.asarray(pairs[VALUE]) - np.float32(self.mean)
        del table, pairs
        shape = len(users.ids), len(items.ids)
        rows = csr_from_pairs(users.places, items.places, values, shape)
        repeats = rows.repeats()
        if len(repeats):
            yield _repeated(rows, repeats, users.ids, items.ids)
            return
        start = None if kept is None else self._start(kept, users.ids, items.ids)
        fitted = fit_rows(rows, self.params, start)
        counts = rows.counts(), np.bincount(rows.columns, minlength=shape[1])
        yield from self._emit(USER_SIDE, users.ids, items.ids, fitted.users, counts[0])
        yield from self._emit(ITEM_SIDE, items.ids, users.ids, fitted.items, counts[1])
        yield self._report(fitted, users.ids, items.ids)

    def _start(self, kept: pa.Table, user_ids: pa.Array, item_ids: pa.Array) -> Fitted:
        matrices = []
        for side, key, ids in ((USER_SIDE, USER_ID, user_ids), (ITEM_SIDE, ITEM_ID, item_ids)):
            matrix = initial_rows(side, np.arange(len(ids)), self.params)
            rows = kept.filter(pc.equal(kept["side"], side))
            place = np.asarray(pc.fill_null(pc.index_in(rows[key], ids), -1))
            factors = rows["factors"].combine_chunks().flatten()
            found = place >= 0
            known = np.asarray(factors).reshape(len(place), self.params.rank)
            matrix[place[found], : self.params.rank] = known[found]
            if self.params.has_bias:
                matrix[place[found], self.params.rank] = np.asarray(rows["bias"])[found]
            matrices.append(matrix)
        return Fitted(matrices[0], matrices[1])

    def _emit(
        self,
        side: int,
        ids: pa.Array,
        others: pa.Array,
        matrix: Matrix,
        counts: npt.NDArray[np.int64],
    ) -> Iterator[pa.RecordBatch]:
        rank = self.params.rank
        step = max(1, (16 << 20) // (4 * rank))
        for begin in range(0, len(matrix), step):
            part = matrix[begin : begin + step]
            size = len(part)
            bounds = pa.array(np.arange(0, (size + 1) * rank, rank, dtype=np.int32))
            bias = part[:, rank] if self.params.has_bias else np.zeros(size, np.float32)
            key = USER_ID if side == USER_SIDE else ITEM_ID
            other = ITEM_ID if side == USER_SIDE else USER_ID
            yield _batch(
                {
                    "side": pa.array(np.full(size, side, np.int32)),
                    key: ids[begin : begin + size],
                    other: pa.nulls(size, others.type),
                    "idx": pa.array(np.arange(begin, begin + size)),
                    "factors": pa.ListArray.from_arrays(bounds, part[:, :rank].ravel()),
                    "bias": pa.array(np.ascontiguousarray(bias)),
                    "observed": pa.array(counts[begin : begin + size]),
                }
            )

    def _report(self, fitted: Fitted, user_ids: pa.Array, item_ids: pa.Array) -> pa.RecordBatch:
        """One row an iteration; `idx` counts from 1, the last row has the loss in `number`."""
        seconds = fitted.seconds or [0.0]
        size = len(seconds)
        first = self.done + (1 if fitted.seconds else 0)
        return _batch(
            {
                "side": pa.array(np.full(size, REPORT, np.int32)),
                USER_ID: pa.nulls(size, user_ids.type),
                ITEM_ID: pa.nulls(size, item_ids.type),
                "idx": pa.array(np.arange(first, first + size)),
                "number": pa.array([fitted.loss] * size),
                "seconds": pa.array(seconds, pa.float64()),
            }
        )


def _dense(column: pa.ChunkedArray) -> _Side:
    """Sorted distinct ids (strings by their UTF-8 bytes, as Spark sorts them) and places."""
    encoded = column.combine_chunks()
    order = pc.sort_indices(encoded.dictionary)
    rank = np.empty(len(order), np.int32)
    rank[np.asarray(order)] = np.arange(len(order), dtype=np.int32)
    return _Side(encoded.dictionary.take(order), rank[np.asarray(encoded.indices)])


def _batch(columns: dict[str, pa.Array]) -> pa.RecordBatch:
    """A batch of a state; columns not given are null."""
    size = len(columns["side"])
    types = {
        "idx": pa.int64(),
        "factors": pa.list_(pa.float32()),
        "bias": pa.float32(),
        "observed": pa.int64(),
        "number": pa.float64(),
        "seconds": pa.float64(),
    }
    nulls = {name: pa.nulls(size, kind) for name, kind in types.items()}
    ordered = {name: columns[name] for name in ("side", USER_ID, ITEM_ID)}
    return pa.RecordBatch.from_pydict(ordered | {n: columns.get(n, nulls[n]) for n in types})


def _repeated(
    rows: Csr, repeats: npt.NDArray[np.int64], user_ids: pa.Array, item_ids: pa.Array
) -> pa.RecordBatch:
    shown = repeats[:SHOWN]
    return _batch(
        {
            "side": pa.array(np.full(len(shown), REPEATED, np.int32)),
            USER_ID: user_ids.take(pa.array(rows.row_of(shown))),
            ITEM_ID: item_ids.take(pa.array(rows.columns[shown])),
        }
    )
