from types import SimpleNamespace
from typing import Any

import pytest
from pyspark.sql.types import DoubleType, StringType, StructType

from matchlake.errors import ParameterError
from matchlake.features.categories import OneHot
from matchlake.features.feature_set import FeatureSet
from matchlake.features.names import Names
from matchlake.features.params import FeaturesParams
from matchlake.features.scalers import MinMax
from matchlake.recommender.matchbox.encoding import declare_features


@pytest.mark.parametrize(
    ("category", "name"),
    [
        ("student", "f_student"),
        ("Sci-Fi", "f_Sci_Fi"),
        ("  a  b ", "f_a_b"),
        ("", "f_empty"),
        ("?!", "f_blank"),
        ("1995", "f_1995"),
        ("Москва", "f_Москва"),
        ("Sa\u0303o", "f_São"),
        ("हिन्दी - தமிழ்", "f_हिन्दी_தமிழ்"),
        ("ที่ดิน", "f_ที่ดิน"),
        ("❤\ufe0f", "f_blank"),
        ("_a_", "f_a"),
        ("x" * 200, "f_" + "x" * 98),
    ],
)
def test_claim_gives_readable_names(category: str, name: str) -> None:
    assert Names().claim("f", category) == name


def test_claim_names_that_an_engine_may_confuse_get_a_number() -> None:
    names = Names()
    claimed = [
        names.claim("f", text) for text in ("a b", "A-B", "á_b", "a_b_2", "\u0131", "I", "İ")
    ]
    assert claimed == ["f_a_b", "f_A_B_2", "f_á_b_3", "f_a_b_2_2", "f_\u0131", "f_I_2", "f_İ_3"]


def test_claim_names_are_unique_across_features() -> None:
    names = Names()
    assert names.claim("a", "b_c") == "a_b_c"
    assert names.claim("a_b", "c") == "a_b_c_2"


@pytest.mark.parametrize(
    ("keys", "features", "told"),
    [
        (("age",), {"Age": MinMax()}, "Age: another key or feature already"),
        (
            (),
            {"age": MinMax(add_indicator=True), "age_null": MinMax()},
            "age_null: another key or feature",
        ),
        (("in:age",), {"age": MinMax()}, "in:age: a key cannot be called features.* have a colon"),
        (("Features",), {"age": MinMax()}, "Features: a key cannot be called features"),
        ((), {}, "at least 1 entry"),
    ],
)
def test_feature_set_colliding_names_raise(
    keys: tuple[str, ...], features: dict[str, MinMax], told: str
) -> None:
    with pytest.raises(ParameterError, match=told):
        FeatureSet(name="t", keys=keys, features=features)


@pytest.mark.parametrize("name", ["my age", "âge", "1st", "", "a:b", "a\n", "x" * 101])
def test_feature_set_invalid_name_raises(name: str) -> None:
    features = {name: {"kind": "min_max"}}
    with pytest.raises(ParameterError, match="must match the pattern"):
        FeatureSet(name="t", features=features)


def test_features_params_two_tables_with_one_set_raise() -> None:
    table = {
        "source": "a.b",
        "comment": "",
        "features": {"name": "t", "features": {"a": {"kind": "number"}}},
    }
    tables = {name: table | {"table": f"gold.{name}"} for name in ("x", "y")}
    with pytest.raises(ParameterError, match="x and y both keep their fitted states"):
        FeaturesParams(tables=tables)


def test_declare_features_takes_columns_of_any_name() -> None:
    schema = StructType()
    for column in ("user_id", "my age", "City", "column_1"):
        schema.add(column, StringType() if column == "City" else DoubleType())
    frame: Any = SimpleNamespace(schema=schema)
    declared = declare_features(frame, "user_id")
    read = {name: feature.column for name, feature in declared.features.items()}
    assert read == {"column_1_2": "my age", "City": "City", "column_1": "column_1"}


def test_feature_set_reads_plain_data() -> None:
    plain = {"name": "t", "features": {"a": {"kind": "one_hot"}, "b": {"kind": "min_max"}}}
    assert FeatureSet.model_validate(plain).features == {"a": OneHot(), "b": MinMax()}


@pytest.mark.parametrize("range_", [(1, 1), (2, 1)])
def test_min_max_empty_range_raises(range_: tuple[float, float]) -> None:
    with pytest.raises(ParameterError, match="the first number must be the smaller"):
        MinMax(range=range_)
