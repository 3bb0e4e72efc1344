"""A row has a refusal exactly if a transform of it fails, and the refusal is the error."""

import math

from pyspark.sql import SparkSession

from matchlake.errors import InputError
from matchlake.features.feature_set import FeatureSet
from matchlake.features.fit import fit_features
from matchlake.features.refusals import refusal_sql, refusals

DDL = "n double, i int, city string, tags array<string>"
FITTED = [(1.0, 1, "Rome", ["a"]), (5.0, 2, "Oslo", ["a", "b"]), (9.0, 3, "Rome", [])]
HOSTILE = [
    *FITTED,
    (None, 1, "Rome", ["a"]),
    (math.nan, 1, "Rome", ["a"]),
    (0.5, 1, "Rome", ["a"]),
    (9.5, 1, "Rome", ["a"]),
    (math.inf, 1, "Rome", ["a"]),
    (1.0, None, "Rome", ["a"]),
    (1.0, 7, "Rome", ["a"]),
    (1.0, 1, None, ["a"]),
    (1.0, 1, "Bern", ["a"]),
    (1.0, 1, "Rome", None),
    (1.0, 1, "Rome", ["a", "new"]),
    (1.0, 1, "Rome", [None]),
    (None, None, None, None),
]


def test_refusals_are_the_errors_of_a_transform(spark: SparkSession) -> None:
    strict = {"handle_null": "error", "handle_unknown": "error"}
    declared = {
        "n": {"kind": "min_max", "out_of_range": "error", "handle_null": "error"},
        "z": {"kind": "z_score", "column": "i", "handle_null": "error"},
        "city": {"kind": "one_hot", **strict},
        "tags": {"kind": "multi_hot", **strict},
    }
    features = FeatureSet.model_validate({"name": "strict", "features": declared})
    model = fit_features(spark.createDataFrame(FITTED, DDL), features)
    condition = refusal_sql(model)
    rows = spark.createDataFrame([(i, *row) for i, row in enumerate(HOSTILE)], f"at int, {DDL}")
    found = {r.at: r.refusal for r in rows.selectExpr("at", f"{condition} AS refusal").collect()}
    for at, row in enumerate(HOSTILE):
        message = None
        try:
            model.transform_numpy(dict(zip(("n", "i", "city", "tags"), row, strict=True)))
        except InputError as error:
            message = str(error)
        texts = {text for _, text in refusals(model)}
        assert (found[at] is None) == (message is None), row
        assert found[at] is None or found[at] in texts, row


def test_a_set_without_strict_options_refuses_nothing(spark: SparkSession) -> None:
    features = FeatureSet.model_validate(
        {"name": "mild", "features": {"n": {"kind": "min_max", "handle_null": "mean"}}}
    )
    assert refusal_sql(fit_features(spark.createDataFrame(FITTED, DDL), features)) is None
