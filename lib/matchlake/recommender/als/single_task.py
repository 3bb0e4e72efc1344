"""Single-task execution: a whole fit, or a part of it, runs on the threads of one Spark task."""

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

from matchlake.engine.arrow import matrix_lists
from matchlake.engine.csr import Csr, csr_from_pairs
from matchlake.recommender.als.in_memory import Fitted, fit_rows, initial_rows
from matchlake.recommender.als.model import FactorModel
from matchlake.recommender.als.params import AlsParams
from matchlake.recommender.als.solver import Matrix, stored_width, work_of_a_column
from matchlake.recommender.interactions import SHOWN, VALUE, InteractionStats, refuse_repeated
from matchlake.recommender.packed_interactions import PackedPairs, dense_places, unpack_pairs
from matchlake.recommender.progress import Report
from matchlake.recommender.scaled_weights import scaled_weights
from matchlake.recommender.sides import ITEM, KEYS, USER
from matchlake.schemas import ITEM_ID, USER_ID

REPORT, REPEATED = 2, 3
"""Values of `side` beside USER and ITEM: an iteration's report, a repeated pair."""


MINUTE = 3 * 10**11
"""Multiplications of a thread in about a minute, in a fit's inner loops."""


def task_bytes(stats: InteractionStats, params: AlsParams) -> int:
    """An upper estimate of the memory of a single-task fit.

    It counts the interactions as they arrive and in both orders, ids, both factor matrices and the
    output.
    """
    rows = stats.users + stats.items
    return stats.interactions * (64 + 3 * 12) + rows * (100 + 12 * stored_width(params))


