"""A model as JSON: the round trip is the identity, and no other text is read."""

import json
from typing import Any

import numpy as np
import pytest
from tests.support.scoring_cases import as_columns, hostile_rows, random_model

from matchlake.errors import ModelError
from matchlake.model_store import scoring_model
from matchlake.model_store.scoring_model import ScoringModel

COLUMNS = as_columns(hostile_rows(300))


def model(kind: str = "trees", seed: int = 3) -> ScoringModel:
    return random_model(kind, COLUMNS, np.random.default_rng(seed))[0]


@pytest.mark.parametrize("kind", ["linear", "trees", "centroids"])
def test_round_trip_is_the_identity(kind: str) -> None:
    for seed in range(10):
        made = model(kind, seed)
        back = ScoringModel.from_json(made.to_json())
        assert back == made
        assert back.to_json() == made.to_json()


def changed(**changes: Any) -> str:
    """The JSON of a linear model with other values at paths a__b__c."""
    data = json.loads(model("linear").to_json())
    for path, value in changes.items():
        *before, last = path.split("__")
        place = data
        for key in before:
            place = place[key]
        place[last] = value
    return json.dumps(data)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the whole text: Invalid JSON"),
        ("[]", "the whole text"),
        ("{", "Invalid JSON"),
        ('{"a":' * 10_000_000, "Invalid JSON.*recursion"),
        (changed(other=1), "other: Extra inputs are not permitted"),
        (changed(head__other=1), "other: Extra inputs are not permitted"),
        (changed(schema_version=2), "schema_version"),
        (changed(task="clustering"), "the head is for"),
        (changed(head__kind="svm"), "does not match any of the expected tags"),
        (changed(head__weights=[[float("nan")]]), "weights.*finite"),
        (changed(head__weights=[[1.0]] * 7), "must be for . score"),
        (changed(head__weights=None), "weights"),
        (changed(head__columns=["a"]), "columns|weights"),
        (changed(features__keys=["prediction"]), "a key has the name of an output column"),
        (changed(name=""), "name"),
    ],
)
def test_other_texts_are_refused(text: str, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        ScoringModel.from_json(text)


def test_a_text_of_too_many_characters_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scoring_model, "LARGEST_JSON", 10)
    with pytest.raises(ModelError, match="at most 10 are read"):
        ScoringModel.from_json(model().to_json())
