"""What a fit learns, and what the transform makes of it, by known answers."""

import numpy as np
import pytest
from pyspark.errors import PySparkException
from pyspark.sql import SparkSession
from tests.support.executions import collected, executions
from tests.support.feature_frames import INF, NAN, people

from matchlake.errors import InputError, SchemaError
from matchlake.features.bucketize import Bucketize
from matchlake.features.categories import MultiHot, OneHot
from matchlake.features.feature_set import FeatureSet
from matchlake.features.fit import fit_features
from matchlake.features.model import FeatureModel
from matchlake.features.requests import NumberRequest
from matchlake.features.scalers import MinMax
from matchlake.features.statistics import collect_statistics

SET = FeatureSet(
    name="people",
    keys=("id",),
    features={
        "city": OneHot(handle_null="indicator", handle_unknown="indicator"),
        "age": MinMax(handle_null=20.0, add_indicator=True),
        "height": MinMax(range=(-1, 1), out_of_range="keep"),
        "tags": MultiHot(max_categories=2, handle_null="indicator", handle_unknown="indicator"),
    },
)


def fitted(spark: SparkSession, **features: object) -> FeatureModel:
    return fit_features(people(spark), FeatureSet(name="t", keys=("id",), features=features))


def test_fit_column_names_are_readable_ordered_and_unique(spark: SparkSession) -> None:
    model = fit_features(people(spark), SET)
    assert [output.name for output in model.outputs()] == [
        "city_BLR",
        "city_empty",
        "city_DEL",
        "city_São_Paulo",
        "city_sao_paulo_2",
        "city_null",
        "city_unknown",
        "age",
        "age_null",
        "height",
        "tags_Sci_Fi",
        "tags_new",
        "tags_null",
        "tags_unknown",
    ]
    assert [output.rows for output in model.outputs()] == [
        *(2, 1, 1, 1, 1, 1, 0),
        *(None, 1, None),
        *(3, 2, 1, 1),
    ]


def test_transform_known_answers(spark: SparkSession) -> None:
    frame = people(spark)
    rows = fit_features(frame, SET).transform(frame).orderBy("id").collect()
    found = [tuple(row) for row in rows]
    inf = float("inf")
    assert found == [
        (1, 1, 0, 0, 0, 0, 0, 0, 0.0, 0, -1.0, 1, 1, 0, 0),
        (2, 0, 0, 1, 0, 0, 0, 0, 0.5, 0, 1.0, 0, 0, 0, 0),
        (3, 1, 0, 0, 0, 0, 0, 0, 0.25, 0, None, 0, 0, 1, 0),
        (4, 0, 0, 0, 0, 0, 1, 0, 0.0, 1, None, 1, 0, 0, 0),
        (5, 0, 1, 0, 0, 0, 0, 0, 1.0, 0, inf, 0, 0, 0, 1),
        (6, 0, 0, 0, 1, 0, 0, 0, 0.125, 0, 0.0, 1, 1, 0, 0),
        (7, 0, 0, 0, 0, 1, 0, 0, 0.375, 0, -inf, 0, 0, 0, 0),
    ]


def test_transform_unseen_null_and_out_of_range_values_follow_the_options(
    spark: SparkSession,
) -> None:
    new = spark.createDataFrame(
        [(1, "XXX", 100, None), (2, None, 0, ["old", "never"])],
        "id INT, city STRING, age INT, tags ARRAY<STRING>",
    )
    model = fitted(
        spark,
        city=OneHot(max_categories=1, handle_unknown="indicator", handle_null="indicator"),
        clipped=MinMax(column="age"),
        kept=MinMax(column="age", out_of_range="keep"),
        dropped=MinMax(column="age", out_of_range="null"),
        tags=MultiHot(max_categories=1),
    )
    rows = model.transform(new).orderBy("id").collect()
    assert [tuple(row) for row in rows] == [
        (1, 0, 0, 1, 1.0, 2.0, None, 0),
        (2, 0, 1, 0, 0.0, -0.5, None, 0),
    ]


