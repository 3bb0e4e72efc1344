"""Computes the scores of one user for all items in an ONNX graph.

A user is an id as a string. Numbers have single precision, as in models in memory.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from matchlake.formulas.onnx import Graph

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]


class UserFactors(NamedTuple):
    """Factors and biases: a row per user, and a last one for unknown users."""

    ids: Sequence[Any]
    factors: Floats
    """Shape (users + 1, rank)."""
    bias: Floats
    """Biases, shape (users + 1), including the mean of all scores."""


class ListsByUser(NamedTuple):
    """The items of each user: row numbers and values, one user after another."""

    indptr: Ints
    """The start of each user's list: users + 1 numbers."""
    items: Ints
    values: Floats | None = None


def place_of(graph: Graph, user: str, ids: Sequence[Any]) -> str:
    """Adds the row number of a user, integer [1]; an unknown user has the row after the last."""
    return graph.codes(user, {str(key): row for row, key in enumerate(ids)}, len(ids))


def factor_scores(
    graph: Graph,
    user: str,
    users: UserFactors,
    items: tuple[Floats, Floats],
    plain: Floats | None = None,
) -> str:
    """Adds the scores of factors and biases, [1, items]; `items` has factors and biases.

    `plain` are the scores for an unknown user, without the bias of the user.
    """
    place = place_of(graph, user, users.ids)
    scores = graph.constant(items[1][None])
    if users.factors.shape[1]:
        factors = graph.add("Gather", graph.constant(users.factors), place, axis=0)
        products = graph.add("MatMul", factors, graph.constant(np.ascontiguousarray(items[0].T)))
        scores = graph.add("Add", products, scores)
    if plain is not None:
        unknown = graph.add("Equal", place, graph.integers([len(users.ids)]))
        scores = graph.add("Where", unknown, graph.constant(plain[None]), scores)
    level = graph.add("Gather", graph.constant(users.bias), place, axis=0)
    return graph.add("Add", scores, graph.add("Unsqueeze", level, graph.integers([1])))


def history_scores(
    graph: Graph,
    user: str,
    ids: Sequence[Any],
    history: ListsByUser,
    weights: tuple[Floats, Floats],
) -> str:
    """Adds the sum of the weight rows of a user's items, times their values, [1, items].

    `weights` has the weights, and the scores for an unknown user.
    """
    place = place_of(graph, user, ids)
    items, values = list_of(graph, place, history)
    rows = graph.add("Gather", graph.constant(weights[0]), items, axis=0)
    row = graph.add("Unsqueeze", values, graph.integers([0]))
    scores = graph.add("MatMul", row, rows)
    unknown = graph.add("Equal", place, graph.integers([len(ids)]))
    return graph.add("Where", unknown, graph.constant(weights[1][None]), scores)


def list_of(graph: Graph, place: str, lists: ListsByUser) -> tuple[str, str]:
    """Adds the items and values of the user at `place`; empty for the row after the last."""
    bounds = graph.constant(np.append(lists.indptr, lists.indptr[-1]))
    begin = graph.add("Gather", bounds, place, axis=0)
    after = graph.add("Add", place, graph.integers([1]))
    end = graph.add("Gather", bounds, after, axis=0)
    cut = begin, end, graph.integers([0])
    items = graph.add("Slice", graph.constant(lists.items), *cut)
    if lists.values is None:
        return items, items
    return items, graph.add("Slice", graph.constant(lists.values), *cut)


def sparse_history_scores(
    graph: Graph,
    user: str,
    ids: Sequence[Any],
    history: ListsByUser,
    weights: tuple[Ints, Ints, Floats, Floats],
) -> str:
    """Like `history_scores`, for sparse weights: sources, targets and values.

    The last array has the scores for an unknown user.
    """
    sources, targets, given, plain = weights
    place = place_of(graph, user, ids)
    items, values = list_of(graph, place, history)
    nothing = graph.constant(np.zeros(len(plain), np.float32))
    row = graph.add("ScatterElements", nothing, items, values, axis=0)
    parts = graph.add("Gather", row, graph.constant(sources), axis=0)
    parts = graph.add("Mul", parts, graph.constant(given))
    onto = nothing, graph.constant(targets), parts
    scores = graph.add("ScatterElements", *onto, axis=0, reduction="add")
    scores = graph.add("Unsqueeze", scores, graph.integers([0]))
    unknown = graph.add("Equal", place, graph.integers([len(ids)]))
    return graph.add("Where", unknown, graph.constant(plain[None]), scores)
