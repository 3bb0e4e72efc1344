"""Compiled coordinate descent, which solves one item after another."""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from matchlake.engine.csr import Ints
from matchlake.engine.simd import compiled
from matchlake.recommender.linear.kernels import Floats, Positions, Rows, add_rows

Array = npt.NDArray[Any]

_SOME = 8
"""The number of rounds of steps after which further candidates can become active."""
_FIRST = 64
"""The number of candidates that become active first; later the number of active candidates
doubles."""


class Gram(NamedTuple):
    """The Gram matrix X'X of the items: X by users and by items, and stored rows of X'X."""

    users: Rows
    items: Rows
    diagonal: Floats
    kept: Floats
    """The stored rows, shape (rows stored, items)."""
    place: Positions
    """The row of `kept` of each item, or -1."""


class Problem(NamedTuple):
    """The penalties and limits of a fit."""

    l1: np.float32
    l2: np.float32
    nonnegative: bool
    screened: bool
    """Whether only items whose product with the target is above `l1` can have a weight."""
    tolerance: np.float32
    sweeps: int


class _Room(NamedTuple):
    """The work memory of a thread, for any item.

    A candidate may have a weight. The descent may change the weight of an active candidate.
    Candidates are numbered by ascending item; active candidates are numbered in the order of
    activation.
    """

    row: Floats
    """By item: the product with the target."""
    slots: Positions
    """By item: its number as a candidate, or -1."""
    places: Positions
    """By item: its number as an active candidate, or -1."""
    candidates: Positions
    """By candidate: its item."""
    gradient: Floats
    """By candidate: the gradient of the squared error with its sign turned, without penalties."""
    steps: Floats
    """By candidate: if it is not active, the weight that it would get."""
    products: Floats
    """By candidate: the products with one item."""
    numbers: Positions
    """By candidate: its number as an active candidate, or -1."""
    active: Positions
    """By active candidate: its number as a candidate."""
    slopes: Floats
    """By active candidate: its gradient."""
    weights: Floats
    settled: Floats
    """By active candidate: the weight that `gradient` takes into account."""


@compiled
def solve_targets(
    gram: Gram, problem: Problem, targets: Positions
) -> tuple[Ints, Positions, Floats]:
    """Offsets, sources and weights of all targets; see `slim_weights`."""
    size = len(gram.diagonal)
    room = _Room(
        np.zeros(size, np.float32),
        np.full(size, -1, np.int32),
        np.full(size, -1, np.int32),
        np.empty(size, np.int32),
        np.empty(size, np.float32),
        np.empty(size, np.float32),
        np.empty(size, np.float32),
        np.empty(size, np.int32),
        np.empty(size, np.int32),
        np.empty(size, np.float32),
        np.empty(size, np.float32),
        np.empty(size, np.float32),
    )
    square = np.empty((_FIRST, _FIRST), np.float32)
    indptr = np.zeros(len(targets) + 1, np.int64)
    sources, weights = np.empty(1024, np.int32), np.empty(1024, np.float32)
    for n in range(len(targets)):
        count, square = _solve(gram, problem, targets[n], room, square)
        end = indptr[n]
        if end + count > len(sources):
            sources = _widened(sources, 2 * (end + count))
            weights = _widened(weights, 2 * (end + count))
        for slot in range(count):
            number = room.numbers[slot]
            if number >= 0 and room.weights[number] != 0:
                sources[end], weights[end] = room.candidates[slot], room.weights[number]
                end += 1
            room.slots[room.candidates[slot]] = -1
        indptr[n + 1] = end
    return indptr, sources[: indptr[-1]], weights[: indptr[-1]]


@compiled
def _widened(array: Array, size: int) -> Array:
    wide = np.empty(size, array.dtype)
    wide[: len(array)] = array
    return wide


@compiled
def _solve(
    gram: Gram, problem: Problem, target: int, room: _Room, square: Floats
) -> tuple[int, Floats]:
    """Solves one item; writes to `room`, and returns the number of candidates and `square`."""
    _products(gram, target, room.row)
    count = 0
    for item in range(len(room.row)):
        product = room.row[item] if problem.nonnegative else abs(room.row[item])
        if product > problem.l1 and item != target:
            room.candidates[count] = item
            count += 1
    while True:
        for slot in range(count):
            room.slots[room.candidates[slot]] = slot
            room.gradient[slot] = room.row[room.candidates[slot]]
            room.numbers[slot] = -1
        used, square = _descend(gram, problem, count, room, square)
        if problem.screened:
            return count, square
        wider = _admit(gram, problem, target, used, room)
        if wider == count:
            return count, square
        count = wider
        _products(gram, target, room.row)


@compiled
def _products(gram: Gram, item: int, row: Floats) -> None:
    """Computes the row of the Gram matrix of one item."""
    place = gram.place[item]
    if place >= 0:
        row[:] = gram.kept[place]
        return
    row[:] = 0
    indptr, columns, values = gram.items
    begin, end = indptr[item], indptr[item + 1]
    add_rows(columns[begin:end], values[begin:end], gram.users, row)


