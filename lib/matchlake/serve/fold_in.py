"""Computes the factors of a new user from a few items, and the best items, by NumPy.

It solves the least squares problem of `recommender.als.fold_in`, but for one user, in double
precision, without compiled code.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from matchlake.model_store.served_signature import FoldIn

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

_GROUP = 64
"""The number of items in a group of `top`."""


class Ranked(NamedTuple):
    """Positions of items, best first, and their scores."""

    places: Ints
    scores: Floats


class ItemFactors:
    """Factors and biases of the items, and the precomputed parts of a fold-in."""

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
        """Returns the row of a user with these items: factors, then a bias if the model has biases.

        It needs at least one item. `values` are ratings or weights, as in the interactions of a
        fit.
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
        """Returns the best `k` items for a row of `fold_in`, without some.

        Ties in the order of items.
        """
        rank, level = self.factors.shape[1], self._problem.level if self._problem else 0.0
        scores = self.factors @ row[:rank].astype(np.float32)
        if len(row) > rank:
            scores += self.bias
        scores[without] = -np.inf
        found = top(scores, k)
        own = np.float32(level + (row[rank] if len(row) > rank else 0.0))
        return Ranked(found.places, found.scores + own)

    def similar(self, place: int, k: int) -> Ranked:
        """Returns the items with the most similar factors, by cosine, without the item itself."""
        scores = self.factors @ self.factors[place]
        scores *= self._inverse_norms * self._inverse_norms[place]
        scores[place] = -np.inf
        return top(scores, k)


def _solved(normal: Doubles, right: Doubles) -> Doubles:
    try:
        return np.asarray(np.linalg.solve(normal, right), np.float64)
    except np.linalg.LinAlgError:  # singular: no penalty, and fewer items than factors
        return np.asarray(np.linalg.lstsq(normal, right, rcond=None)[0], np.float64)


def top(scores: Floats, k: int) -> Ranked:
    """Returns the `k` largest scores and their positions, without negative infinity.

    The k-th largest of the group maxima is a lower bound of the result, so only scores above it are
    sorted.
    """
    whole = len(scores) // _GROUP * _GROUP
    candidates: Ints
    if k < whole // _GROUP:
        # A group is every n-th score, so that vector instructions compute the maxima.
        most = scores[:whole].reshape(_GROUP, -1).max(axis=0)
        limit = np.partition(most, len(most) - k)[len(most) - k]
        candidates = np.flatnonzero(scores >= limit)
    else:
        candidates = np.arange(len(scores))
    chosen = scores[candidates]
    order = np.argsort(-chosen, kind="stable")[:k]
    order = order[chosen[order] > -np.inf]
    return Ranked(candidates[order], chosen[order])
