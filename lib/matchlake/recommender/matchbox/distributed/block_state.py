"""The constant state of a block of a distributed fit: ratings, links, indices and features."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from matchlake.engine.arrow import combined
from matchlake.engine.csr import Csr, Ints
from matchlake.engine.grouped import Key, apply_by_cogroup, apply_by_group
from matchlake.engine.packing import Array
from matchlake.recommender.blocks import BLOCK, LINKS, Layout, csr_of, links_of
from matchlake.recommender.matchbox.sampler.history_features import dense_rows, history_of, hstack
from matchlake.recommender.matchbox.sampler.link_matrix import Features
from matchlake.recommender.matchbox.single_task import VECTOR
from matchlake.recommender.messages import MESSAGES, Outbox, unpack_messages

STATE, NAMES, VECTORS, GRAM = 10, 11, 12, 13
"""Kinds of messages: a block state, indices of arriving rows, feature rows, X'X of a block."""


@dataclass(frozen=True)
class BlockState:
    """A block with its features; `names` are the indices of the rows that arrive."""

    csr: Csr
    names: Ints
    features: Features | None

    def arrays(self) -> dict[str, Array]:
        """Returns all arrays, for a message."""
        result: dict[str, Array] = {
            **self.csr.narrowed(),
            "names": self.names,
        }
        if self.features is not None:
            rows = self.features.rows
            result |= {"x_indptr": rows.indptr, "x_columns": rows.columns, "x_values": rows.values}
            result["x_width"] = np.array([rows.width])
        return result

    @staticmethod
    def read(table: pa.Table) -> "BlockState":
        """The block state of the pieces in `table`."""
        message = unpack_messages(table, STATE)[0]
        features = None
        if "x_width" in message:
            width = int(message["x_width"][0])
            rows = Csr(message["x_indptr"], message["x_columns"], message["x_values"], width)
            features = Features(rows)
        return BlockState(Csr.widened(message), message["names"], features)


@dataclass(frozen=True)
class BlockStates:
    """Makes block states from blocks, for one side after another."""

    blocks: DataFrame
    layout: Layout
    seen: tuple[Ints, Ints]
    """Rows of users and items that are history features of the other side."""

    def of(self, side: int, vectors: DataFrame | None) -> DataFrame:
        """Returns the block states of one side, and the X'X of each, as MESSAGES with `side`; lazy.

        `vectors` has `idx` and `x`, a row for every row of the side.
        """
        count = self.layout.blocks
        others = self._blocks(1 - side, LINKS)
        parts = apply_by_group(others, ("key",), _Name(self.layout), MESSAGES)
        if vectors is not None:
            number = (F.col("idx") % count).cast("int")
            key = F.element_at(F.array(*[F.lit(k) for k in self.layout.keys]), number + 1)
            keyed = vectors.select(key.alias("key"), "idx", VECTOR)
            packed = apply_by_group(keyed, ("key",), _PackVectors(self.layout), MESSAGES)
            parts = parts.unionByName(packed)
        own = self._blocks(side, BLOCK)
        left, right = own.repartition(count, "key"), parts.repartition(count, "key")
        build = _Build(self.layout, self.seen[1 - side], vectors is not None)
        made = apply_by_cogroup(left, right, "key", build, MESSAGES)
        return made.withColumn("side", F.lit(side))

    def _blocks(self, side: int, kind: int) -> DataFrame:
        rows = self.blocks.where((F.col("side") == side) & (F.col("kind") == kind))
        return rows.select("key", "piece", "data")


@dataclass(frozen=True)
class _Name:
    """Sends to every block of the other side the indices of the rows that it will receive."""

    layout: Layout

    def __call__(self, key: Key, table: pa.Table) -> pa.Table:
        number = self.layout.number(key)
        out = Outbox(number)
        for to, link in zip(self.layout.keys, links_of(table), strict=True):
            out.add(to, NAMES, {"names": link.astype(np.int64) * self.layout.blocks + number})
        return out.table()


@dataclass(frozen=True)
class _PackVectors:
    """A block's feature rows in one message, in the order of its rows."""

    layout: Layout

    def __call__(self, key: Key, table: pa.Table) -> pa.Table:
        out = Outbox(self.layout.number(key))
        vectors = np.asarray(combined(table[VECTOR]).flatten()).reshape(table.num_rows, -1)
        order = np.argsort(np.asarray(table["idx"]))
        out.add(key[0].as_py(), VECTORS, {"x": vectors[order]})
        return out.table()


@dataclass(frozen=True)
class _Build:
    """Makes one block state from its block, the received names and its feature rows."""

    layout: Layout
    seen: Ints
    featured: bool

    def __call__(self, key: Key, left: pa.Table, right: pa.Table) -> pa.Table:
        number = self.layout.number(key)
        csr = csr_of(left)
        names = np.concatenate([part["names"] for part in unpack_messages(right, NAMES)])
        vectors = dense_rows(unpack_messages(right, VECTORS)[0]["x"]) if self.featured else None
        rows = hstack(vectors, self._history(csr, names))
        features = None if rows is None else Features(rows)
        out = Outbox(number)
        out.add(key[0].as_py(), STATE, BlockState(csr, names, features).arrays())
        if features is not None:
            out.add(key[0].as_py(), GRAM, {"gram": features.gram(), "sums": features.sums()})
        return out.table()

    def _history(self, csr: Csr, names: Ints) -> Csr | None:
        if not len(self.seen):
            return None
        rows = np.repeat(np.arange(csr.rows, dtype=np.int32), csr.counts())
        return history_of(rows, names[csr.columns].astype(np.int32), csr.rows, self.seen)
