"""Ranges of offsets, against plain sets."""

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from matchlake.ingest.streams.offsets import missing_ranges, problems, range_shown, without

PLACES = st.lists(st.integers(0, 30), max_size=40)


def members(ranges: list[tuple[int, int]]) -> set[int]:
    found = [number for first, end in ranges for number in range(first, end)]
    assert len(found) == len(set(found)), "no number is in two ranges"
    return set(found)


@given(PLACES, st.integers(0, 15), st.integers(0, 15))
def test_missing_offsets_equal_the_difference_of_sets(
    there: list[int], first: int, size: int
) -> None:
    ranges = missing_ranges(np.array(there, np.int64), first, first + size)
    assert members(ranges) == set(range(first, first + size)) - set(there)
    assert ranges == sorted(ranges)
    assert all(one[1] < other[0] for one, other in pairwise(ranges))


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(1, 6)), max_size=4), PLACES)
def test_gaps_are_taken_out_of_ranges(starts: list[tuple[int, int]], there: list[int]) -> None:
    gaps = [("retention", first, first + size) for first, size in starts]
    ranges = missing_ranges(np.array(there, np.int64), 0, 25)
    in_gaps = {number for _, first, end in gaps for number in range(first, end)}
    assert members(without(ranges, gaps)) == members(ranges) - in_gaps


def test_each_kind_of_problem_is_reported_with_its_ranges() -> None:
    entry = {
        "partition": 2,
        "batch_id": 7,
        "first_offset": 10,
        "end_offset": 20,
        "gaps": [("retention", 10, 12)],
    }
    whole = np.array([*range(12, 20)], np.int64)
    assert list(problems(entry, whole)) == []
    odd = np.array([9, 11, 12, 13, 13, 17, 18, 19, 19, 21], np.int64)
    where = "partition 2, batch 7 (10 to 19)"
    assert list(problems(entry, odd)) == [
        f"{where}: missing: offsets 14 to 16",
        f"{where}: more than once: offset 13, offset 19",
        f"{where}: not of this batch: offset 9, offset 21",
        f"{where}: in a gap, but in the table: offset 11",
    ]
    assert (range_shown(3, 4), range_shown(3, 5)) == ("offset 3", "offsets 3 to 4")
