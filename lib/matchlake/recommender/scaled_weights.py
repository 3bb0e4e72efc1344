"""Scales the weights of interactions, independently of their unit."""

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]


def scaled_weights(values: Floats, scale: float | None) -> Floats:
    """Returns `log2(1 + value / scale)`: 1 at `scale`, nearly linear below, growing slowly above.

    So a single very large weight does not dominate, and 0 stays 0. If `scale` is None, the values
    stay unchanged.
    """
    if scale is None:
        return values
    return np.log2(1.0 + values.astype(np.float64) / scale).astype(np.float32)
