"""Sums in one fixed order, so that every engine rounds them the same.

Neighbours are added, then neighbours of the results, until one is left. The error grows with the
logarithm of the number of terms, and the expression is flat.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from matchlake.formulas.onnx import Graph

Array = npt.NDArray[np.float64]


def sum_last(terms: Array) -> Array:
    """The sum over the last axis, which has one element or more."""
    while terms.shape[-1] > 1:
        pairs = terms.shape[-1] // 2 * 2
        added = terms[..., 0:pairs:2] + terms[..., 1:pairs:2]
        terms = np.concatenate([added, terms[..., pairs:]], axis=-1)
    return terms[..., 0]


def sum_sql(terms: Sequence[str]) -> str:
    """The sum of SQL texts."""
    while len(terms) > 1:
        pairs = len(terms) // 2 * 2
        added = [f"({terms[i]} + {terms[i + 1]})" for i in range(0, pairs, 2)]
        terms = [*added, *terms[pairs:]]
    return terms[0]


def sum_onnx(graph: "Graph", terms: str, count: int, axis: int) -> str:
    """Adds the sum over the last axis, number `axis`, with `count` elements; removes the axis."""
    while count > 1:
        pairs = count // 2 * 2
        even, odd = (graph.sliced(terms, first, pairs, axis, step=2) for first in (0, 1))
        added = graph.add("Add", even, odd)
        if count > pairs:
            rest = graph.sliced(terms, pairs, count, axis)
            added = graph.add("Concat", added, rest, axis=axis)
        terms, count = added, pairs // 2 + count - pairs
    return graph.add("Squeeze", terms, graph.integers([axis]))
