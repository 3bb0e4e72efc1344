from typing import Any

import pytest
from pydantic import Field

from matchlake import AlsParams
from matchlake.errors import ParameterError
from matchlake.params import Params


class Inner(Params):
    size: int = Field(1, ge=1)


class Outer(Params):
    inner: Inner = Inner()
    kind: str


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"rnk": 3}, "AlsParams: rnk: unknown key, did you mean rank?"),
        ({"rank": 0}, "AlsParams: rank: must be 1 or more"),
        ({"feedback": "explicite"}, "AlsParams: feedback: unknown value, did you mean explicit?"),
        (
            {"rank": "x", "seed": "y"},
            "rank: must be an integer.*; seed: must be an integer",
        ),
    ],
)
def test_params_with_a_wrong_argument_raise_our_error(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        AlsParams(**wrong)


def test_params_within_params_are_named_by_their_path() -> None:
    with pytest.raises(
        ParameterError, match=r"^Outer: inner.size: must be 1 or more; kind: is req"
    ):
        Outer(inner={"size": 0})  # type: ignore[arg-type, call-arg]