@compiled
def _descend(
    gram: Gram, problem: Problem, count: int, room: _Room, square: Floats
) -> tuple[int, Floats]:
    """Activates the candidates with the largest gain, and descends, until none would gain."""
    used, swept, moves = 0, 0, False
    while True:
        before, used = used, _activate(gram, problem, count, used, room)
        if (used == before and not moves) or swept == problem.sweeps:
            return used, square
        square = _fill_square(gram, before, used, room, square)
        for number in range(used):
            room.slopes[number] = room.gradient[room.active[number]]
        last = problem.sweeps if used == before else min(swept + _SOME, problem.sweeps)
        moves = True
        while moves and swept < last:
            moves = _step(gram, problem, used, room, square)
            swept += 1
        for number in range(used):
            change = room.weights[number] - room.settled[number]
            if change != 0:
                item = room.candidates[room.active[number]]
                _gather(gram, item, room.candidates[:count], room.slots, room.products[:count])
                _subtract(change, room.products[:count], room.gradient[:count])
                room.settled[number] = room.weights[number]


@compiled
def _best(problem: Problem, value: np.float32, own: np.float32) -> np.float32:
    """Returns the weight with the lowest loss; `value` is the gradient without its own part."""
    if problem.nonnegative:
        return max(value - problem.l1, np.float32(0.0)) / (own + problem.l2)
    excess = max(abs(value) - problem.l1, np.float32(0.0)) / (own + problem.l2)
    return excess if value > 0 else -excess


@compiled
def _activate(gram: Gram, problem: Problem, count: int, used: int, room: _Room) -> int:
    """Activates the candidates with the largest steps; returns the number of active candidates."""
    able = 0
    for slot in range(count):
        room.steps[slot] = np.float32(0.0)
        if room.numbers[slot] < 0:
            own = gram.diagonal[room.candidates[slot]]
            room.steps[slot] = abs(_best(problem, room.gradient[slot], own))
            able += room.steps[slot] >= problem.tolerance
    most, least = max(_FIRST, used), problem.tolerance
    if able > most:
        least = np.partition(room.steps[:count], count - most)[count - most]
    for slot in range(count):
        if room.steps[slot] >= least and room.numbers[slot] < 0:
            room.numbers[slot], room.active[used] = used, slot
            room.weights[used] = room.settled[used] = np.float32(0.0)
            used += 1
    return used


@compiled
def _fill_square(gram: Gram, before: int, used: int, room: _Room, square: Floats) -> Floats:
    """Returns the products between active candidates, after adding those from `before` on."""
    if used > len(square):
        wider = np.empty((2 * used, 2 * used), np.float32)
        wider[:before, :before] = square[:before, :before]
        square = wider
    items = np.empty(used, np.int32)
    for number in range(used):
        items[number] = room.candidates[room.active[number]]
    places = room.places
    for number in range(used):
        places[items[number]] = number
    for number in range(before, used):
        _gather(gram, items[number], items, places, square[number, :used])
        square[:before, number] = square[number, :before]
    for number in range(used):
        places[items[number]] = -1
    return square


@compiled
def _step(gram: Gram, problem: Problem, used: int, room: _Room, square: Floats) -> bool:
    """Makes one step for every active candidate. Returns whether any of them moved."""
    moved = False
    for number in range(used):
        own = gram.diagonal[room.candidates[room.active[number]]]
        value = room.slopes[number] + own * room.weights[number]
        weight = _best(problem, value, own)
        step = weight - room.weights[number]
        # A step to 0 is always made, however short, so that the weights are sparse.
        if abs(step) >= problem.tolerance or (weight == 0 and step != 0):
            moved = True
            room.weights[number] = weight
            _subtract(step, square[number, :used], room.slopes[:used])
    return moved


@compiled
def _subtract(step: np.float32, row: Floats, gradient: Floats) -> None:
    for n in range(len(gradient)):
        gradient[n] -= step * row[n]


@compiled
def _gather(gram: Gram, item: int, others: Positions, places: Positions, out: Floats) -> None:
    """Computes the products of an item with `others`; `places` has their positions, or -1."""
    if gram.place[item] >= 0:
        row = gram.kept[gram.place[item]]
        for n in range(len(others)):
            out[n] = row[others[n]]
        return
    out[:] = 0
    indptr, users, values = gram.items
    starts, columns, entries = gram.users
    for n in range(indptr[item], indptr[item + 1]):
        for entry in range(starts[users[n]], starts[users[n] + 1]):
            place = places[columns[entry]]
            if place >= 0:
                out[place] += values[n] * entries[entry]


@compiled
def _admit(gram: Gram, problem: Problem, target: int, used: int, room: _Room) -> int:
    """Adds the candidates that would gain; returns the new number. It overwrites their weights."""
    change, row = np.empty(len(room.row), np.float32), room.row
    for number in range(used):
        if room.weights[number] != 0:
            _products(gram, room.candidates[room.active[number]], change)
            _subtract(room.weights[number], change, row)
    wider = 0
    for item in range(len(row)):
        value = row[item] if problem.nonnegative else abs(row[item])
        step = problem.tolerance * (gram.diagonal[item] + problem.l2)
        if room.slots[item] >= 0 or (value - problem.l1 > step and item != target):
            room.candidates[wider] = item
            wider += 1
    return wider