@pytest.mark.parametrize(
    ("feature", "value"),
    [
        (OneHot(column="city", handle_unknown="error"), "'Nowhere' AS city"),
        (OneHot(column="city", handle_null="error"), "CAST(NULL AS STRING) AS city"),
        (MinMax(column="age", out_of_range="error"), "61 AS age"),
        (MinMax(column="age", handle_null="error"), "CAST(NULL AS INT) AS age"),
        (MultiHot(column="tags", handle_unknown="error"), "array('never') AS tags"),
    ],
)
def test_transform_option_error_fails_the_action_and_names_the_feature(
    spark: SparkSession, feature: OneHot, value: str
) -> None:
    frame = people(spark).where("id IN (1, 2)")
    model = fit_features(frame, FeatureSet(name="t", features={"strict": feature}))
    assert model.transform(frame).count() == 2
    with pytest.raises(PySparkException, match="strict: "):
        model.transform(spark.sql(f"SELECT {value}")).collect()


def test_fit_option_error_raises(spark: SparkSession) -> None:
    for feature, told in [
        (OneHot(column="city", handle_null="error"), r"1 null\(s\)"),
        (
            OneHot(column="city", handle_unknown="error", min_rows=2),
            r"within the limits 4 value\(s\) of column city get no output column",
        ),
        (MinMax(column="age", handle_null="error"), r"1 missing value\(s\)"),
    ]:
        with pytest.raises(InputError, match=told):
            fitted(spark, strict=feature)


@pytest.mark.parametrize(
    ("policy", "inside"), [("low", -2.0), ("middle", 1.0), ("high", 4.0), ("null", None)]
)
def test_min_max_constant_column_follows_the_option(
    spark: SparkSession, policy: str, inside: float | None
) -> None:
    frame = spark.sql("SELECT 7 AS n UNION ALL SELECT 7")
    feature = MinMax(range=(-2, 4), constant=policy)
    model = fit_features(frame, FeatureSet(name="t", features={"n": feature}))
    new = spark.sql("SELECT * FROM VALUES (6), (7), (8) AS (n)")
    assert [row[0] for row in model.transform(new).collect()] == [-2.0, inside, 4.0]


def test_one_hot_takes_integers_booleans_and_dates(spark: SparkSession) -> None:
    frame = spark.sql(
        "SELECT CAST(n AS BIGINT) n, n > 0 AS b, DATE '2024-02-29' AS d, array(n) AS l"
        " FROM VALUES (-1), (10) AS (n)"
    )
    features = {"n": OneHot(), "b": OneHot(), "d": OneHot(), "l": MultiHot()}
    model = fit_features(frame, FeatureSet(name="t", features=features))
    found = {tuple(row) for row in model.transform(frame).collect()}
    assert found == {(1, 0, 1, 0, 1, 1, 0), (0, 1, 0, 1, 1, 0, 1)}
    assert [o.category for o in model.outputs()] == [
        *("-1", "10", "false", "true", "2024-02-29", "-1", "10"),
    ]


def test_fit_with_previous_model_keeps_categories_and_appends(spark: SparkSession) -> None:
    features = FeatureSet(name="t", features={"c": OneHot(max_categories=4)})
    frame = spark.sql("SELECT * FROM VALUES ('a'), ('b'), ('b'), ('null') AS (c)")
    first = fit_features(frame, features)
    assert fit_features(frame, features, first) == first
    later = spark.sql("SELECT * FROM VALUES ('d'), ('d'), ('d'), ('A'), ('A'), ('a'), ('e') AS (c)")
    second = fit_features(later, features, first)
    assert (first.version, second.version) == (1, 2)
    assert [(o.name, o.rows) for o in second.outputs()] == [
        *(("c_b", 0), ("c_a", 1), ("c_null", 0), ("c_d", 3)),
    ]


def test_fit_number_with_the_name_of_an_old_category_raises(spark: SparkSession) -> None:
    frame = people(spark)
    old = FeatureSet(name="t", features={"city": OneHot()})
    first = fit_features(frame, old)
    more = old.features | {"city_blr": MinMax(column="age")}
    with pytest.raises(InputError, match="city_blr is a key or a feature, but an earlier fit"):
        fit_features(frame, old.model_copy(update={"features": more}), first)


