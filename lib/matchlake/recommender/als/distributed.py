"""Distributed execution: blocks solve their rows and exchange the rows that others need.

A state is a frame of MESSAGES, all that is in flight after an item half-iteration: the item
blocks' rows for the user blocks, and each block's own rows on their way back to it. Conjugate
gradients start from the latter, and they are the model. User block `b` and item block `b` have the
same key, so each half forwards what the other half's block `b` needs back.
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
from matchlake.engine.packing import unpack
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
from matchlake.recommender.blocks import Block, Layout
from matchlake.recommender.messages import MESSAGES, Outbox, message_bytes, unpack_messages
from matchlake.recommender.progress import Report
from matchlake.recommender.sides import ITEM, KEYS, USER

ROWS_FOR_OTHERS, REPORT = 2, 3
"""Values of `kind` beside USER and ITEM, which mark a block's own rows of that side."""

FACTORS = "idx long, factors array<float>, bias float, n_interactions long"


@dataclass(frozen=True)
class Distributed:
    """Fits `blocks`, a checkpoint of `block_frame`."""

    blocks: DataFrame
    ids: tuple[DataFrame, DataFrame]
    layout: Layout
    params: AlsParams

    def interval(self) -> int:
        """Iterations from one checkpoint to the next."""
        return self.params.checkpoint_interval

    def begin(self, model: FactorModel | None) -> DataFrame:
        """The state before the first iteration, with the rows of `model` if there is one."""
        session = self.blocks.sparkSession
        own = session.createDataFrame([], MESSAGES) if model is None else self._rows_of(model)
        return self._half(own, _Half(ITEM, self.layout, self.params, solve=False))

    def advance(self, state: DataFrame | None, done: int, iterations: int) -> DataFrame:
        """The state after `iterations` more than the `done` before; lazy, one plan for all."""
        state = self.begin(None) if state is None else state
        for iteration in range(done + 1, done + iterations + 1):
            half = _Half(USER, self.layout, self.params, iteration)
            state = self._half(state, half)
            last = iteration == done + iterations
            state = self._half(state, replace(half, side=ITEM, measure=last))
        return state

    def _half(self, state: DataFrame, half: "_Half") -> DataFrame:
        # Both sides are partitioned by number and key. So the shuffle of the blocks is the same in
        # every half, and Spark runs it once per interval. Adaptive execution merges no blocks.
        count = self.layout.blocks
        own = self.blocks.where(F.col("side") == half.side).select("key", "piece", "data")
        left, right = own.repartition(count, "key"), state.repartition(count, "key")
        return apply_by_cogroup(left, right, "key", half, MESSAGES)

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
class _Half:
    """One block's part of a half-iteration: messages in, its rows solved, messages out."""

    side: int
    layout: Layout
    params: AlsParams
    iteration: int = 0
    solve: bool = True
    measure: bool = False

    def __call__(self, key: Key, left: pa.Table, right: pa.Table) -> pa.Table:
        home = key[0].as_py()
        number = self.layout.keys.index(home)
        block = Block.read(left)
        counts = block.csr.counts()
        ridge = ridges(counts, self.layout.sizes[1 - self.side], self.params)
        rows = self._own_rows(number, right)
        loss = self._solve(block, ridge, rows, (number, right)) if self.solve else None
        width = self.params.rank + self.params.has_bias
        out = Outbox(number)
        shared = gram(rows, self.params)
        weight = np.array([penalty(ridge, rows)])
        for other, (other_key, link) in enumerate(zip(self.layout.keys, block.links, strict=True)):
            # The block of the same number gets all rows below: they are its own, coming back.
            sent = rows[link, :width] if other != number else rows[:0, :width]
            arrays: dict[str, Any] = {"rows": sent, "gram": shared, "penalty": weight}
            out.add(other_key, ROWS_FOR_OTHERS, arrays)
        out.add(home, self.side, {"rows": rows[:, :width], "n_interactions": counts})
        for data in message_bytes(right, 1 - self.side):
            out.forward(home, 1 - self.side, data)
        if loss is not None:
            report = {"iteration": np.array(self.iteration), "loss": np.array(loss)}
            out.add(home, REPORT, report)
        return out.table()

    def _own_rows(self, number: int, right: pa.Table) -> Matrix:
        indices = self.layout.rows(self.side, number)
        messages = unpack_messages(right, self.side)
        if len(messages) == 1 and "place" not in messages[0]:
            rows = np.zeros((len(indices), stored_width(self.params)), np.float32)
        else:
            rows = initial_rows(self.side, indices, self.params)
        for message in messages:
            rows_index: Any = message.get("place", slice(None))
            rows[rows_index, : message["rows"].shape[1]] = message["rows"]
        return rows

    def _solve(
        self, block: Block, ridge: Matrix, rows: Matrix, inbox: tuple[int, pa.Table]
    ) -> float | None:
        number, right = inbox
        arrived: list[Any] = unpack_messages(right, ROWS_FOR_OTHERS)
        fixed = np.zeros((block.csr.width, stored_width(self.params)), np.float32)
        width = self.params.rank + self.params.has_bias
        (home,) = unpack_messages(right, 1 - self.side)
        arrived[number]["rows"] = home["rows"][block.near]
        np.concatenate([part["rows"] for part in arrived], out=fixed[:, :width])
        shared = sum(part["gram"] for part in arrived).astype(np.float32)
        half = prepare_half(block.csr, fixed, shared, ridge, self.params)
        solve_half(row_solver(self.params), half, rows, 1)
        if not self.measure:
            return None
        # Every block receives the penalty of all rows of the other side. Only block 0 adds it.
        others = sum(float(part["penalty"][0]) for part in arrived) if number == 0 else 0.0
        return objective(half, rows, 1) + others


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
