"""Writes a fitted posterior as record batches: rows of each side, then a report."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from matchlake.engine.arrow import matrix_lists
from matchlake.engine.csr import Floats, Ints
from matchlake.engine.packing import pieces_of
from matchlake.recommender.matchbox.low_rank import Projections, low_rank_of_rows
from matchlake.recommender.matchbox.posterior import Posterior, factors_of
from matchlake.recommender.matchbox.report import Trace
from matchlake.recommender.matchbox.sampler.ratings import DAY
from matchlake.recommender.sides import ITEM, USER
from matchlake.schemas import ITEM_ID, USER_ID

REPORT, PROBLEM = 3, 4
"""Values of `side` besides those of users, items and days."""

_BATCH = 16 << 20


@dataclass(frozen=True)
class ResultWriter:
    """Makes record batches of a posterior; the types are those of the ids."""

    types: tuple[pa.DataType, pa.DataType]
    posterior: Posterior
    projections: Projections

    @staticmethod
    def of(
        types: tuple[pa.DataType, pa.DataType], posterior: Posterior, tolerance: float
    ) -> "ResultWriter":
        """A writer with low-rank factors that have an error of at most `tolerance`."""
        users, items = (factors_of(posterior.sides[side].rows) for side in (USER, ITEM))
        return ResultWriter(types, posterior, low_rank_of_rows(users, items, tolerance))

    def rows(
        self, side: int, ids: pa.Array, rows: Floats, counts: Ints, first: int = 0
    ) -> Iterator[pa.RecordBatch]:
        """Batches of `rows` (ids, samples, columns) of users or items, numbered from `first`."""
        key = USER_ID if side == USER else ITEM_ID
        response = self.posterior.user_response() if side == USER and not first else None
        for part in _parts(rows):
            columns: dict[str, Any] = {
                key: ids[part],
                "idx": pa.array(np.arange(part.start, part.stop) + first),
                "n_interactions": pa.array(counts[part]),
                "low_rank": matrix_lists(factors_of(rows[part]) @ self.projections[side]),
                **_lists(rows[part]),
            }
            if response is not None:
                columns["response"] = matrix_lists(
                    response[part].reshape(part.stop - part.start, -1)
                )
            yield self._batch(side, part.stop - part.start, columns)

    def days(self, users: pa.Array, days: npt.NDArray[np.int64]) -> Iterator[pa.RecordBatch]:
        """The rows of users' days."""
        rows = self.posterior.sides[DAY].rows
        for part in _parts(rows):
            stamps = pa.array(days[part].astype(np.int32))
            columns = {USER_ID: users[part], "day": stamps, **_lists(rows[part])}
            yield self._batch(DAY, part.stop - part.start, columns)

    def report(self, trace: Trace, seen: list[Ints]) -> Iterator[pa.RecordBatch]:
        """Yields the report in pieces."""
        report = self.posterior.report(trace, seen, self.projections)
        for number, piece in enumerate(pieces_of(memoryview(report.to_bytes()))):
            columns = {"idx": pa.array([number]), "data": pa.array([bytes(piece)], pa.binary())}
            yield self._batch(REPORT, 1, columns)

    def _batch(self, side: int, size: int, columns: dict[str, Any]) -> pa.RecordBatch:
        return _batch(self.types, side, size, columns)


def problem(types: tuple[pa.DataType, pa.DataType], message: str) -> pa.RecordBatch:
    """Returns the single row of a failed fit."""
    return _batch(types, PROBLEM, 1, {"data": pa.array([message.encode()], pa.binary())})


def _batch(
    types: tuple[pa.DataType, pa.DataType], side: int, size: int, columns: dict[str, Any]
) -> pa.RecordBatch:
    floats = pa.list_(pa.float32())
    fields = {
        "side": pa.int32(),
        USER_ID: types[0],
        ITEM_ID: types[1],
        "day": pa.int32(),
        "idx": pa.int64(),
        "factors": floats,
        "biases": floats,
        "low_rank": floats,
        "response": floats,
        "n_interactions": pa.int64(),
        "data": pa.binary(),
    }
    columns = {"side": pa.array(np.full(size, side, np.int32)), **columns}
    arrays = [
        columns[name].cast(kind) if name in columns else pa.nulls(size, kind)
        for name, kind in fields.items()
    ]
    return pa.RecordBatch.from_arrays(arrays, names=list(fields))


def _parts(rows: Floats) -> Iterator[slice]:
    step = max(1, _BATCH // (4 * rows.shape[1] * rows.shape[2]))
    for begin in range(0, len(rows), step):
        yield slice(begin, min(begin + step, len(rows)))


def _lists(rows: Floats) -> dict[str, pa.Array]:
    return {"factors": matrix_lists(factors_of(rows)), "biases": matrix_lists(rows[:, :, -1])}
