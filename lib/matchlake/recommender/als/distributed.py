"""The distributed schedule: blocks that solve their rows and send one another what each needs.

A state is a frame of messages, MESSAGES, all that is in flight after an item half: the item
blocks' rows for the user blocks, and both sides' own rows on their way home (the conjugate
gradients start from them, and they are the model). Block `b` of users and block `b` of items have
the same key, so each half passes on what the other half's block `b` will want back.
"""

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from matchlake.engine.packing import binary_array, pack, pieces_of, unpack
from matchlake.recommender.als.in_memory import ITEM_SIDE, USER_SIDE, initial_rows
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
from matchlake.recommender.progress import Report
from matchlake.schemas import ITEM_ID, USER_ID

MESSAGES = "key int, kind int, source int, piece int, iteration int, data binary, loss double"

ROWS_FOR_OTHERS, LOSS = 2, 3
"""Values of `kind` beside USER_SIDE and ITEM_SIDE, which mark a block's own rows of that side."""


@dataclass(frozen=True)
class Distributed:
    """Fits `blocks`, what `block_frame` gave after a cut."""

    blocks: DataFrame
    ids: tuple[DataFrame, DataFrame]
    layout: Layout
    params: AlsParams

    def stretch(self) -> int:
        """Iterations from one cut to the next."""
        return self.params.cut_every

    def begin(self, model: FactorModel | None) -> DataFrame:
        """The state before the first iteration, with the rows of `model` if there is one."""
        session = self.blocks.sparkSession
        own = session.createDataFrame([], MESSAGES) if model is None else self._known(model)
        return self._half(own, _Half(ITEM_SIDE, self.layout, self.params, solve=False))

    def advance(self, state: DataFrame | None, done: int, iterations: int) -> DataFrame:
        """The state after `iterations` more than the `done` before; lazy, one plan for all."""
        state = self.begin(None) if state is None else state
        for iteration in range(done + 1, done + iterations + 1):
            half = _Half(USER_SIDE, self.layout, self.params, iteration)
            state = self._half(state, half)
            last = iteration == done + iterations
            state = self._half(state, replace(half, side=ITEM_SIDE, measure=last))
        return state

    def _half(self, state: DataFrame, half: "_Half") -> DataFrame:
        # Both sides by number and key: the shuffle of the blocks is the same in every half, so
        # Spark makes it once for each stretch, and adaptive execution leaves the blocks apart.
        count = self.layout.blocks
        mine = self.blocks.where(F.col("side") == half.side).select("key", "piece", "data")
        left = mine.repartition(count, "key").groupBy("key")
        right = state.repartition(count, "key").groupBy("key")
        return left.cogroup(right).applyInArrow(
            lambda key, mine, messages: half(key, mine, messages),  # noqa: PLW0108
            MESSAGES,
        )

    def report(self, state: DataFrame) -> Report:
        """Iterations done and the loss. One action."""
        row = state.agg(F.max("iteration").alias("done"), F.sum("loss").alias("loss")).collect()[0]
        return Report(row["done"], math.nan if row["loss"] is None else row["loss"])

    def factors(self, state: DataFrame, side: int) -> DataFrame:
        """One side's key, `idx`, `factors`, `bias` and `observed`; lazy."""
        own = state.where(F.col("kind") == side).select("source", "piece", "data")
        unpack_rows = _Unpack(side, self.layout, self.params)
        unpacked = own.groupBy("source").applyInArrow(
            lambda key, table: unpack_rows(key, table),  # noqa: PLW0108
            "idx long, factors array<float>, bias float, observed long",
        )
        key = USER_ID if side == USER_SIDE else ITEM_ID
        columns = (key, "idx", "factors", "bias", "observed")
        return unpacked.join(self.ids[side], "idx").select(*columns)

    def _known(self, model: FactorModel) -> DataFrame:
        """The rows of an earlier model, as messages to the blocks that own them now."""
        parts = []
        for side, frame, key in ((0, model.users, USER_ID), (1, model.items, ITEM_ID)):
            rows = frame.select(key, "factors", "bias").join(self.ids[side], key)
            block = (F.col("idx") % self.layout.blocks).cast("int")
            rows = rows.select(block.alias("source"), "idx", "factors", "bias")
            pack_rows = _PackRows(side, self.layout, self.params)
            parts.append(_pack_by_source(rows, pack_rows))
        return parts[0].unionByName(parts[1])


