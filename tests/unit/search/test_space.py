"""Spaces: what is refused before the first fit, and the combinations of a grid."""

import itertools
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from matchlake.errors import ParameterError
from matchlake.learners.params import CustomParams, LightgbmParams, SklearnParams
from matchlake.recommender.als.params import AlsParams
from matchlake.search.params import SearchParams
from matchlake.search.proposals import GridProposals
from matchlake.search.space import Space, check_space, grid_of
from matchlake.search.target import FieldsTarget, Target, TrainerTarget

ALS = FieldsTarget(AlsParams())
FOREST = TrainerTarget(SklearnParams(estimator="RandomForestClassifier"), "classification")
BOOSTING = TrainerTarget(LightgbmParams(params={"num_leaves": 7}), "regression")


def space_of(space: dict[str, Any], target: Target = ALS) -> Space:
    return check_space(SearchParams.model_validate({"space": space}).space, target)


@pytest.mark.parametrize(
    ("space", "text"),
    [
        ({}, "at least 1"),
        ({"rank": []}, "the list is empty: give at least one value"),
        ({"rank": [8, 16, 8]}, "the value 8 is twice"),
        ({"rank": {"low": 9, "high": 8}}, "low 9 is above high 8"),
        ({"rank": {"low": 9}}, r"give a list of values, or a range"),
        ({"rank": {"low": 1, "high": 9, "values": [1]}}, "exclude each other"),
        ({"nu": {"low": 0, "high": 1, "log": True}}, "needs a low above 0, but low is 0"),
        ({"nu": {"low": 0.1, "high": 1, "log": True, "step": 0.1}}, "cannot have a step"),
        ({"nu": {"low": 0.1, "high": 1, "step": 0}}, "greater than 0"),
        ({"nu": {"low": 0.1, "high": float("inf")}}, "finite"),
        ({"nu": [float("nan")]}, "not a finite number"),
        ({"nu": [1], "rank": {"values": [8], "when": {"alpha": [1]}}}, "alpha, which is not in"),
        (
            {"nu": {"values": [1], "when": {"rank": [8]}},
             "rank": {"values": [8], "when": {"nu": [1]}}},
            "depend on each other",
        ),
    ],
)  # fmt: skip
def test_an_impossible_space_is_refused(space: dict[str, Any], text: str) -> None:
    with pytest.raises(ValidationError, match=text):
        SearchParams.model_validate({"space": space})


@pytest.mark.parametrize(
    ("space", "target", "text"),
    [
        ({"ranks": [8]}, ALS, r"no hyperparameter 'ranks'. Did you mean rank\?"),
        ({"rank": [8, 0]}, ALS, "rank: 0 is not possible: .*greater than or equal to 1"),
        ({"rank": {"low": 8, "high": 9000}}, ALS, "9000 is not possible"),
        ({"rank": {"low": 8, "high": 9.5}}, ALS, "takes integers, but the range has frac"),
        ({"solver": ["cg", "svd"]}, ALS, "solver: 'svd' is not possible"),
        ({"max_dept": [3]}, FOREST, r"'max_dept'. Did you mean max_depth\?"),
        ({"max_depth": [3, None, 0]}, FOREST, "0 is not possible: .*max_depth"),
        ({"learning_rat": [0.1]}, BOOSTING, r"Did you mean learning_rate\?"),
        ({"rounds": {"low": 0, "high": 9}}, BOOSTING, "rounds: 0 is not possible"),
    ],
)
def test_what_the_trainer_never_takes_is_refused(
    space: dict[str, Any], target: Target, text: str
) -> None:
    with pytest.raises(ParameterError, match=text):
        space_of(space, target)


def test_a_rule_over_several_fields_is_left_to_the_trial() -> None:
    space = space_of({"nonnegative": [True, False], "solver": ["cg", "auto"], "patience": [2]})
    assert space.count() == 4
    with pytest.raises(
        ParameterError, match="nonnegative=True cannot be combined with solver='cg'"
    ):
        ALS.with_values({"nonnegative": True, "solver": "cg"})


