from datetime import UTC, datetime

import pytest

from matchlake.errors import ParameterError
from matchlake.recommender.split import SplitParams


def test_a_field_that_the_kind_does_not_read_is_refused() -> None:
    with pytest.raises(ParameterError, match="'random' does not read cold_users, last_n"):
        SplitParams(kind="random", last_n=3, cold_users=0.1)
    with pytest.raises(ParameterError, match="does not read test_fraction"):
        SplitParams(kind="time", cutoff=datetime(2024, 1, 1, tzinfo=UTC), test_fraction=0.3)


def test_a_dump_loads_again() -> None:
    params = SplitParams(kind="recommender", cold_users=0.25, seed=9)
    assert SplitParams.model_validate(params.model_dump()) == params
    assert SplitParams.model_validate_json(params.model_dump_json()) == params


@pytest.mark.parametrize("test_fraction", [0.0, 1.0, -0.1, float("nan")])
def test_both_parts_get_something(test_fraction: float) -> None:
    with pytest.raises(ParameterError):
        SplitParams(test_fraction=test_fraction)


def test_fractions_sum_to_at_most_one() -> None:
    SplitParams(kind="recommender", training_users=0.7, cold_users=0.2, ignored_users=0.1)
    with pytest.raises(ParameterError, match=r"cold_users . ignored_users is 1.1"):
        SplitParams(kind="recommender", training_users=0.7, cold_users=0.2, ignored_users=0.2)
    with pytest.raises(ParameterError, match=r"cold_items . ignored_items is 1.5"):
        SplitParams(kind="recommender", cold_items=0.7, ignored_items=0.8)


def test_a_cutoff_needs_a_time_zone() -> None:
    with pytest.raises(ParameterError, match="timezone"):
        SplitParams(kind="time", cutoff=datetime(2024, 1, 1))
