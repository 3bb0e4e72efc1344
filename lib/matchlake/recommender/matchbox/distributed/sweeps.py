"""Distributed execution: blocks draw their rows, the driver draws the shared parameters.

A sweep has two halves: users, then items. A half is one cogroup of the block states with the rows
that they need and their own previous ones. It gives own rows and sums. After each half the driver
reads the sums, and draws the next prior of this side once for all blocks. Draws are keyed by global
row numbers: the chain equals that of one task, up to the rounding of sums.
"""

import logging
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from matchlake.engine.csr import Floats
from matchlake.engine.grouped import Key, apply_by_cogroup
from matchlake.engine.packing import Array
from matchlake.recommender.blocks import Layout
from matchlake.recommender.checkpoint import Checkpointer
from matchlake.recommender.exchange import COUNTS, read_sums, send_rows
from matchlake.recommender.matchbox.distributed.block_state import GRAM, STATE, BlockState
from matchlake.recommender.matchbox.params import MatchboxParams
from matchlake.recommender.matchbox.sampler.gibbs import (
    PRIOR,
    ROWS,
    Side,
    condition,
    first_rows,
    scale_facts,
    stored_columns,
)
from matchlake.recommender.matchbox.sampler.kernels import View
from matchlake.recommender.matchbox.sampler.likelihood import Arrays, Likelihood
from matchlake.recommender.matchbox.sampler.link_matrix import Source, Spectra, widths_of
from matchlake.recommender.matchbox.sampler.prior import Moments, Prior, draw_prior, first_prior
from matchlake.recommender.matchbox.sampler.random import draw_key
from matchlake.recommender.matchbox.sampler.ratings import Sorted
from matchlake.recommender.messages import (
    MESSAGES,
    ROWS_FOR_OTHERS,
    SUMS,
    Outbox,
    each_message,
    fill_rows,
    unpack_messages,
)
from matchlake.recommender.sides import ITEM, USER

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Kept:
    """One sample: a frame of all blocks' own rows, the priors, and the likelihood."""

    rows: DataFrame
    priors: tuple[Prior, Prior]
    response: Likelihood


@dataclass
class Distributed:
    """A chain over checkpointed `blocks` (see `block_frame`) and block states.

    `sources` has the feature sources of both sides.
    """

    blocks: DataFrame
    block_states: DataFrame
    layout: Layout
    params: MatchboxParams
    response: Likelihood
    checkpoint: Checkpointer
    sources: list[tuple[Source, ...]]
    trace: list[dict[str, float]] = field(default_factory=list)

    def run(self) -> list[Kept]:
        """Runs all sweeps, with one checkpoint and one small read per half; returns the samples."""
        solvers = [
            read_spectra(self.block_states, side, self.layout.sizes[side], self.sources[side])
            for side in (USER, ITEM)
        ]
        priors = [first_prior(self.params.columns, solver) for solver in solvers]
        none = self.block_states.sparkSession.createDataFrame([], MESSAGES)
        rows, sums = [none, none], [dict[str, Array]()] * 2
        for side in (USER, ITEM):
            half = _Half(side, self.layout, self.params, self.response, priors[side], 0)
            rows[side], sums[side] = self._advance(none, half)
        samples = []
        for sweep in range(1, self.params.sweeps + 1):
            for side in (USER, ITEM):
                parts = self.params.seed, 0, sweep, side
                chance = np.random.default_rng(int(draw_key(*parts, PRIOR)))
                moments = _moments(sums[side])
                priors[side] = draw_prior(moments, solvers[side], priors[side], chance)
                half = _Half(side, self.layout, self.params, self.response, priors[side], sweep)
                sent = send_rows(self.blocks, rows[1 - side], 1 - side, self.layout)
                arriving = sent.unionByName(rows[side])
                rows[side], sums[side] = self._advance(arriving, half)
                if side == USER:
                    self._share(sums[side], parts)
            self.trace[-1] |= scale_facts(self.sources, priors)
            _log.info("sweep %d of %d: %s", sweep, self.params.sweeps, self.trace[-1])
            past = sweep - self.params.burn_in
            if past > 0 and past % self.params.thinning == 0:
                kept = rows[USER].unionByName(rows[ITEM])
                samples.append(Kept(kept, (priors[USER], priors[ITEM]), self.response))
        return samples

    def _share(self, sums: Arrays, parts: tuple[int, ...]) -> None:
        """Draws the shared parameters of the users from their sums, as in one task."""
        error = float(sums["error"][0] / sums["error"][1])
        user_sums = {name[5:]: array for name, array in sums.items() if name.startswith("user_")}
        self.response = self.response.drawn(user_sums, parts)
        self.trace.append(self.response.facts(error, user_sums))

    def _advance(self, arriving: DataFrame, half: "_Half") -> tuple[DataFrame, Arrays]:
        """The own rows of a half's side, and the sums over its blocks."""
        count = self.layout.blocks
        states = self.block_states.where(F.col("side") == half.side).where(F.col("kind") == STATE)
        states = states.select("key", "kind", "source", "piece", "data")
        left, right = states.repartition(count, "key"), arriving.repartition(count, "key")
        after = self.checkpoint(apply_by_cogroup(left, right, "key", half, MESSAGES))
        return after.where(F.col("kind") == half.side), read_sums(after)


