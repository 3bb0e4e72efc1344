"""The recommendation lists of some users, stored in an exported recommender to verify it."""

from importlib.metadata import version
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import Field

from matchlake.errors import ModelError
from matchlake.params import Params

Array = npt.NDArray[Any]

KEY = "matchlake.recommender"
"""The key of the metadata of a graph with its lists."""
_TOLERANCE = 1e-5


class VerifiedLists(Params):
    """Users, and their recommendation lists by the model."""

    matchlake_version: str = Field(default_factory=lambda: version("matchlake"))
    """The release that wrote the export."""
    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    """The digest of the graph without these lists."""
    users: tuple[str, ...]
    k: int
    items: tuple[tuple[str, ...], ...]
    """The list of each user, best first."""
    scores: tuple[tuple[float, ...], ...]
    tolerance: float = Field(_TOLERANCE, gt=0, le=1e-3)
    """The allowed difference of scores, relative to the larger of the expected score and 1."""
    largest_difference: float | None = None
    """The largest difference that was found; None before the first comparison."""
    model_version: str | None = None
    """The registered version; None for a model that was saved in a folder."""

    @property
    def rows(self) -> int:
        """The number of lists."""
        return len(self.users)


def list_difference(
    user: str, found: tuple[list[str], Array], listed: tuple[Any, ...], tolerance: float
) -> float:
    """Returns the largest difference of a score; raises ModelError if the list differs."""
    items, scores = listed[0], np.array(listed[1])
    if len(found[0]) != len(items):
        raise ModelError(f"The list of user {user!r} has a different length than the model's list.")
    unit = np.maximum(1.0, np.abs(scores))
    largest = float((np.abs(found[1] - scores) / unit).max(initial=0.0))
    if largest > tolerance:
        raise ModelError(
            f"A score of user {user!r} differs by {largest:.3g} from the model's; {tolerance:g} is "
            "allowed. Export the model again."
        )
    for rank in (rank for rank, item in enumerate(items) if item != found[0][rank]):
        tied = np.abs(scores - scores[rank]) <= 2 * tolerance * unit
        # An item with the same score as the last one may be just outside the model's list.
        if not tied[-1] and found[0][rank] not in {items[other] for other in np.flatnonzero(tied)}:
            raise ModelError(
                f"Item {rank + 1} of user {user!r} is {found[0][rank]!r} instead of "
                f"{items[rank]!r}. Export the model again."
            )
    return largest