def test_fit_wrong_columns_and_types_raise_before_any_job(spark: SparkSession) -> None:
    frame = people(spark)
    with pytest.raises(SchemaError, match=r"feature set t: town\. Available: id, city"):
        fitted(spark, town=OneHot())
    with pytest.raises(SchemaError, match="needs a number or a boolean, but column city is string"):
        fitted(spark, city=MinMax())
    with pytest.raises(SchemaError, match="column height is double"):
        fitted(spark, height=OneHot())
    with pytest.raises(SchemaError, match="column city is string"):
        fitted(spark, city=MultiHot())
    model = fitted(spark, age=MinMax())
    with pytest.raises(SchemaError, match=r"in the frame of feature set \w+: age\."):
        model.transform(frame.drop("age"))


def test_transform_other_types_than_at_fit_raise(spark: SparkSession) -> None:
    """NaN in a column that had none at fit, or `1.0` for `1`, would be taken for other values."""
    model = fitted(spark, age=MinMax(), years=OneHot(column="age"), tags=MultiHot())
    frame = people(spark)
    wider = frame.withColumn("age", frame["age"].cast("bigint"))
    assert model.transform(wider).collect() == model.transform(frame).collect()
    for column, kind in (("age", "double"), ("age", "string"), ("tags", "string")):
        with pytest.raises(SchemaError, match=f"{column} is {kind}, was"):
            model.transform(frame.withColumn(column, frame[column].cast(kind)))


def test_handle_null_mode_is_the_most_frequent_category(spark: SparkSession) -> None:
    frame = spark.sql("SELECT stack(4, 'a', 'b', 'b', NULL) AS c, array('x') AS l")
    features = {
        "c": OneHot(handle_null="mode"),
        "d": OneHot(column="c", handle_null="mode", drop="first"),
    }
    model = fit_features(frame, FeatureSet(name="t", features=features))
    assert collected(model.transform(frame)) == [(0, 1, 1), (1, 0, 0), (1, 0, 0), (1, 0, 0)]
    assert model.count_unknown(frame).collect()[0]["c.null"] == 1


def test_fit_no_rows_or_no_finite_value_raises(spark: SparkSession) -> None:
    frame = people(spark)
    features = FeatureSet(name="t", features={"height": MinMax()})
    with pytest.raises(InputError, match="there are no rows"):
        fit_features(frame.where("id < 0"), features)
    with pytest.raises(InputError, match="has no finite value"):
        fit_features(frame.where("id IN (3, 4, 5)"), features)


def test_transform_text_with_sql_characters_stays_text(spark: SparkSession) -> None:
    values = [
        "it's",
        '"',
        "`",
        "\\",
        "\\n",
        "\n",
        "${spark.app.name}",
        "%",
        "a;b",
        "{x}",
        "\t",
        "💥",
    ]
    frame = spark.createDataFrame([(v, [v]) for v in values], "c STRING, l ARRAY<STRING>")
    features = FeatureSet(name="t", features={"c": OneHot(), "l": MultiHot()})
    model = fit_features(frame, features)
    sums = dict.fromkeys((o.name for o in model.outputs()), "sum")
    total = model.transform(frame).agg(sums).collect()[0]
    assert set(total) == {1}
    assert len(total) == 2 * len(values)


@pytest.mark.local_only
def test_fit_is_one_execution_and_transform_none(spark: SparkSession) -> None:
    frame = people(spark)
    model = fit_features(frame, SET)
    assert executions(spark, lambda: fit_features(frame, SET)) == 1
    assert executions(spark, lambda: model.transform(frame)) == 0


def test_inverse_transform_returns_the_source_columns(spark: SparkSession) -> None:
    features = {
        "city": OneHot(handle_null="indicator", handle_unknown="indicator", drop="first"),
        "age": MinMax(range=(-3, 5), handle_null="keep"),
        "age_group": Bucketize(column="age", edges=(30,)),
        "tags": MultiHot(handle_null="indicator", max_categories=2),
    }
    frame = people(spark)
    model = fit_features(frame, FeatureSet(name="t", keys=("id",), features=features))
    back = model.inverse_transform(model.transform(frame)).orderBy("id")
    assert back.dtypes[1:] == [("city", "string"), ("age", "double"), ("tags", "array<string>")]
    assert [tuple(row) for row in back.collect()] == [
        (1, "BLR", 20.0, ["Sci-Fi", "new"]),
        (2, "DEL", 40.0, []),
        (3, "BLR", 30.0, None),
        (4, None, None, ["Sci-Fi"]),
        (5, "", 60.0, []),
        (6, "São Paulo", 25.0, ["Sci-Fi", "new"]),
        (7, "sao paulo", 35.0, []),
    ]


