"""The comparison that verified an export: rows, expected scores, and the largest difference."""

from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import Field

from matchlake.errors import ModelError
from matchlake.formulas.heads.links import PREDICTION, PROBABILITIES
from matchlake.params import Params

Array = npt.NDArray[Any]

_TIE = 1e-12


class Verified(Params):
    """The comparison of an export with its model, stored inside the export."""

    matchlake_version: str = Field(default_factory=lambda: version("matchlake"))
    """The release that wrote the export."""
    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    """The digest of the export without this comparison."""
    inputs: dict[str, tuple[Any, ...]]
    """The columns of the rows, as the export reads them."""
    types: dict[str, str] = Field(default_factory=dict)
    """The type of each column, as Spark names it, where a query reads the rows."""
    expected: dict[str, tuple[Any, ...]]
    """The outputs of the model for these rows."""
    tolerance: float = Field(gt=0, le=1e-3)
    """The largest difference allowed, relative to the larger of the expected number and 1."""
    largest_difference: float | None = None
    """The largest difference that was found; None before the first comparison."""
    model_version: str | None = None
    """The registered version; None for a model that was saved in a folder."""

    @property
    def rows(self) -> int:
        """The number of rows."""
        return len(self.expected[PREDICTION])


def plain_outputs(scored: Mapping[str, Array]) -> dict[str, tuple[Any, ...]]:
    """Outputs of a head as JSON values, null for NaN."""
    return {
        name: tuple(_plain(each) for each in values.tolist()) for name, values in scored.items()
    }


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        return [_plain(each) for each in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value


def largest_difference(found: Mapping[str, Any], verified: Verified) -> float:
    """Returns the largest difference between the outputs `found` and the expected outputs.

    Raises ModelError for a difference beyond the tolerance, another label, or other outputs.
    """
    if set(found) != set(verified.expected):
        raise ModelError(
            f"The export gives {', '.join(sorted(found))}; the model gives "
            f"{', '.join(sorted(verified.expected))}."
        )
    largest = 0.0
    for name, expected in verified.expected.items():
        if len(found[name]) != len(expected):
            raise ModelError(
                f"The export gives {len(found[name])} rows instead of {len(expected)}."
            )
        for row, pair in enumerate(zip(found[name], expected, strict=True)):
            largest = max(largest, _difference(name, row, pair, verified))
    if largest > verified.tolerance:
        raise ModelError(
            f"The scores of the export differ by {largest:.3g} from the model's; "
            f"{verified.tolerance:g} is allowed. The file was changed, or its runtime rounds "
            "differently. Export the model again."
        )
    return largest


def _difference(name: str, row: int, pair: tuple[Any, Any], verified: Verified) -> float:
    found, expected = pair
    if isinstance(expected, list | tuple):
        if found is None or len(found) != len(expected):
            raise ModelError(f"Row {row} has a different number of {name} than the model.")
        pairs = zip(found, expected, strict=True)
        return max(_difference(name, row, each, verified) for each in pairs)
    if isinstance(expected, float) and isinstance(found, float):
        return abs(found - expected) / max(1.0, abs(expected))
    if found != expected and not _is_tie(row, verified):
        raise ModelError(f"Row {row} has {name} {found!r}; the model gives {expected!r}.")
    return 0.0


def _is_tie(row: int, verified: Verified) -> bool:
    """Returns whether two probabilities of a row are so close that rounding decides its label."""
    values = verified.expected.get(PROBABILITIES, ())
    if not values or values[row] is None:
        return False
    first, second, *_ = sorted((v for v in values[row] if v is not None), reverse=True)
    return bool(first - second <= _TIE)
