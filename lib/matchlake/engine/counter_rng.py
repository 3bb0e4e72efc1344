"""Counter-based random numbers: each one depends on its key and place only."""

import numpy as np
import numpy.typing as npt

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def mix(state: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """The finaliser of SplitMix64 (Steele, Lea, Flood 2014), a bijection."""
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state ^ (state >> np.uint64(31))


def normals(
    seed: int, stream: int, rows: npt.NDArray[np.int64], width: int
) -> npt.NDArray[np.float32]:
    """Standard normal numbers, shape (len(rows), width), keyed by (seed, stream, row, column).

    Box-Muller on two counter-based uniforms of 53 bits.
    """
    with np.errstate(over="ignore"):
        key = mix(mix(np.array([seed], np.uint64) + _GOLDEN) + np.uint64(stream) * _GOLDEN)
        row = mix(rows.astype(np.uint64)[:, None] * _GOLDEN + key)
        place = row + np.arange(1, 2 * width + 1, dtype=np.uint64) * _GOLDEN
        bits = mix(place) >> np.uint64(11)
    uniform = (bits.astype(np.float64) + 0.5) * 2.0**-53
    radius = np.sqrt(-2.0 * np.log(uniform[:, :width]))
    return (radius * np.cos(2.0 * np.pi * uniform[:, width:])).astype(np.float32)


def uniforms(ids: npt.NDArray[np.uint64], seed: int, stream: int) -> npt.NDArray[np.float64]:
    """One number between 0 and 1 for each of `ids`, keyed by (seed, stream, id); 53 bits."""
    with np.errstate(over="ignore"):
        key = mix(mix(np.array([seed], np.uint64) + _GOLDEN) + np.uint64(stream) * _GOLDEN)
        bits = mix(ids.astype(np.uint64) * _GOLDEN + key) >> np.uint64(11)
    result: npt.NDArray[np.float64] = (bits.astype(np.float64) + 0.5) * 2.0**-53
    return result
