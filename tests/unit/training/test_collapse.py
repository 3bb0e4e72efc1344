"""Lists that show that a fit learned nothing."""

import math

import pytest

from matchlake.training.collapse import Listed, collapse_of


def lists(users: int, *, same: int = 0, score: float = 1.0) -> list[Listed]:
    """Lists of two items; the first `same` users have the same one."""
    return [
        Listed(user, rank, f"i{rank}" if user < same else f"i{user}-{rank}", score / rank)
        for user in range(users)
        for rank in (2, 1)
    ]


def test_lists_that_differ_are_learned() -> None:
    assert collapse_of(lists(100, same=94)) is None
    assert collapse_of(lists(19, same=19)) is None
    assert collapse_of([]) is None


@pytest.mark.parametrize(
    ("rows", "cause"),
    [
        (lists(100, same=95), "95% of 100 users have the same list"),
        (lists(100, score=-9e-5), "the largest score is 9e-05"),
        (lists(100, score=0.0), "the largest score is 0, so all items have nearly the same score"),
        ([*lists(100), Listed(1, 3, "x", math.nan)], "some scores are infinite or NaN"),
    ],
)
def test_a_collapse_has_its_cause(rows: list[Listed], cause: str) -> None:
    problem = collapse_of(rows)
    assert problem is not None
    assert problem.startswith(cause)
    assert "regularization" in problem
