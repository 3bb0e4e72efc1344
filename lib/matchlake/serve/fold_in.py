"""The row of a new user from a few items, and the best items for it, by NumPy.

The same least squares problem as `recommender.als.fold_in` solves with compiled code, in double
precision: an exact solution for one user whose items are fixed.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from matchlake.model_store.served_signature import FoldIn

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

_GROUP = 64
"""Items whose largest score is one number of the bound."""


class Ranked(NamedTuple):
    """Places of items, best first, and their scores."""

    places: Ints
    scores: Floats


class ItemFactors:
    """Factors and biases of the items, and what a fold-in needs of them, made once."""

    def __init__(self, factors: Floats, bias: Floats, problem: FoldIn | None) -> None:
        self.factors = np.ascontiguousarray(factors, np.float32)
        self.bias = np.ascontiguousarray(bias, np.float32)
        self._problem = problem
        norms = np.linalg.norm(self.factors, axis=1)
        self._inverse_norms = (1.0 / np.maximum(norms, 1e-12)).astype(np.float32)
        if problem is not None:
            stored = np.column_stack([self.factors, self.bias]) if problem.centered else factors
            whole = stored.astype(np.float64)
            self._gram = problem.base_weight * (whole.T @ whole)

    def __len__(self) -> int:
        return len(self.factors)

    def fold_in(self, places: Ints, values: Doubles) -> Doubles:
        """The row of a user with these items: factors, then a bias if the model has biases.

        At least one item. `values` are ratings, or weights, as in the interactions of a fit.
        """
        problem = self._problem
        if problem is None:
            raise ValueError("the model has no fold-in")
        design = self.factors[places].astype(np.float64)
        if problem.centered:
            design = np.column_stack([design, np.ones(len(places))])
        offsets = self.bias[places].astype(np.float64) if problem.centered else 0.0
        targets = values - (problem.level if problem.centered else 0.0)
        if problem.weight_scale is not None:
            targets = np.log2(1.0 + targets / problem.weight_scale)
        weights = problem.slope * targets + problem.base
        right = problem.gain * targets - offsets + problem.shift * (targets > 0)
        count = len(places) + problem.counts_all_pairs * problem.base_weight * len(self)
        normal = self._gram + (design.T * weights) @ design
        normal.reshape(-1)[:: len(normal) + 1] += problem.penalty_weight * count**problem.nu
        return _solved(normal, design.T @ right)

    def best(self, row: Doubles, k: int, without: Ints) -> Ranked:
        """The best `k` items for a row of `fold_in`, without some; the first of equal ones."""
        rank, level = self.factors.shape[1], self._problem.level if self._problem else 0.0
        scores = self.factors @ row[:rank].astype(np.float32)
        if len(row) > rank:
            scores += self.bias
        scores[without] = -np.inf
        found = top(scores, k)
        own = np.float32(level + (row[rank] if len(row) > rank else 0.0))
        return Ranked(found.places, found.scores + own)

    def similar(self, place: int, k: int) -> Ranked:
        """The items with the most similar factors, by the cosine, without the item itself."""
        scores = self.factors @ self.factors[place]
        scores *= self._inverse_norms * self._inverse_norms[place]
        scores[place] = -np.inf
        return top(scores, k)


def _solved(normal: Doubles, right: Doubles) -> Doubles:
    try:
        return np.asarray(np.linalg.solve(normal, right), np.float64)
    except np.linalg.LinAlgError:  # no penalty, and fewer items than factors
        return np.asarray(np.linalg.lstsq(normal, right, rcond=None)[0], np.float64)


def top(scores: Floats, k: int) -> Ranked:
    """The `k` largest scores and their places, largest first; negative infinity is left out.

    The k-th largest of the maxima of groups bounds the list from below, so only the scores above it
    are sorted.
    """
    whole = len(scores) // _GROUP * _GROUP
    candidates: Ints
    if k < whole // _GROUP:
        # A group is every n-th score: so the maxima of all groups are vector instructions.
        most = scores[:whole].reshape(_GROUP, -1).max(axis=0)
        limit = np.partition(most, len(most) - k)[len(most) - k]
        candidates = np.flatnonzero(scores >= limit)
    else:
        candidates = np.arange(len(scores))
    chosen = scores[candidates]
    order = np.argsort(-chosen, kind="stable")[:k]
    order = order[chosen[order] > -np.inf]
    return Ranked(candidates[order], chosen[order])