@dataclass(frozen=True)
class SingleTask:
    """Fits packed `pairs` in one task.

    A state is one frame of rows: trained users and items, and one report per iteration.
    """

    pairs: PackedPairs
    params: AlsParams
    stats: InteractionStats

    def interval(self) -> int:
        """Iterations between checkpoints: all, or those of about a minute per thread."""
        work = self.stats.interactions * stored_width(self.params) * work_of_a_column(self.params)
        return max(1, min(self.params.iterations, MINUTE // work))

    def begin(self, model: FactorModel | None) -> DataFrame | None:
        """The state that continues `model`; None without a model."""
        if model is None:
            return None
        users = model.user_factors.select(F.lit(USER).alias("side"), USER_ID, "factors", "bias")
        items = model.item_factors.select(F.lit(ITEM).alias("side"), ITEM_ID, "factors", "bias")
        return users.unionByName(items, allowMissingColumns=True)

    def advance(self, state: DataFrame | None, done: int, iterations: int) -> DataFrame:
        """The state after `iterations` more than the `done` before; lazy."""
        fields = self.pairs.schema
        rows = self.pairs.frame
        if state is not None:
            trained = state.where(F.col("side") <= ITEM)
            trained = trained.select("side", USER_ID, ITEM_ID, "factors", "bias")
            rows = rows.unionByName(trained, allowMissingColumns=True)
        params = self.params.model_copy(update={"iterations": iterations})
        schema = state_schema(fields[USER_ID].dataType, fields[ITEM_ID].dataType)
        return rows.repartition(1).mapInArrow(_Task(params, self.pairs.mean, done), schema)

    def report(self, state: DataFrame) -> Report:
        """Iterations done, their seconds and the loss; an error if pairs repeat. One action."""
        rows = state.where(F.col("side") > ITEM).collect()
        rows.sort(key=lambda row: row["idx"] or 0)
        refuse_repeated([(row[USER_ID], row[ITEM_ID]) for row in rows if row["side"] == REPEATED])
        seconds = tuple(row["seconds"] for row in rows)
        last = rows[-1]
        return Report(last["idx"], last["loss"], seconds, (last["users"], last["items"]))

    def factors(self, state: DataFrame, side: int) -> DataFrame:
        """One side's key, `idx`, `factors`, `bias` and `n_interactions`; lazy."""
        columns = (KEYS[side], "idx", "factors", "bias", "n_interactions")
        return state.where(F.col("side") == side).select(*columns)


def state_schema(user_type: DataType, item_type: DataType) -> StructType:
    """Columns of a single-task state."""
    return StructType(
        [
            StructField("side", IntegerType()),
            StructField(USER_ID, user_type),
            StructField(ITEM_ID, item_type),
            StructField("idx", LongType()),
            StructField("factors", ArrayType(FloatType())),
            StructField("bias", FloatType()),
            StructField("n_interactions", LongType()),
            StructField("loss", DoubleType()),
            StructField("seconds", DoubleType()),
            StructField("users", LongType()),
            StructField("items", LongType()),
        ]
    )


@dataclass(frozen=True)
class _Task:
    """The body of the one task: interactions and, perhaps, a state in; a state out."""

    params: AlsParams
    mean: float
    done: int

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        table = pa.Table.from_batches(list(batches))
        trained = None
        if "side" in table.column_names:
            trained = table.filter(pc.is_valid(table["side"]))
        pairs = unpack_pairs(table["data"])
        users, items = dense_places(pairs[USER_ID]), dense_places(pairs[ITEM_ID])
        values = np.asarray(pairs[VALUE]) - np.float32(self.mean)
        values = scaled_weights(values, self.params.weight_scale)
        del table, pairs
        shape = len(users.ids), len(items.ids)
        rows = csr_from_pairs(users.places, items.places, values, shape)
        repeats = rows.repeats()
        if len(repeats):
            yield _repeated(rows, repeats, users.ids, items.ids)
            return
        ids = users.ids, items.ids
        start = None if trained is None else self._start(trained, ids)
        fitted = fit_rows(rows, self.params, start)
        counts = rows.counts(), np.bincount(rows.columns, minlength=shape[1])
        yield from self._emit(USER, ids, fitted.users, counts[0])
        yield from self._emit(ITEM, ids, fitted.items, counts[1])
        yield self._report(fitted, ids)

    def _start(self, trained: pa.Table, both: tuple[pa.Array, pa.Array]) -> Fitted:
        matrices = []
        for side, ids in ((USER, both[USER]), (ITEM, both[ITEM])):
            matrix = initial_rows(side, np.arange(len(ids)), self.params)
            rows = trained.filter(pc.equal(trained["side"], side))
            index = np.asarray(pc.fill_null(pc.index_in(rows[KEYS[side]], ids), -1))
            factors = rows["factors"].combine_chunks().flatten()
            known = index >= 0
            flat = np.asarray(factors).reshape(len(index), self.params.rank)
            matrix[index[known], : self.params.rank] = flat[known]
            if self.params.has_bias:
                matrix[index[known], self.params.rank] = np.asarray(rows["bias"])[known]
            matrices.append(matrix)
        return Fitted(matrices[0], matrices[1])

    def _emit(
        self,
        side: int,
        ids: tuple[pa.Array, pa.Array],
        matrix: Matrix,
        counts: npt.NDArray[np.int64],
    ) -> Iterator[pa.RecordBatch]:
        rank = self.params.rank
        step = max(1, (16 << 20) // (4 * rank))
        for begin in range(0, len(matrix), step):
            part = matrix[begin : begin + step]
            size = len(part)
            bias = part[:, rank] if self.params.has_bias else np.zeros(size, np.float32)
            yield _batch(
                {
                    "side": pa.array(np.full(size, side, np.int32)),
                    KEYS[side]: ids[side][begin : begin + size],
                    KEYS[1 - side]: pa.nulls(size, ids[1 - side].type),
                    "idx": pa.array(np.arange(begin, begin + size)),
                    "factors": matrix_lists(part[:, :rank]),
                    "bias": pa.array(np.ascontiguousarray(bias)),
                    "n_interactions": pa.array(counts[begin : begin + size]),
                }
            )

    def _report(self, fitted: Fitted, ids: tuple[pa.Array, pa.Array]) -> pa.RecordBatch:
        """One row per iteration; `idx` counts from 1."""
        seconds = fitted.seconds or [0.0]
        size = len(seconds)
        first = self.done + (1 if fitted.seconds else 0)
        return _batch(
            {
                "side": pa.array(np.full(size, REPORT, np.int32)),
                USER_ID: pa.nulls(size, ids[USER].type),
                ITEM_ID: pa.nulls(size, ids[ITEM].type),
                "idx": pa.array(np.arange(first, first + size)),
                "loss": pa.array([fitted.loss] * size),
                "seconds": pa.array(seconds, pa.float64()),
                "users": pa.array([len(ids[USER])] * size, pa.int64()),
                "items": pa.array([len(ids[ITEM])] * size, pa.int64()),
            }
        )


def _batch(columns: dict[str, pa.Array]) -> pa.RecordBatch:
    """A batch of a state; missing columns are null."""
    size = len(columns["side"])
    types = {
        "idx": pa.int64(),
        "factors": pa.list_(pa.float32()),
        "bias": pa.float32(),
        "n_interactions": pa.int64(),
        "loss": pa.float64(),
        "seconds": pa.float64(),
        "users": pa.int64(),
        "items": pa.int64(),
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
