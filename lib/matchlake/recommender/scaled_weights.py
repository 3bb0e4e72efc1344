"""Weights of interactions on a scale that does not depend on their unit."""

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]


def scaled_weights(values: Floats, scale: float | None) -> Floats:
    """`log2(1 + value / scale)`: 1 at `scale`, nearly linear below it, slow growth above it.

    So one very large weight does not outweigh all others, and 0 stays 0. None leaves the values
    as they are.
    """
    if scale is None:
        return values
    return np.log2(1.0 + values.astype(np.float64) / scale).astype(np.float32)
