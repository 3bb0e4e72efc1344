"""What a distributed ALS fit moves and holds, predicted from the degrees of users and items.

All numbers follow from the formats of blocks and messages; none is fitted to a measurement. Bytes
are those of Spark's shuffles without compression.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from matchlake.engine.packing import PIECE
from matchlake.recommender.block_sizes import Held

Degrees = npt.NDArray[np.int64]

MESSAGE = 52 + 64 + 4
"""Bytes around a message of one array: an UnsafeRow of five columns with its length, the header
of the arrays, and half of the padding to 8 bytes."""

LANES = 16
"""Columns of a stored row are a multiple of this."""


@dataclass(frozen=True)
class Plan:
    """A fit of users and items with these degrees, of rank `rank`, in `blocks` per side."""

    degrees: tuple[Degrees, Degrees]
    rank: int
    blocks: int
    implicit: bool = True
    levels: int = 5
    """Distinct values: codes of one byte up to 256, else four bytes."""

    @property
    def interactions(self) -> int:
        """Interactions of the fit."""
        return int(self.degrees[0].sum())

    @property
    def width(self) -> int:
        """Columns of a stored row."""
        return -(-(self.rank + (not self.implicit)) // LANES) * LANES

    def sent(self, side: int) -> float:
        """Rows of one side that are sent, once to each block that needs them."""
        share = 1 - 1 / self.blocks
        return float(
            np.sum(self.blocks * -np.expm1(self.degrees[side] * np.log(max(share, 1e-300))))
        )

    def moved(self) -> dict[str, float]:
        """Bytes that an iteration writes to shuffles, by what they are."""
        blocks, columns = self.blocks, self.rank + (not self.implicit)
        rows = sum(map(len, self.degrees))
        sent = [self.sent(side) for side in (0, 1)]
        messages = sum(blocks**2 * -np.expm1(-each / blocks**2) for each in sent)
        pieces = 4 * columns * sum(sent) / PIECE
        upper = self.width * (self.width + 1) / 2 if self.implicit else 0
        halves = 2 if self.implicit else 0
        return {
            "factors": 4 * columns * sum(sent) + MESSAGE * (messages + pieces),
            "own": 2 * (4 * columns + 8) * rows + 4 * blocks * (MESSAGE + 64),
            "links": 4 * sum(sent) + 2 * blocks * (8 * blocks + MESSAGE + 64),
            "blocks": self.interactions * self._interaction(sent) + 8 * rows + 2 * blocks * MESSAGE,
            "sums": halves * blocks * (8 * upper + MESSAGE + 64),
        }

    def _interaction(self, sent: list[float]) -> float:
        """Bytes of an interaction in the blocks of both sides."""
        high = sum((each > self.blocks << 16) + (each > self.blocks << 24) for each in sent)
        return 4 + high + 2 * (1 if self.levels <= 256 else 4)

    def held(self) -> float:
        """Bytes that the largest task holds, an upper estimate, if rows spread evenly."""
        share = -(-self.interactions // self.blocks)
        return max(
            Held(
                share,
                len(self.degrees[side]) // self.blocks,
                int(self.sent(1 - side) / self.blocks),
            ).size(self.width)
            for side in (0, 1)
        )
