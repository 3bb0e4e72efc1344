"""SMOTE: makes synthetic rows of rare classes, between a row and one of its neighbours.

Numbers are interpolated (Chawla et al. 2002). Categories are treated as by SMOTE-NC in the same
paper. A new category, with all columns of its encoding, is the most frequent one of the neighbours.
In a distance, different categories count as the median standard deviation of the numeric columns.
Random numbers depend on the seed, the class and the number of the synthetic row only.

The kinds differ in the rows near which they put synthetic rows. SMOTE draws from all rows of a
class. Borderline-SMOTE draws from the rows in danger (Han et al. 2005). ADASYN computes the number
of synthetic rows for each row (He et al. 2008). Both compare one class with the rest, among the
nearest rows of all classes.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from matchlake.engine.counter_rng import uniforms
from matchlake.engine.neighbors import Codes, Places, nearest_rows
from matchlake.errors import InputError, ParameterError
from matchlake.formulas.numpy import rows_with_nan
from matchlake.learners.params import AdasynParams, BorderlineSmoteParams, SyntheticRows
from matchlake.learners.protocol import Matrix, TrainingData, label_text

_STREAMS = 8
"""The number of random streams per class."""
_LARGEST = 1e150
"""The largest absolute value whose square is finite in a sum of squares."""
_BASE, _NEIGHBOR, _STEP, _TIE = range(4)
_NAMES = {"smote": "SMOTE", "borderline_smote": "Borderline-SMOTE", "adasyn": "ADASYN"}


@dataclass(frozen=True)
class Slots:
    """The columns of a matrix: numbers, and groups of columns that encode one category each."""

    numbers: tuple[int, ...]
    categories: tuple[tuple[int, ...], ...]

    @classmethod
    def of(cls, columns: int, categories: Sequence[Sequence[int]]) -> "Slots":
        """Groups the columns of `categories`; all other columns are numbers."""
        taken = {each for group in categories for each in group}
        numbers = tuple(each for each in range(columns) if each not in taken)
        return cls(numbers, tuple(tuple(group) for group in categories))


def smote(
    data: TrainingData,
    params: SyntheticRows,
    seed: int,
    categories: Sequence[Sequence[int]] = (),
) -> TrainingData:
    """Returns the rows, followed by the synthetic rows of each class that is too small.

    Args:
        data: Rows with a label and without weights.
        params: The kind, neighbours, and the number of rows that a class should have.
        seed: The same seed and rows give the same synthetic rows.
        categories: For each category the columns of its encoding, such as those of a one-hot
            encoding or a single column of codes. All other columns are numbers; a column of
            integers gets integers.

    Raises:
        ParameterError: A ratio names a class that does not exist. InputError: A value is missing,
        infinite or above 1e150, there is no numeric column, a class has too few rows, or no row of
        a class has suitable neighbours for the kind.
    """
    slots = Slots.of(data.matrix.shape[1], categories)
    _check(data, slots, _NAMES[params.kind])
    label = np.asarray(data.label)
    values, counts = np.unique(label, return_counts=True)
    wanted = _wanted(values, counts, params)
    parts, labels = [data.matrix], [label]
    for number, (value, count) in enumerate(zip(values, counts, strict=True)):
        missing = wanted[number] - int(count)
        if missing <= 0:
            continue
        _check_class(label_text(value), int(count), params.neighbors)
        own, key = np.flatnonzero(label == value), (seed, number)
        base = _bases(data, own, missing, (params, slots, key))
        parts.append(synthetic_rows(data.matrix[own], base, params.neighbors, slots, key))
        labels.append(np.full(len(base), value, label.dtype))
    return replace(data, matrix=np.vstack(parts), label=np.concatenate(labels))


def _bases(
    data: TrainingData,
    own: Places,
    count: int,
    chosen: tuple[SyntheticRows, Slots, tuple[int, int]],
) -> Places:
    """Returns the base row of each synthetic row, as a position in `own`."""
    params, slots, key = chosen
    every = np.arange(len(own))
    if isinstance(params, AdasynParams):
        return np.repeat(every, shares(data, own, count, params.neighbors, slots))
    if isinstance(params, BorderlineSmoteParams):
        every = in_danger(data, own, params.danger_neighbors, slots)
    return drawn(every, count, key)


def in_danger(data: TrainingData, own: Places, k: int, slots: Slots) -> Places:
    """Returns the positions in `own` of the rows in danger."""
    if k >= data.rows:
        raise InputError(
            f"danger_neighbors={k} needs {k + 1} rows, but there are {data.rows}. Choose "
            f"danger_neighbors at most {data.rows - 1}."
        )
    foreign = _foreign_neighbors(data, own, k, slots)
    found = np.flatnonzero((2 * foreign >= k) & (foreign < k))
    if not len(found):
        raise InputError(
            f"Borderline-SMOTE: no row of the class {_name(data, own)} is in danger: at least "
            f"half of its {k} nearest rows, but not all, must be of other classes. Choose other "
            "danger_neighbors, or use balance: {kind: smote}."
        )
    return found


def shares(data: TrainingData, own: Places, count: int, k: int, slots: Slots) -> Places:
    """Returns the number of synthetic rows for each row of a class; the sum is about `count`."""
    foreign = _foreign_neighbors(data, own, k, slots)
    if not foreign.any():
        raise InputError(
            f"ADASYN: no row of the class {_name(data, own)} has a row of another class among its "
            f"{k} nearest rows. Choose more neighbors, or use balance: {{kind: smote}}."
        )
    found: Places = np.rint(foreign * count / foreign.sum()).astype(np.int64)
    if not found.any():
        raise InputError(
            f"ADASYN: {count} rows for the class {_name(data, own)} are at most half a row for "
            f"each of its {len(own)} rows. Choose a larger ratio, or use balance: {{kind: smote}}."
        )
    return found


def drawn(places: Places, count: int, key: tuple[int, int]) -> Places:
    """Draws `count` positions with replacement; `key` has the seed and the class number."""
    chances = uniforms(np.arange(count, dtype=np.uint64), key[0], _STREAMS * key[1] + _BASE)
    at = np.minimum((chances * len(places)).astype(np.int64), len(places) - 1)
    return np.asarray(places[at])


def _foreign_neighbors(data: TrainingData, own: Places, k: int, slots: Slots) -> Places:
    """Returns how many of the k nearest rows of each row in `own` are of another class."""
    numbers = np.ascontiguousarray(data.matrix[:, slots.numbers])
    label = np.asarray(data.label)
    neighbors = nearest_rows(numbers, k, _codes(data.matrix, slots), _penalty(numbers[own]), own)
    return np.asarray((label[neighbors] != label[own[0]]).sum(axis=1))


def _name(data: TrainingData, own: Places) -> str:
    return label_text(np.asarray(data.label)[own[0]])


def synthetic_rows(
    rows: Matrix, base: Places, k: int, slots: Slots, key: tuple[int, int]
) -> Matrix:
    """Makes a synthetic row near each row `base` of one class.

    `key` has the seed and the class number.
    """
    numbers = np.ascontiguousarray(rows[:, slots.numbers])
    codes = _codes(rows, slots)
    neighbors = nearest_rows(numbers, k, codes, _penalty(numbers))
    seed, stream = key[0], _STREAMS * key[1]
    places = np.arange(len(base), dtype=np.uint64)

    def uniform(what: int) -> Matrix:
        return uniforms(places, seed, stream + what)

    pick = np.minimum((uniform(_NEIGHBOR) * k).astype(np.int64), k - 1)
    other = neighbors[base, pick]
    made = np.empty((len(base), rows.shape[1]))
    step = uniform(_STEP)[:, None]
    between = numbers[base] + step * (numbers[other] - numbers[base])
    whole = (numbers == np.floor(numbers)).all(axis=0)
    between[:, whole] = np.rint(between[:, whole])
    made[:, slots.numbers] = between
    if codes is not None:
        for place, group in enumerate(slots.categories):
            ties = uniforms(places, seed, stream + _TIE + (place + 1) * 2**32)
            source = _voted(codes[:, place], neighbors[base], ties)
            made[:, group] = rows[source[:, None], group]
    return made


def _penalty(numbers: Matrix) -> float:
    """Returns what two different categories add to a squared distance."""
    return float(np.median(numbers.std(axis=0))) ** 2


def _codes(rows: Matrix, slots: Slots) -> Codes | None:
    """Returns a number for each category of each group of columns."""
    if not slots.categories:
        return None
    codes = [
        pd.factorize(rows[:, group[0]])[0]
        if len(group) == 1
        else np.unique(rows[:, group], axis=0, return_inverse=True)[1].reshape(-1)
        for group in slots.categories
    ]
    return np.column_stack(codes).astype(np.int32)


def _voted(codes: npt.NDArray[np.int32], neighbors: Places, ties: Matrix) -> Places:
    """Returns, for each row of neighbours, one with the most frequent category."""
    found = codes[neighbors]
    votes = (found[:, :, None] == found[:, None, :]).sum(axis=2)
    is_best = votes == votes.max(axis=1, keepdims=True)
    # If several categories are equally frequent, one is drawn.
    rank = np.cumsum(is_best, axis=1)
    chosen = np.minimum((ties * rank[:, -1]).astype(np.int64), rank[:, -1] - 1) + 1
    at = (rank == chosen[:, None]).argmax(axis=1)
    return np.asarray(np.take_along_axis(neighbors, at[:, None], axis=1)[:, 0])


def _wanted(values: npt.NDArray[Any], counts: Places, params: SyntheticRows) -> list[int]:
    """Returns the rows that each class should have, at least its present number."""
    largest = int(counts.max())
    names = [label_text(value) for value in values]
    given = params.ratio
    ratios = dict.fromkeys(names, given) if isinstance(given, float) else given
    for name in ratios:
        if name not in names:
            raise ParameterError.unknown(
                f"ratio: there is no class {name!r}.", name, "Classes", names
            )
    return [
        max(int(count), round(ratios.get(name, 0.0) * largest))
        for name, count in zip(names, counts, strict=True)
    ]


def _check(data: TrainingData, slots: Slots, name: str) -> None:
    if data.label is None:
        raise InputError(f"{name} needs a label.")
    if data.weights is not None:
        raise InputError(f"{name} does not make weights. Use balance: {{kind: class_weights}}.")
    if not slots.numbers:
        raise InputError(
            f"{name} interpolates numbers, but there is no numeric feature. Use balance: {{kind: "
            "class_weights} instead."
        )
    missing = rows_with_nan(data.matrix.T)
    if missing.any():
        names = [each for each, flag in zip(data.columns, missing, strict=True) if flag]
        raise InputError(
            f"{name} does not accept missing values, but these features have some: "
            f"{', '.join(names[:10])}. Give them another handle_null, such as median, or use "
            "balance: {kind: class_weights}."
        )
    huge = np.asarray((np.abs(data.matrix) > _LARGEST).any(axis=0))
    if huge.any():
        names = [each for each, flag in zip(data.columns, huge, strict=True) if flag]
        raise InputError(
            f"{name} does not accept infinite values, or absolute values above {_LARGEST:g}: "
            f"{', '.join(names[:10])}."
        )


def _check_class(name: str, rows: int, neighbors: int) -> None:
    if rows == 1:
        raise InputError(
            f"The class {name} has a single row, so it has no neighbours. Collect more rows, leave "
            "the class out of ratio, or use balance: {kind: class_weights}."
        )
    if neighbors >= rows:
        raise InputError(
            f"neighbors={neighbors} needs {neighbors + 1} rows of a class, but the class {name} "
            f"has {rows}. Choose neighbors at most {rows - 1}."
        )
