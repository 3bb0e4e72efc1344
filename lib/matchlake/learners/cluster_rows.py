"""The rows of a clustering, in memory or in Spark, and passes over them.

A column with a large offset is shifted by its middle. All columns are scaled by one power of two,
so that numbers lie between -1 and 1. So offsets of 1e12 and scales of 1e-300 lose no precision. The
state of a pass does not depend on the order of the rows. So its result has the same bits for any
number of partitions and threads.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numba
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from matchlake.engine.exact_sums import bounds_of
from matchlake.engine.packing import PIECE, binary_array, pack, unpack
from matchlake.errors import InputError
from matchlake.schemas import quote_identifier

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

Doubles = npt.NDArray[np.float64]
Ids = npt.NDArray[np.uint64]
State = dict[str, npt.NDArray[Any]]
Checkpointer = Callable[["DataFrame"], "DataFrame"]

LARGEST = 1e300
"""The largest absolute value of a row."""
_BLOCK = 8192
_OFFSET = 4.0
"""A column is shifted if its largest value exceeds its range by this factor."""


class Block(NamedTuple):
    """Some rows, scaled, and a number per row that does not depend on partitions."""

    rows: Doubles
    ids: Ids


class Pass(Protocol):
    """One pass over all rows; the order of `merge` calls does not change the result."""

    def start(self) -> State:
        """The state before any row."""

    def add(self, state: State, block: Block) -> None:
        """Adds the rows of a block to a state."""

    def merge(self, one: State, other: State) -> State:
        """Returns the state of the rows of both states."""


@dataclass(frozen=True)
class Scale:
    """Scales rows to numbers between -1 and 1: `(x - shift) / factor`."""

    shift: Doubles
    factor: float
    """A power of two."""
    bounds: Doubles
    """For each column, a power of two that no scaled value exceeds."""

    @classmethod
    def of(cls, low: Doubles, high: Doubles) -> "Scale":
        """The scale of rows whose columns have the minima `low` and the maxima `high`."""
        size = np.maximum(np.abs(low), np.abs(high))
        shift = np.where(size > _OFFSET * (high - low), low / 2 + high / 2, 0.0)
        largest = np.maximum(np.abs(low - shift), np.abs(high - shift))
        factor = _power_of_two(float(largest.max()))
        return cls(shift, factor, bounds_of(largest / factor))

    def scaled(self, rows: Doubles) -> Doubles:
        """The scaled numbers of rows."""
        return np.ascontiguousarray((rows - self.shift) / self.factor)

    def raw(self, rows: Doubles) -> Doubles:
        """Returns the original rows of scaled numbers."""
        return rows * self.factor + self.shift


def _power_of_two(largest: float) -> float:
    return float(np.ldexp(1.0, int(np.frexp(largest)[1]))) if largest > 0 else 1.0


class ClusterRows(Protocol):
    """The rows of a clustering, which many passes read."""

    @property
    def scale(self) -> Scale:
        """The scale of the rows."""

    @property
    def count(self) -> int:
        """The number of rows."""

    def scan(self, work: Pass) -> State:
        """The state after all rows."""


@dataclass(frozen=True)
class MemoryRows:
    """Rows of this process, read by several threads."""

    rows: Doubles
    ids: Ids
    scale: Scale
    threads: int

    @classmethod
    def of(cls, matrix: Doubles, threads: int | None = None) -> "MemoryRows":
        """Makes the rows of a matrix without missing values; a row's number is its position."""
        scale = Scale.of(matrix.min(axis=0), matrix.max(axis=0))
        ids = np.arange(len(matrix), dtype=np.uint64)
        return cls(scale.scaled(matrix), ids, scale, threads or numba.get_num_threads())

    @property
    def count(self) -> int:
        """The number of rows."""
        return len(self.rows)

    def scan(self, work: Pass) -> State:
        """The state after all rows; each thread has a state of its own."""
        starts = range(0, len(self.rows), _BLOCK)

        def some(first: int) -> State:
            state = work.start()
            for start in starts[first :: self.threads]:
                part = slice(start, start + _BLOCK)
                work.add(state, Block(self.rows[part], self.ids[part]))
            return state

        workers = min(self.threads, len(starts))
        if workers <= 1:
            return some(0)
        with ThreadPoolExecutor(workers) as pool:
            return reduce(work.merge, pool.map(some, range(self.threads)))


