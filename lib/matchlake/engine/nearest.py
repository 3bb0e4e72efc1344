"""The nearest centre of each row in each of many groups of centres, in one pass over the rows.

A group is one clustering. Its centres stand side by side in one flat array, so a row is loaded once
for all groups. Sixteen rows and three centres are scored at a time. The score of a centre c for a
row x is x.c - |c|^2 / 2: the nearest centre has the largest one. Each score is one chain of fused
multiply-adds in the order of the columns, so it does not depend on the batch or the machine. Of
equal scores the first centre wins.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from matchlake.engine.exact_sums import PARTS, cut
from matchlake.engine.simd import DOUBLES, compiled, fma, load, splat_double, store, where

ROWS = 2 * DOUBLES
"""Rows that are scored at a time."""
_TOGETHER = 3
"""Centres that are scored at a time; with the rows they take 12 of the 16 registers of AVX2."""

Doubles = npt.NDArray[np.float64]
Places = npt.NDArray[np.int64]


class Groups(NamedTuple):
    """Groups of centres in the layout of the kernels; `pack_groups` builds it."""

    panels: Doubles
    """Flat: for each three centres, for each column, three numbers."""
    halves: Doubles
    """Minus half the squared length of each centre; minus infinity for padding."""
    starts: Places
    """The first padded place of each group, and the end of the last one; multiples of three."""
    first: Places
    """The number of the first centre of each group among all centres."""


def pack_groups(groups: Sequence[Doubles]) -> Groups:
    """Groups of centres (centres, columns), each padded to a multiple of three."""
    counts = [-(-len(each) // _TOGETHER) * _TOGETHER for each in groups]
    starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    columns = groups[0].shape[1]
    padded, halves = np.zeros((starts[-1], columns)), np.full(starts[-1], -np.inf)
    for start, each in zip(starts, groups, strict=False):
        padded[start : start + len(each)] = each
        halves[start : start + len(each)] = -np.einsum("kc,kc->k", each, each) / 2
    panels = padded.reshape(-1, _TOGETHER, columns).transpose(0, 2, 1)
    first = np.concatenate([[0], np.cumsum([len(each) for each in groups])]).astype(np.int64)
    return Groups(np.ascontiguousarray(panels).reshape(-1), halves, starts, first)


@compiled
def nearest(groups: Groups, tile: Doubles, group: int, found: Doubles) -> None:
    """Writes the place in the group of the nearest centre of each row of a tile.

    `tile` is flat: for each column sixteen rows. `found` has sixteen places.
    """
    columns = len(tile) // ROWS
    none = splat_double(-np.inf)
    best0 = best1 = none
    at0 = at1 = splat_double(0.0)
    begin = groups.starts[group]
    for j in range(begin, groups.starts[group + 1], _TOGETHER):
        a0 = a1 = splat_double(groups.halves[j])
        b0 = b1 = splat_double(groups.halves[j + 1])
        c0 = c1 = splat_double(groups.halves[j + 2])
        panel = j * columns
        for c in range(columns):
            x0, x1 = load(tile, c * ROWS), load(tile, c * ROWS + DOUBLES)
            y = splat_double(groups.panels[panel + c * _TOGETHER])
            a0, a1 = fma(x0, y, a0), fma(x1, y, a1)
            y = splat_double(groups.panels[panel + c * _TOGETHER + 1])
            b0, b1 = fma(x0, y, b0), fma(x1, y, b1)
            y = splat_double(groups.panels[panel + c * _TOGETHER + 2])
            c0, c1 = fma(x0, y, c0), fma(x1, y, c1)
        place = splat_double(float(j - begin))
        at0, best0 = where(a0, best0, place, at0), where(a0, best0, a0, best0)
        at1, best1 = where(a1, best1, place, at1), where(a1, best1, a1, best1)
        place = splat_double(float(j - begin + 1))
        at0, best0 = where(b0, best0, place, at0), where(b0, best0, b0, best0)
        at1, best1 = where(b1, best1, place, at1), where(b1, best1, b1, best1)
        place = splat_double(float(j - begin + 2))
        at0, best0 = where(c0, best0, place, at0), where(c0, best0, c0, best0)
        at1, best1 = where(c1, best1, place, at1), where(c1, best1, c1, best1)
    store(found, 0, at0)
    store(found, DOUBLES, at1)


@compiled
def fill_tile(rows: Doubles, first: int, tile: Doubles) -> int:
    """Copies sixteen rows into a tile, the last row again where there are fewer; their number."""
    count = min(ROWS, len(rows) - first)
    for r in range(ROWS):
        row = first + min(r, count - 1)
        for c in range(rows.shape[1]):
            tile[c * ROWS + r] = rows[row, c]
    return count


@compiled
def assign_rows(rows: Doubles, groups: Groups, group: int, places: Places) -> None:
    """Writes the place of the nearest centre of each row in one group."""
    tile, found = np.empty(rows.shape[1] * ROWS), np.empty(ROWS)
    for first in range(0, len(rows), ROWS):
        count = fill_tile(rows, first, tile)
        nearest(groups, tile, group, found)
        for r in range(count):
            places[first + r] = np.int64(found[r])


@compiled
def sum_nearest(
    rows: Doubles, groups: Groups, bounds: Doubles, counts: Places, sums: Doubles
) -> None:
    """Adds each row to the sums of its nearest centre in each group.

    `counts` has one number per centre; `sums` (centres, parts x columns) has the parts of
    `exact_sums`, whose bounds are `bounds`.
    """
    columns = rows.shape[1]
    tile, found = np.empty(columns * ROWS), np.empty(ROWS)
    parts = np.empty((ROWS, PARTS * columns))
    for first in range(0, len(rows), ROWS):
        count = fill_tile(rows, first, tile)
        for r in range(count):
            for c in range(columns):
                one, two, three = cut(rows[first + r, c], bounds[c])
                parts[r, c] = one
                parts[r, columns + c] = two
                parts[r, 2 * columns + c] = three
        for group in range(len(groups.starts) - 1):
            nearest(groups, tile, group, found)
            base = groups.first[group]
            for r in range(count):
                centre = base + np.int64(found[r])
                counts[centre] += 1
                for c in range(PARTS * columns):
                    sums[centre, c] += parts[r, c]


@compiled
def measure_nearest(
    rows: Doubles,
    targets: tuple[Groups, Doubles, Doubles],
    bounds: Doubles,
    counts: Places,
    sums: Doubles,
) -> None:
    """Adds to each centre the measures of the rows nearest to it, as parts of `exact_sums`.

    `targets` has the groups, all their centres, and the mean of each centre's rows. `sums`
    (centres, 4, parts) has the squared distance to the centre, the squared distance and the
    distance to the mean, and the simplified silhouette. `bounds` has the bound of each.
    """
    groups, centers, means = targets
    columns = rows.shape[1]
    tile, found, values = np.empty(columns * ROWS), np.empty(ROWS), np.empty(4)
    for first in range(0, len(rows), ROWS):
        count = fill_tile(rows, first, tile)
        for group in range(len(groups.starts) - 1):
            nearest(groups, tile, group, found)
            base, end = groups.first[group], groups.first[group + 1]
            for r in range(count):
                row, own = rows[first + r], base + np.int64(found[r])
                values[0] = _apart(row, centers[own])
                values[1] = _apart(row, means[own])
                values[2] = np.sqrt(values[1])
                other = np.inf
                for centre in range(base, end):
                    if centre != own:
                        other = min(other, _apart(row, centers[centre]))
                inner, outer = np.sqrt(values[0]), np.sqrt(other)
                larger = max(inner, outer)
                values[3] = (outer - inner) / larger if 0 < larger < np.inf else 0.0
                counts[own] += 1
                for i in range(4):
                    parts = cut(values[i], bounds[i])
                    for part in range(PARTS):
                        sums[own, i, part] += parts[part]


@compiled
def _apart(row: Doubles, centre: Doubles) -> float:
    """The squared distance."""
    total = 0.0
    for c in range(len(row)):
        total += (row[c] - centre[c]) ** 2
    return total