def read_spectra(
    block_states: DataFrame, side: int, rows: int, sources: tuple[Source, ...]
) -> Spectra | None:
    """The decomposed features of one side with this many rows; None without any. One action."""
    if not sources:
        return None
    sums = read_sums(block_states.where(F.col("side") == side), GRAM)
    return Spectra.of(sums["gram"], sums["sums"], rows, widths_of(sources))


def _moments(sums: Arrays) -> Moments:
    return Moments(int(sums["rows"][0]), sums["total"], sums["square"], sums["cross"])


@dataclass(frozen=True)
class _Half:
    """The work of one block in a half sweep: reads messages, draws its rows, sends messages.

    Sweep 0 draws nothing; it only sends the first rows.
    """

    side: int
    layout: Layout
    params: MatchboxParams
    response: Likelihood
    prior: Prior
    sweep: int

    def __call__(self, key: Key, left: pa.Table, right: pa.Table) -> pa.Table:
        number, home = self.layout.number(key), key[0].as_py()
        block_state = BlockState.read(left)
        rows, users = self._own(block_state, number, right)
        extra: dict[str, Array] = {}
        if self.sweep:
            users, extra = self._draw(block_state, number, (rows, users), right)
        columns, out = self.params.columns, Outbox(number)
        message: dict[str, Array] = {"rows": rows[:, :columns]}
        if self.side == USER:
            message["users"] = users
        out.add(home, self.side, message | {COUNTS: block_state.csr.counts()})
        moments = Moments.of(rows[:, :columns], block_state.features)
        extra |= {"rows": np.array([moments.rows]), "total": moments.total}
        out.add(home, SUMS, extra | {"square": moments.square, "cross": moments.cross})
        return out.table()

    def _own(self, block_state: BlockState, number: int, right: pa.Table) -> tuple[Floats, Floats]:
        """The rows of this block and, for users, their likelihood parameters."""
        ids = self.layout.rows(self.side, number)
        known = unpack_messages(right, self.side)
        if not known:
            users = self.response.first_users(len(ids) if self.side == USER else 0)
            seen = block_state.csr
            return first_rows((0, self.side), ids, seen, self.response, self.params), users
        rows = np.zeros((len(ids), stored_columns(self.params)), np.float32)
        rows[:, : self.params.columns] = known[0]["rows"]
        return rows, known[0].get("users", np.zeros((0, 0), np.float32))

    def _draw(
        self, block_state: BlockState, number: int, own: tuple[Floats, Floats], right: pa.Table
    ) -> tuple[Floats, dict[str, Array]]:
        rows, users = own
        if self.side == ITEM:
            arrived = each_message(right, ROWS_FOR_OTHERS)
            users = np.concatenate([message["users"] for message in arrived])
        side = self._view(block_state, number, rows, right)
        parts = self.params.seed, 0, self.sweep, self.side
        scored, extra = side.scored(self.response, 1), {}
        if self.side == USER:
            self.response.draw_users(scored, users, parts, 1)
            sums = self.response.sums(users)
            extra = {f"user_{name}": array for name, array in sums.items()}
            error = self.response.error(scored, users)
            extra["error"] = np.array([error, len(scored.values)])
        targets = self.response.targets(scored, users, parts, 1)
        side.draw(condition(side, self.prior, targets, draw_key(*parts, ROWS)), 1)
        return users, extra

    def _view(self, block_state: BlockState, number: int, rows: Floats, right: pa.Table) -> Side:
        csr = block_state.csr
        stack = np.zeros((csr.width, rows.shape[1]), np.float32)
        fill_rows(stack[:, : self.params.columns], right, "rows")
        others = np.ascontiguousarray(csr.columns[:, None])
        owners: npt.NDArray[np.int32] = csr.columns
        if self.side == USER:
            owners = np.repeat(np.arange(csr.rows, dtype=np.int32), csr.counts())
        ids = self.layout.rows(self.side, number)
        seen = Sorted(csr.indptr, np.zeros(0, np.int64), others, owners, csr.values)
        names, columns = block_state.names, self.params.columns
        view = View(csr.indptr, others, owners, ids, names, stack.reshape(-1), columns)
        return Side(self.side, seen, block_state.features, None, view, rows)