@dataclass(frozen=True)
class SparkRows:
    """Rows of a Spark frame, packed into blocks once; each pass reads them in one job."""

    frame: "DataFrame"
    scale: Scale
    count: int

    @classmethod
    def of(
        cls,
        frame: "DataFrame",
        columns: Sequence[str],
        keys: Sequence[str],
        checkpoint: Checkpointer | None = None,
    ) -> "SparkRows":
        """Packs numeric columns; the number of a row is a hash of `keys`, or of its values.

        Two Spark jobs. Raises InputError for no rows, and for missing, infinite or huge values.
        """
        from pyspark.sql import functions as F  # noqa: PLC0415 - needs no Spark in memory

        numbers = [F.col(quote_identifier(name)).cast("double") for name in columns]
        low, high, count = _limits(frame, numbers, columns)
        scale = Scale.of(low, high)
        hashed = [F.col(quote_identifier(key)) for key in keys] or numbers
        named = [each.alias(f"c{i}") for i, each in enumerate(numbers)]
        selected = frame.select(F.xxhash64(*hashed).alias("id"), *named)
        packed = selected.mapInArrow(_packer(scale), "block BINARY")
        keep = checkpoint or (lambda made: made.localCheckpoint())
        return cls(keep(packed), scale, count)

    def scan(self, work: Pass) -> State:
        """Returns the state after all rows.

        One Spark job, which collects one state per partition.
        """

        def task(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
            state = work.start()
            for batch in batches:
                for value in batch.column(0):
                    block = unpack([value.as_buffer()])
                    work.add(state, Block(block["rows"], block["ids"]))
            column = binary_array([pack(state)]).combine_chunks()
            yield pa.RecordBatch.from_arrays([column], ["state"])

        found = self.frame.mapInArrow(task, "state BINARY").toArrow()["state"]
        states = (unpack([value.as_buffer()]) for value in found)
        return reduce(work.merge, states)


def _packer(scale: Scale) -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    size = max(1, PIECE // (8 * (len(scale.shift) + 1)))

    def packed(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            ids = np.asarray(batch.column(0)).view(np.uint64)
            raw = np.column_stack([np.asarray(each) for each in batch.columns[1:]])
            rows = scale.scaled(raw)
            for start in range(0, len(ids), size):
                part = slice(start, start + size)
                data = pack({"rows": rows[part], "ids": ids[part]})
                yield pa.RecordBatch.from_arrays(binary_array([data]).chunks, ["block"])

    return packed


def _limits(
    frame: "DataFrame", numbers: Sequence[Any], columns: Sequence[str]
) -> tuple[Doubles, Doubles, int]:
    """The minima and maxima of the columns, and the number of rows."""
    from pyspark.sql import functions as F  # noqa: PLC0415

    sums = [F.count("*")]
    for each in numbers:
        bad = each.isNull() | F.isnan(each) | (F.abs(each) > LARGEST)
        sums += [F.min(each), F.max(each), F.count_if(bad)]
    count, *found = frame.agg(*sums).collect()[0]
    if not count:
        raise InputError("There are no rows to cluster. Check the table.")
    bad = {name: n for name, n in zip(columns, found[2::3], strict=True) if n}
    if bad:
        listed = ", ".join(f"{name} ({n:,} rows)" for name, n in list(bad.items())[:10])
        raise InputError(
            f"Missing, infinite or huge values (above {LARGEST:g}) cannot be clustered: {listed}. "
            "Fill these columns or remove the rows first."
        )
    return np.array(found[0::3], float), np.array(found[1::3], float), int(count)