@dataclass(frozen=True)
class _Half:
    """One block's part of a half: messages in, its rows solved, messages out."""

    side: int
    layout: Layout
    params: AlsParams
    iteration: int = 0
    solve: bool = True
    measure: bool = False

    def __call__(self, key: tuple[pa.Scalar], left: pa.Table, right: pa.Table) -> pa.Table:
        number = self.layout.keys.index(key[0].as_py())
        block = Block.read(left)
        counts = block.csr.counts()
        ridge = ridges(counts, self.layout.sizes[1 - self.side], self.params)
        rows = self._own_rows(number, right)
        loss = self._solve(block, ridge, rows, (number, right)) if self.solve else None
        width = self.params.rank + self.params.has_bias
        out = _Outbox(number, self.iteration)
        shared = gram(rows, self.params)
        weight = np.array([penalty(ridge, rows)])
        for other, (key_, link) in enumerate(zip(self.layout.keys, block.links, strict=True)):
            # The block of the same number gets all rows below: they are its own on their way home.
            sent = rows[link, :width] if other != number else rows[:0, :width]
            arrays: dict[str, Any] = {"rows": sent, "gram": shared, "penalty": weight}
            out.add(key_, ROWS_FOR_OTHERS, pack(arrays))
        mine: dict[str, Any] = {"rows": rows[:, :width], "observed": counts}
        out.add(key[0].as_py(), self.side, pack(mine))
        for data in _messages(right, 1 - self.side):
            out.add(key[0].as_py(), 1 - self.side, memoryview(data))
        if loss is not None:
            out.add(key[0].as_py(), LOSS, memoryview(b""), loss)
        return out.table()

    def _own_rows(self, number: int, right: pa.Table) -> Matrix:
        indices = self.layout.rows(self.side, number)
        whole = [unpack([data]) for data in _messages(right, self.side)]
        if len(whole) == 1 and "place" not in whole[0]:
            rows = np.zeros((len(indices), stored_width(self.params)), np.float32)
        else:
            rows = initial_rows(self.side, indices, self.params)
        for known in whole:
            place: Any = known.get("place", slice(None))
            rows[place, : known["rows"].shape[1]] = known["rows"]
        return rows

    def _solve(
        self, block: Block, ridge: Matrix, rows: Matrix, inbox: tuple[int, pa.Table]
    ) -> float | None:
        number, right = inbox
        arrived: list[Any] = [unpack([data]) for data in _messages(right, ROWS_FOR_OTHERS)]
        fixed = np.zeros((block.csr.width, stored_width(self.params)), np.float32)
        width = self.params.rank + self.params.has_bias
        (home,) = (unpack([data]) for data in _messages(right, 1 - self.side))
        arrived[number]["rows"] = home["rows"][block.near]
        np.concatenate([part["rows"] for part in arrived], out=fixed[:, :width])
        shared = sum(part["gram"] for part in arrived).astype(np.float32)
        half = prepare_half(block.csr, fixed, shared, ridge, self.params)
        solve_half(row_solver(self.params), half, rows, 1)
        if not self.measure:
            return None
        # Each block holds the whole penalty of the other side; one of them counts it.
        others = sum(float(part["penalty"][0]) for part in arrived) if number == 0 else 0.0
        return objective(half, rows, 1) + others


def _messages(table: pa.Table, kind: int) -> list[bytes]:
    """The messages of one kind, by their source, each put together from its pieces."""
    kinds, sources = np.asarray(table["kind"]), np.asarray(table["source"])
    pieces = np.asarray(table["piece"])
    found = np.flatnonzero(kinds == kind)
    found = found[np.lexsort((pieces[found], sources[found]))]
    whole = []
    for source in np.unique(sources[found]):
        parts = [table["data"][int(row)].as_buffer() for row in found[sources[found] == source]]
        whole.append(parts[0] if len(parts) == 1 else b"".join(parts))
    return whole


class _Outbox:
    """Collects the messages that a block sends."""

    def __init__(self, source: int, iteration: int) -> None:
        self._constant = source, iteration
        self._rows: list[tuple[int, int, int, memoryview, float | None]] = []

    def add(self, key: int, kind: int, data: memoryview, loss: float | None = None) -> None:
        """Adds one message, in as many rows as its bytes need."""
        for piece, part in enumerate(pieces_of(data) or [data]):
            self._rows.append((key, kind, piece, part, loss))

    def table(self) -> pa.Table:
        """All messages, as MESSAGES."""
        source, iteration = self._constant
        keys, kinds, pieces, data, losses = zip(*self._rows, strict=True)
        return pa.table(
            {
                "key": pa.array(keys, pa.int32()),
                "kind": pa.array(kinds, pa.int32()),
                "source": pa.array([source] * len(keys), pa.int32()),
                "piece": pa.array(pieces, pa.int32()),
                "iteration": pa.array([iteration] * len(keys), pa.int32()),
                "data": binary_array(data),
                "loss": pa.array(losses, pa.float64()),
            }
        )


@dataclass(frozen=True)
class _Unpack:
    """A block's own rows as rows of a frame."""

    side: int
    layout: Layout
    params: AlsParams

    def __call__(self, key: tuple[pa.Scalar], table: pa.Table) -> pa.Table:
        order = np.argsort(np.asarray(table["piece"]))
        data: Any = unpack([table["data"][int(row)].as_buffer() for row in order])
        rank, rows = self.params.rank, data["rows"]
        bias = rows[:, rank] if self.params.has_bias else np.zeros(len(rows), np.float32)
        bounds = pa.array(np.arange(0, (len(rows) + 1) * rank, rank, dtype=np.int32))
        factors = pa.ListArray.from_arrays(bounds, rows[:, :rank].ravel())
        return pa.table(
            {
                "idx": pa.array(self.layout.rows(self.side, key[0].as_py())),
                "factors": factors,
                "bias": pa.array(np.ascontiguousarray(bias)),
                "observed": pa.array(data["observed"]),
            }
        )


@dataclass(frozen=True)
class _PackRows:
    """Rows of an earlier model to one message for the block that owns them."""

    side: int
    layout: Layout
    params: AlsParams

    def __call__(self, key: tuple[pa.Scalar], table: pa.Table) -> pa.Table:
        number = key[0].as_py()
        factors = np.asarray(table["factors"].combine_chunks().flatten())
        rows = factors.reshape(table.num_rows, self.params.rank)
        if self.params.has_bias:
            rows = np.column_stack([rows, np.asarray(table["bias"])])
        place = np.asarray(table["idx"]) // self.layout.blocks
        out = _Outbox(number, 0)
        out.add(self.layout.keys[number], self.side, pack({"rows": rows, "place": place}))
        return out.table()


def _pack_by_source(rows: DataFrame, pack_rows: _PackRows) -> DataFrame:
    grouped = rows.groupBy("source")
    return grouped.applyInArrow(lambda key, table: pack_rows(key, table), MESSAGES)  # noqa: PLW0108
