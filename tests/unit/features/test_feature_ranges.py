"""A name with a range declares many equal features."""

from typing import Any

import pytest

from matchlake.errors import ParameterError
from matchlake.features.feature_set import FeatureSet
from matchlake.features.scalers import ZScore


def test_range_declares_one_feature_per_number() -> None:
    scaled = {"kind": "z_score", "handle_null": "mean"}
    declared = FeatureSet(
        name="covers", features={"price": {"kind": "number"}, "embedding_[8-11]": scaled}
    )
    names = ["price", *(f"embedding_{number}" for number in (8, 9, 10, 11))]
    assert list(declared.features) == names
    assert [declared.column(name) for name in names] == names
    one = ZScore(handle_null="mean")
    assert all(declared.features[name] == one for name in names[1:])
    assert FeatureSet(name="covers", features={"e[0-0]": one}).features == {"e0": one}
    assert FeatureSet.model_validate(declared.model_dump()) == declared


@pytest.mark.parametrize(
    ("features", "told"),
    [
        ({"e_[3-1]": {"kind": "number"}}, "the range begins after its end"),
        ({"e_[0-3]": {"kind": "number", "column": "e"}}, "the columns with their own names"),
        ({"e_1": {"kind": "number"}, "e_[0-3]": {"kind": "number"}}, "e_1 is declared twice"),
        ({"e_[0-]": {"kind": "number"}}, "must match the pattern"),
        ({"e_[0-2]": "number"}, "e_0"),
    ],
)
def test_range_refuses(features: dict[str, Any], told: str) -> None:
    with pytest.raises(ParameterError, match=told):
        FeatureSet(name="covers", features=features)