def test_collect_statistics_numbers_equal_numpy(spark: SparkSession) -> None:
    drawn = np.random.default_rng(7).lognormal(1, 2, 999)
    drawn[::7], drawn[::11], drawn[::13] = np.round(drawn[::7]), -drawn[::11], 0.0
    values = [*drawn.tolist(), None, NAN, INF, -INF]
    frame = spark.createDataFrame([(v,) for v in values], "x DOUBLE").repartition(3)
    fractions = (0.01, 0.25, 0.5, 0.9, 1.0)
    needs = ("mean", "std", "log_mean", "log_std", "mode")
    request = NumberRequest("x", needs, fractions)
    found = dict(collect_statistics(frame, {"x": request}).found["x"])
    logs = np.log(drawn[drawn > 0])
    distinct, counts = np.unique(drawn, return_counts=True)
    exact = {"rows": 999, "missing": 2, "infinite": 2, "mode": distinct[counts.argmax()]}
    exact |= {"minimum": drawn.min(), "maximum": drawn.max()}
    quantiles = np.quantile(drawn, fractions, method="inverted_cdf")
    assert found.pop("quantiles") == tuple(zip(fractions, quantiles, strict=True))
    assert {name: found.pop(name) for name in exact} == exact
    close = {"mean": drawn.mean(), "std": drawn.std()}
    close |= {"log_mean": logs.mean(), "log_std": logs.std()}
    assert found == pytest.approx(close, rel=1e-12)


def test_fit_limits_keep_the_most_frequent_categories(spark: SparkSession) -> None:
    frame = spark.sql("SELECT stack(10, 'a','a','a','a','b','b','b','c','c','d') AS c")
    for chosen, kept in [
        ({"max_categories": 2}, "ab"),
        ({"min_rows": 2}, "abc"),
        ({"min_coverage": 0.7}, "ab"),
        ({"min_coverage": 0.71}, "abc"),
        ({"min_rows": 9}, ""),
    ]:
        features = FeatureSet(
            name="t", features={"c": OneHot(handle_unknown="indicator", **chosen)}
        )
        fitted_ = fit_features(frame, features).features[0]
        assert "".join(category.value for category in fitted_.categories) == kept
        assert fitted_.unknown_rows == 10 - sum({"a": 4, "b": 3, "c": 2}[value] for value in kept)


def test_fit_ties_at_the_limit_are_ordered_by_bytes(spark: SparkSession) -> None:
    values = ["z", "É", "a", "B", "e", "ä", "Z", "é", "b", "💥", ""]
    features = FeatureSet(name="t", features={"c": OneHot(max_categories=6)})
    found = []
    for rows, parts in ((values, 1), (values[::-1], 5)):
        frame = spark.createDataFrame([(v,) for v in ["é", *rows]], "c STRING").repartition(parts)
        fitted_ = fit_features(frame, features).features[0]
        found.append([category.value for category in fitted_.categories])
    assert found == [["é", "", "B", "Z", "a", "b"]] * 2


def test_count_unknown_counts_values_that_the_fit_has_not_seen(spark: SparkSession) -> None:
    model = fit_features(people(spark).where("id IN (1, 2)"), SET.model_copy(update={"keys": ()}))
    found = model.count_unknown(people(spark)).collect()[0].asDict()
    assert found == {
        "rows": 7,
        "city.null": 1,
        "city.unknown_category": 3,
        "age.null": 1,
        "age.below_min": 0,
        "age.above_max": 1,
        "height.null": 2,
        "height.below_min": 1,
        "height.above_max": 1,
        "tags.null": 1,
        "tags.unknown_category": 1,
    }
