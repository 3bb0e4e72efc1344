"""How many blocks a distributed fit has: by the cores, and by what a task holds of both sides."""

from dataclasses import dataclass
from typing import NamedTuple

from matchlake.errors import InputError

TASK_BYTES = 1 << 30
"""Maximum size of what a task holds, in bytes, if the number of blocks is chosen."""

LEAST = 1 << 17
"""Interactions of a block that are worth a task: its start takes as long as their half."""


class Held(NamedTuple):
    """What a task holds: its interactions, its own rows, and the rows that it receives."""

    interactions: int
    own: int
    received: int

    def size(self, width: int) -> int:
        """An upper estimate in bytes, for stored rows of `width` float32 columns.

        An interaction is held as it arrives, sorted, and packed. A row is held as it arrives and in
        the buffer of the solver, which may copy it.
        """
        return 64 * self.interactions + 12 * width * (self.own + self.received)


@dataclass(frozen=True)
class FitSize:
    """The size of a fit: interactions, rows of users and of items, float32 columns of a row."""

    interactions: int
    rows: tuple[int, int]
    width: int

    def held(self, blocks: int) -> int:
        """An upper estimate of the bytes that a task holds with this many blocks per side.

        A block receives at most all rows of the other side, and at most one per interaction.
        """
        share = -(-self.interactions // blocks)
        users, items = self.rows
        return max(
            Held(share, -(-own // blocks), min(other, share)).size(self.width)
            for own, other in ((users, items), (items, users))
        )

    def blocks(self, cores: int, limit: int) -> int:
        """Two blocks per core, and as many as keep a task within `limit` and TASK_BYTES."""
        return min(max(2, self._busy(cores), self._within(min(limit, TASK_BYTES))), *self.rows)

    def _busy(self, cores: int) -> int:
        return min(2 * cores, self.interactions // LEAST)

    def _within(self, limit: int) -> int:
        """The smallest number of blocks that keeps a task within `limit`."""
        low, high = 1, max(self.rows)
        while low < high:
            middle = (low + high) // 2
            low, high = (low, middle) if self.held(middle) <= limit else (middle + 1, high)
        return low

    def require(self, blocks: int, limit: int, held: int | None = None) -> None:
        """Raises InputError if a task would hold more than `limit` bytes.

        `held` is what it holds if that is known, and not estimated.
        """
        held = self.held(blocks) if held is None else held
        if held <= limit:
            return
        enough, possible = max(blocks + 1, self._within(limit)), min(self.rows)
        advice = f"Set blocks to {enough} or more, or raise task_memory_mb"
        if enough > possible:
            advice = (
                f"More than {possible} blocks, one per row, are not possible: raise task_memory_mb"
            )
        raise InputError(
            f"With {blocks} blocks per side, a task of the fit would hold {-(-held >> 20)} MiB, "
            f"more than task_memory_mb={limit >> 20}. {advice} where executors have the memory."
        )
