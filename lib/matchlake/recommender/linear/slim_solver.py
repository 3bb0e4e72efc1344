"""Sparse weights by coordinate descent on the Gram matrix of the items, one item at a time.

The weights of an item depend only on the interactions. They do not depend on the other items of a
call, or on the stored rows of the Gram matrix. So they are equal for any number of tasks and
threads.
"""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import NamedTuple, TypeVar

import numpy as np

from matchlake.engine.csr import Csr, Ints
from matchlake.recommender.linear.kernels import Floats, Positions, add_rows_to_each, rows_of
from matchlake.recommender.linear.params import SlimParams
from matchlake.recommender.linear.slim_kernels import Gram, Problem, solve_targets

_WORTH_KEEPING = 4096
"""The number of products from which reading a row of the Gram matrix is faster than computing
it."""
_CHUNK = 64
"""The number of items that a thread solves at a time."""

_In = TypeVar("_In")
_Out = TypeVar("_Out")


class Columns(NamedTuple):
    """A sparse matrix in CSR: the sources of each target, ascending, and their weights."""

    indptr: Ints
    sources: Positions
    weights: Floats


def slim_weights(users: Csr, params: SlimParams, targets: Positions, threads: int) -> Columns:
    """Returns the weights of all items for each of `targets`, from a matrix users x items.

    The weights w for item i minimise 1/2 |x_i - X w|^2 + l1 |w|_1 + l2/2 |w|^2 with w_i = 0. If
    `nonnegative`, also w >= 0 holds (Ning and Karypis 2011). If no value and no weight is negative,
    only items whose product with x_i exceeds l1 can have a weight. Otherwise the gradient of all
    items is checked after a descent, and items that violate the optimality conditions are added.
    """
    gram = gram_of(users, params.memory_mb << 20, threads)
    problem = Problem(
        np.float32(params.l1_regularization),
        np.float32(params.l2_regularization),
        params.nonnegative,
        params.nonnegative and bool((users.values >= 0).all()),
        np.float32(params.tolerance),
        params.max_iterations,
    )
    chunks = [targets[n : n + _CHUNK] for n in range(0, len(targets), _CHUNK)]
    parts = _mapped(partial(solve_targets, gram, problem), chunks, threads)
    counts = [np.diff(indptr) for indptr, _, _ in parts]
    indptr = np.cumsum(np.concatenate([np.zeros(1, np.int64), *counts]))
    sources = np.concatenate([np.zeros(0, np.int32), *(part[1] for part in parts)])
    weights = np.concatenate([np.zeros(0, np.float32), *(part[2] for part in parts)])
    return Columns(indptr, sources, weights)


def gram_of(users: Csr, room: int, threads: int) -> Gram:
    """Returns the Gram matrix of users x items, with its costliest rows stored in `room` bytes."""
    items = users.transpose()
    lengths = np.repeat(users.counts(), users.counts())
    work = np.bincount(users.columns, lengths, users.width)
    order = np.argsort(-work, kind="stable")[: room // (4 * max(1, users.width))]
    chosen = order[work[order] > _WORTH_KEEPING].astype(np.int32)
    kept = np.zeros((len(chosen), users.width), np.float32)
    place = np.full(users.width, -1, np.int32)
    place[chosen] = np.arange(len(chosen))
    by_item, by_user = rows_of(items), rows_of(users)
    chunks = range(0, len(chosen), _CHUNK)
    fill = partial(add_rows_to_each, by_item, by_user)
    _mapped(lambda n: fill(chosen[n : n + _CHUNK], kept[n : n + _CHUNK]), chunks, threads)
    diagonal = np.bincount(users.columns, np.square(users.values), users.width)
    return Gram(by_user, by_item, diagonal.astype(np.float32), kept, place)


def _mapped(work: Callable[[_In], _Out], parts: Iterable[_In], threads: int) -> list[_Out]:
    if threads == 1:
        return [work(part) for part in parts]
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(work, parts))
