"""Distributed execution: blocks solve their rows and send them to the blocks that need them.

A state is a frame of MESSAGES: the own rows of all blocks of both sides, and each item block's part
of the sums that the next half needs. Conjugate gradients start from the own rows, and these are the
model.
"""

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from matchlake.engine.arrow import matrix_lists
from matchlake.engine.grouped import Key, apply_by_cogroup, apply_by_group
from matchlake.engine.packing import Array, unpack
from matchlake.recommender.als.in_memory import initial_rows
from matchlake.recommender.als.model import FactorModel
from matchlake.recommender.als.params import AlsParams
from matchlake.recommender.als.solver import (
    Matrix,
    gram,
    objective,
    penalty,
    prepare_half,
    ridges,
    row_solver,
    solve_half,
    stored_width,
)
from matchlake.recommender.blocks import BLOCK, Layout, csr_of
from matchlake.recommender.checkpoint import Checkpointer
from matchlake.recommender.exchange import COUNTS, read_sums, send_rows
from matchlake.recommender.messages import (
    MESSAGES,
    SUMS,
    Outbox,
    each_message,
    fill_rows,
    unpack_messages,
)
from matchlake.recommender.progress import Report
from matchlake.recommender.sides import ITEM, KEYS, USER

REPORT = 4
"""The kind of message with a block's part of the loss."""

FACTORS = "idx long, factors array<float>, bias float, n_interactions long"


@dataclass(frozen=True)
class Distributed:
    """Fits `blocks`, a checkpoint of `block_frame`."""

    blocks: DataFrame
    ids: tuple[DataFrame, DataFrame]
    layout: Layout
    params: AlsParams
    checkpoint: Checkpointer

    def interval(self) -> int:
        """Iterations from one state to the next."""
        return self.params.checkpoint_interval

    def begin(self, model: FactorModel | None) -> DataFrame:
        """The state before the first iteration, with the rows of `model` if there is one."""
        session = self.blocks.sparkSession
        own = session.createDataFrame([], MESSAGES) if model is None else self._rows_of(model)
        known = own.where(F.col("kind") == ITEM)
        items = self._half(known, _Half(ITEM, self.layout, self.params))
        return self.checkpoint(own.where(F.col("kind") == USER).unionByName(items))

    def advance(self, state: DataFrame | None, done: int, iterations: int) -> DataFrame:
        """The state after `iterations` more than the `done` before.

        Checkpoints every half, and reads its sums, but for the last one, which is lazy.
        """
        state = self.begin(None) if state is None else state
        users, items = (state.where(F.col("kind") == side) for side in (USER, ITEM))
        fixed = state
        for iteration in range(done + 1, done + iterations + 1):
            half = _Half(USER, self.layout, self.params, self._sums(fixed), iteration)
            users = fixed = self.checkpoint(self._solved(fixed, users, half))
            last = iteration == done + iterations
            sums = self._sums(fixed, measure=last)
            solved = self._solved(fixed, items, replace(half, side=ITEM, sums=sums, measure=last))
            if last:
                return users.where(F.col("kind") == USER).unionByName(solved)
            items = fixed = self.checkpoint(solved)
        return state

    def _sums(self, state: DataFrame, *, measure: bool = False) -> "_Sums":
        """The sums over the side that was solved last; no action if the half needs none."""
        if not self.params.base_weight and not measure:
            return _Sums(np.zeros((0, 0), np.float32), 0.0)
        return sums_of(read_sums(state), self.params)

    def _solved(self, fixed: DataFrame, own: DataFrame, half: "_Half") -> DataFrame:
        """The rows of a half's side, from the other side's rows and its own previous ones; lazy."""
        sent = send_rows(self.blocks, fixed, 1 - half.side, self.layout)
        return self._half(sent.unionByName(own.where(F.col("kind") == half.side)), half)

    def _half(self, arriving: DataFrame, half: "_Half") -> DataFrame:
        # Both sides are partitioned by number and key: adaptive execution merges no blocks.
        count = self.layout.blocks
        own = self.blocks.where((F.col("side") == half.side) & (F.col("kind") == BLOCK))
        left = own.select("key", "piece", "data").repartition(count, "key")
        return apply_by_cogroup(left, arriving.repartition(count, "key"), "key", half, MESSAGES)

    def report(self, state: DataFrame) -> Report:
        """Iterations done and the loss. One action."""
        parts = unpack_messages(state.where(F.col("kind") == REPORT).toArrow(), REPORT)
        done = max((int(part["iteration"]) for part in parts), default=0)
        loss = math.fsum(float(part["loss"]) for part in parts) if parts else math.nan
        return Report(done, loss, sizes=self.layout.sizes)

    def factors(self, state: DataFrame, side: int) -> DataFrame:
        """One side's key, `idx`, `factors`, `bias` and `n_interactions`; lazy."""
        own = state.where(F.col("kind") == side).select("source", "piece", "data")
        rows = apply_by_group(own, ("source",), _Unpack(side, self.layout, self.params), FACTORS)
        columns = (KEYS[side], "idx", "factors", "bias", "n_interactions")
        return rows.join(self.ids[side], "idx").select(*columns)

    def _rows_of(self, model: FactorModel) -> DataFrame:
        """The rows of an earlier model, as messages to the blocks that own them now."""
        parts = []
        for side, frame in ((USER, model.user_factors), (ITEM, model.item_factors)):
            rows = frame.select(KEYS[side], "factors", "bias").join(self.ids[side], KEYS[side])
            block = (F.col("idx") % self.layout.blocks).cast("int")
            rows = rows.select(block.alias("source"), "idx", "factors", "bias")
            task = _PackRows(side, self.layout, self.params)
            parts.append(apply_by_group(rows, ("source",), task, MESSAGES))
        return parts[0].unionByName(parts[1])


