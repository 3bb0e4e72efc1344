"""Ranges of offsets: present, missing or unexpected, compared with the plan of a batch."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

Offsets = npt.NDArray[np.int64]
Range = tuple[int, int]
"""The first offset and the end offset (exclusive)."""

_SHOWN = 10


def missing_ranges(offsets: Offsets, first: int, end: int) -> list[Range]:
    """The ranges from `first` to `end` (exclusive) that the unordered offsets lack."""
    inside = np.unique(offsets[(offsets >= first) & (offsets < end)])
    edges = np.concatenate([[first - 1], inside, [end]])
    indices = np.flatnonzero(np.diff(edges) > 1)
    return [(int(edges[at]) + 1, int(edges[at + 1])) for at in indices]


def without(ranges: list[Range], gaps: list[tuple[Any, ...]]) -> list[Range]:
    """The parts of the ranges outside all `gaps`, which are cause, first and end offset."""
    left = ranges
    for _, start, stop in gaps:
        left = [
            part
            for a, b in left
            for part in ((a, min(b, start)), (max(a, stop), b))
            if part[0] < part[1]
        ]
    return left


def problems(entry: Mapping[str, Any], offsets: Offsets) -> Iterator[str]:
    """Messages for the problems of the offsets of a batch, range by range.

    `entry` is a row of the batch log: partition, batch_id, first_offset, end_offset, gaps.
    """
    first, end, gaps = entry["first_offset"], entry["end_offset"], entry["gaps"] or []
    values, counts = np.unique(offsets, return_counts=True)
    in_gaps = np.zeros(len(values), bool)
    for _, start, stop in gaps:
        in_gaps |= (values >= start) & (values < stop)
    where = f"partition {entry['partition']}, batch {entry['batch_id']} ({first} to {end - 1})"
    for label, ranges in (
        ("missing", without(missing_ranges(values, first, end), gaps)),
        ("more than once", _ranges(values[counts > 1])),
        ("not of this batch", _ranges(values[(values < first) | (values >= end)])),
        ("in a gap, but in the table", _ranges(values[in_gaps])),
    ):
        if ranges:
            shown = ", ".join(range_shown(*each) for each in ranges[:_SHOWN])
            yield f"{where}: {label}: {shown}{', ...' if len(ranges) > _SHOWN else ''}"


def range_shown(first: int, end: int) -> str:
    """The range in a message."""
    return f"offset {first}" if end == first + 1 else f"offsets {first} to {end - 1}"


def _ranges(values: Offsets) -> list[Range]:
    if not len(values):
        return []
    splits = np.flatnonzero(np.diff(values) > 1)
    firsts = values[np.concatenate([[0], splits + 1])]
    lasts = values[np.concatenate([splits, [len(values) - 1]])]
    return [(int(a), int(b) + 1) for a, b in zip(firsts, lasts, strict=True)]
