"""Each trainer that conf may name has a learner with its parameters, and a line on the page."""

import typing

from tests.support.sources import ROOT

from matchlake.learners.params import TrainerParams
from matchlake.learners.registry import LEARNERS

IN_SPARK_BY_SERIES = {"sarimax"}
"""It has no head, so it is not called through `fit_head`: see training/forecasting.py."""


def kinds() -> dict[str, type]:
    union = typing.get_args(TrainerParams)[0]
    return {each.model_fields["kind"].default: each for each in typing.get_args(union)}


def test_each_kind_of_conf_has_a_learner() -> None:
    named = {kind: params for kind, params in kinds().items() if kind not in IN_SPARK_BY_SERIES}
    assert {kind: learner.params for kind, learner in LEARNERS.items()} == named


def test_the_page_names_each_trainer() -> None:
    page = (ROOT / "lib" / "matchlake" / "learners" / "README.md").read_text(encoding="utf-8")
    missing = [kind for kind in kinds() if f"| `{kind}` |" not in page]
    assert not missing