@dataclass(frozen=True)
class _Sums:
    """What a half needs of all rows of the fixed side: their Gram matrix, and their penalty."""

    gram: Matrix
    penalty: float


def sums_of(arrays: dict[str, Array], params: AlsParams) -> _Sums:
    """The sums of all blocks, of which `gram` is the upper triangle."""
    width = stored_width(params) if params.base_weight else 0
    shared = np.zeros((width, width))
    shared[np.triu_indices(width)] = arrays["gram"]
    shared += np.triu(shared, 1).T
    return _Sums(shared.astype(np.float32), float(arrays["penalty"]))


@dataclass(frozen=True)
class _Half:
    """One block's part of a half-iteration: messages in; its rows, solved, and its sums out.

    Without the sums of the fixed side nothing is solved.
    """

    side: int
    layout: Layout
    params: AlsParams
    sums: _Sums | None = None
    iteration: int = 0
    measure: bool = False

    def __call__(self, key: Key, left: pa.Table, right: pa.Table) -> pa.Table:
        number, home = self.layout.number(key), key[0].as_py()
        csr = csr_of(left)
        counts = csr.counts()
        ridge = ridges(counts, self.layout.sizes[1 - self.side], self.params)
        rows = self._own_rows(number, right)
        out = Outbox(number)
        if self.sums is not None:
            fixed = np.zeros((csr.width, rows.shape[1]), np.float32)
            fill_rows(fixed[:, : self._width], right, "rows")
            half = prepare_half(csr, fixed, self.sums.gram, ridge, self.params)
            solve_half(row_solver(self.params), half, rows, 1)
            if self.measure:
                # The penalty of the fixed side is that of all blocks. Only block 0 adds it.
                loss = objective(half, rows, 1) + (0.0 if number else self.sums.penalty)
                report = {"iteration": np.array(self.iteration), "loss": np.array(loss)}
                out.add(home, REPORT, report)
        out.add(home, self.side, {"rows": rows[:, : self._width], COUNTS: counts})
        shared = gram(rows, self.params)
        upper = shared[np.triu_indices(len(shared))]
        out.add(home, SUMS, {"gram": upper, "penalty": np.array(penalty(ridge, rows))})
        return out.table()

    @property
    def _width(self) -> int:
        return self.params.rank + self.params.has_bias

    def _own_rows(self, number: int, right: pa.Table) -> Matrix:
        indices = self.layout.rows(self.side, number)
        rows = None
        for message in each_message(right, self.side):
            if rows is None and "place" in message:
                rows = initial_rows(self.side, indices, self.params)
            elif rows is None:
                rows = np.zeros((len(indices), stored_width(self.params)), np.float32)
            index: Any = message.get("place", slice(None))
            rows[index, : message["rows"].shape[1]] = message["rows"]
        return initial_rows(self.side, indices, self.params) if rows is None else rows


@dataclass(frozen=True)
class _Unpack:
    """A block's own rows as rows of a frame, FACTORS."""

    side: int
    layout: Layout
    params: AlsParams

    def __call__(self, key: Key, table: pa.Table) -> pa.Table:
        order = np.argsort(np.asarray(table["piece"]))
        data: Any = unpack([table["data"][int(row)].as_buffer() for row in order])
        rank, rows = self.params.rank, data["rows"]
        bias = rows[:, rank] if self.params.has_bias else np.zeros(len(rows), np.float32)
        return pa.table(
            {
                "idx": pa.array(self.layout.rows(self.side, key[0].as_py())),
                "factors": matrix_lists(rows[:, :rank]),
                "bias": pa.array(np.ascontiguousarray(bias)),
                "n_interactions": pa.array(data["n_interactions"]),
            }
        )


@dataclass(frozen=True)
class _PackRows:
    """Rows of an earlier model as one message for the block that owns them."""

    side: int
    layout: Layout
    params: AlsParams

    def __call__(self, key: Key, table: pa.Table) -> pa.Table:
        number = key[0].as_py()
        factors = np.asarray(table["factors"].combine_chunks().flatten())
        rows = factors.reshape(table.num_rows, self.params.rank)
        if self.params.has_bias:
            rows = np.column_stack([rows, np.asarray(table["bias"])])
        local = np.asarray(table["idx"]) // self.layout.blocks
        out = Outbox(number)
        out.add(self.layout.keys[number], self.side, {"rows": rows, "place": local})
        return out.table()
