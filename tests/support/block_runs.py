"""The tasks of a distributed ALS fit, run one after another in this process, without Spark."""

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pyarrow as pa

from matchlake.engine.packing import Array, unpack
from matchlake.recommender import blocks as block_tasks
from matchlake.recommender import exchange
from matchlake.recommender.als import distributed as als_tasks
from matchlake.recommender.als.in_memory import Fitted
from matchlake.recommender.als.params import AlsParams
from matchlake.recommender.als.solver import stored_width
from matchlake.recommender.blocks import BLOCK, LINKS, Layout
from matchlake.recommender.messages import SUMS, Outbox, each_message
from matchlake.recommender.sides import ITEM, USER

Triples = tuple[Array, Array, Array]


@dataclass
class BlockRun:
    """A fit of `triples` (user index, item index, value) in the blocks of `layout`.

    `moved` counts the bytes that the last iteration moves between tasks, by what they are.
    """

    triples: Triples
    layout: Layout
    params: AlsParams
    moved: Counter[str] = field(default_factory=Counter)

    def fit(self) -> Fitted:
        """The rows after all iterations, and the loss."""
        self.blocks = self._blocks()
        none = Outbox(0).table()
        rows = {USER: none, ITEM: self._half(als_tasks._Half(ITEM, self.layout, self.params), none)}
        for iteration in range(1, self.params.iterations + 1):
            self.moved.clear()
            for side in (USER, ITEM):
                half = als_tasks._Half(side, self.layout, self.params, iteration=iteration)
                rows[side] = self._solved(rows, half)
        loss = sum(float(part["loss"]) for part in each_message(rows[ITEM], als_tasks.REPORT))
        return Fitted(self._stored(rows, USER), self._stored(rows, ITEM), loss)

    def _blocks(self) -> pa.Table:
        names = ("user_idx", "item_idx", "value")
        batch = pa.RecordBatch.from_arrays(list(map(pa.array, self.triples)), names)
        scattered = block_tasks._Scatter(self.layout)(iter([batch]))
        pieces, gather = (
            pa.Table.from_batches(scattered),
            block_tasks._Gather(self.layout, stored_width(self.params)),
        )
        return pa.concat_tables(
            gather((pa.scalar(side), pa.scalar(key)), _of(pieces, side=side, key=key))
            for side in (USER, ITEM)
            for key in self.layout.keys
        )

    def _solved(self, rows: dict[int, pa.Table], half: als_tasks._Half) -> pa.Table:
        side, fixed = half.side, rows[1 - half.side]
        given = _of(fixed, kind=1 - side)
        links = _of(self.blocks, side=1 - side, kind=LINKS)
        sent = self._each(exchange._Send(1 - side, self.layout), links, given)
        own = _of(rows[side], kind=side)
        blocks = _of(self.blocks, side=side, kind=BLOCK)
        for name, table in (
            ("factors", sent),
            ("own", given),
            ("own", own),
            ("sums", _of(fixed, kind=SUMS)),
            ("links", links),
            ("blocks", blocks),
        ):
            fields = 5 if name in ("factors", "own") else 3
            self.moved[name] += sum(_row_bytes(data, fields) for data in table["data"])
        sums = als_tasks.sums_of(self._sums(fixed), self.params)
        return self._half(
            replace(half, sums=sums, measure=side == ITEM), pa.concat_tables([sent, own])
        )

    def _half(self, half: als_tasks._Half, arriving: pa.Table) -> pa.Table:
        return self._each(half, _of(self.blocks, side=half.side, kind=BLOCK), arriving)

    def _each(self, task: Any, left: pa.Table, right: pa.Table) -> pa.Table:
        keys = [pa.scalar(key) for key in self.layout.keys]
        return pa.concat_tables(task((k,), _of(left, key=k), _of(right, key=k)) for k in keys)

    def _sums(self, fixed: pa.Table) -> dict[str, Array]:
        parts = _of(fixed, kind=SUMS).sort_by([("source", "ascending"), ("piece", "ascending")])
        added = pa.Table.from_batches(exchange._add(iter(parts.combine_chunks().to_batches())))
        return unpack([added["data"].combine_chunks()[n].as_buffer() for n in range(len(added))])

    def _stored(self, rows: dict[int, pa.Table], side: int) -> Array:
        stored = np.zeros((self.layout.sizes[side], stored_width(self.params)), np.float32)
        for number, message in enumerate(each_message(rows[side], side)):
            part = message["rows"]
            stored[self.layout.rows(side, number), : part.shape[1]] = part
        return stored


def _row_bytes(data: pa.Scalar, fields: int) -> int:
    """Bytes of a row in a shuffle: its length, null bits, fields, and data in whole words."""
    return 4 + 8 + 8 * fields + -(-len(data.as_buffer()) // 8) * 8


def _of(table: pa.Table, **values: Any) -> pa.Table:
    """The rows with these values."""
    kept = np.ones(len(table), bool)
    for name, value in values.items():
        plain = value.as_py() if isinstance(value, pa.Scalar) else value
        kept &= np.asarray(table[name]) == plain
    return table.filter(pa.array(kept))