def test_values_reach_the_params_of_each_trainer() -> None:
    assert ALS.with_values({"rank": 8}) == AlsParams(rank=8)
    assert FOREST.with_values({"max_depth": 3}).params == {"max_depth": 3}
    made = BOOSTING.with_values({"rounds": 5, "learning_rate": 0.5})
    assert (made.rounds, made.params) == (5, {"num_leaves": 7, "learning_rate": 0.5})
    custom = TrainerTarget(CustomParams(function="a:b"), "regression")
    assert space_of({"anything": [1, [2, 3]]}, custom).count() == 2


def test_the_type_of_a_range_is_that_of_its_field() -> None:
    rank, alpha = space_of(
        {"rank": {"low": 8, "high": 9}, "alpha": {"low": 1, "high": 2}}
    ).dimensions
    assert rank.whole
    assert not alpha.whole
    by_writing = space_of({"max_depth": {"low": 2, "high": 4}}, FOREST)
    assert by_writing.dimensions[0].grid() == (2, 3, 4)


def test_a_grid_needs_steps() -> None:
    for bounds in ({"low": 0.1, "high": 1}, {"low": 0.1, "high": 1, "log": True}):
        with pytest.raises(ParameterError, match=r"space\.nu: a grid needs separate values"):
            space_of({"nu": bounds}).count()
    space = space_of({"nu": {"low": 0.1, "high": 0.45, "step": 0.1}})
    assert [each["nu"] for each in space.combinations()] == pytest.approx([0.1, 0.2, 0.3, 0.4])
    with pytest.raises(ParameterError, match="values are too many for a grid"):
        space_of({"nu": {"low": 0, "high": 1, "step": 1e-9}}).count()
    wide = {name: {"low": 1, "high": 4000} for name in ("rank", "iterations")}
    with pytest.raises(ParameterError, match="16,000,000 combinations, and at most 100,000"):
        grid_of(space_of(wide))


def test_a_grid_says_when_it_is_larger_than_allowed() -> None:
    space = space_of({"rank": [8, 16, 32]})
    with pytest.raises(ParameterError, match=r"has 3 combinations, and search\.trials allows 2"):
        GridProposals(space, 2)
    assert GridProposals(space, 3).total == 3


FREE = TrainerTarget(CustomParams(function="a:b"), "regression")
LISTS = st.lists(st.integers(0, 3), min_size=1, max_size=3, unique=True)


@st.composite
def spaces(draw: st.DrawFn) -> dict[str, Any]:
    """Up to four hyperparameters; some depend on one before."""
    made: dict[str, Any] = {}
    for name in "abcd"[: draw(st.integers(1, 4))]:
        entry: dict[str, Any] = (
            {"values": draw(LISTS)}
            if draw(st.booleans())
            else {"low": 0, "high": draw(st.integers(0, 5)), "step": draw(st.integers(1, 3))}
        )
        if made and draw(st.booleans()):
            entry["when"] = {draw(st.sampled_from(sorted(made))): draw(LISTS)}
        made[name] = entry
    return made


@settings(max_examples=150, deadline=None)
@given(spaces())
def test_a_grid_has_every_combination_once(declared: dict[str, Any]) -> None:
    space = space_of(declared, FREE)
    found = [tuple(sorted(each.items())) for each in space.combinations()]
    assert len(found) == len(set(found)) == space.count()
    values = {
        name: each["values"] if "values" in each else range(0, each["high"] + 1, each["step"])
        for name, each in declared.items()
    }
    expected = set()
    for chosen in itertools.product(*values.values()):
        kept: dict[str, Any] = {}
        for name, value in zip(values, chosen, strict=True):
            when = declared[name].get("when", {})
            if all(other in kept and kept[other] in allowed for other, allowed in when.items()):
                kept[name] = value
        expected.add(tuple(sorted(kept.items())))
    assert set(found) == expected
