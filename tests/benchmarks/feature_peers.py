"""The same features by matchlake, by Spark ML and by scikit-learn: fit, transform, write."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from pyspark.ml import Pipeline
from pyspark.ml.feature import MinMaxScaler, OneHotEncoder, StringIndexer, VectorAssembler
from pyspark.sql import DataFrame
from scipy import sparse
from sklearn import preprocessing
from sklearn.compose import ColumnTransformer
from tests.benchmarks.flights import CATEGORIES, NUMBERS

from matchlake.features.categories import OneHot
from matchlake.features.feature_set import FeatureSet
from matchlake.features.fit import fit_features
from matchlake.features.model import FeatureModel, Layout
from matchlake.features.scaling import MinMax

ML_VECTOR = "features STRUCT<type: TINYINT, size: INT, indices: ARRAY<INT>, values: ARRAY<DOUBLE>>"


def feature_set(numbers: Sequence[str], categories: Sequence[str], cap: int = 5000) -> FeatureSet:
    """Min-max of the numbers, one-hot of the categories."""
    scaled = {name: MinMax() for name in numbers}
    return FeatureSet(
        name="bench",
        keys=("id",),
        features=scaled | {name: OneHot(max_categories=cap) for name in categories},
    )


def matchlake(
    frame: DataFrame, out: Path, features: FeatureSet, layout: Layout = "sparse"
) -> FeatureModel:
    """Fits, transforms and writes a Delta table."""
    model = fit_features(frame, features)
    model.transform(frame, layout).write.format("delta").save(str(out))
    return model


def spark_ml(
    frame: DataFrame, out: Path, numbers: Sequence[str], categories: Sequence[str]
) -> None:
    """The pipeline of Spark ML's own guide, written as a Delta table.

    Nulls and unseen values are kept as a last category, which the encoder drops: all zeros.
    """
    indexed = [f"{name}_index" for name in categories]
    encoded = [f"{name}_vector" for name in categories]
    stages = [
        StringIndexer(inputCols=list(categories), outputCols=indexed, handleInvalid="keep"),
        OneHotEncoder(inputCols=indexed, outputCols=encoded),
    ]
    first = []
    if numbers:
        stages += [
            VectorAssembler(inputCols=list(numbers), outputCol="numbers"),
            MinMaxScaler(inputCol="numbers", outputCol="scaled"),
        ]
        first = ["scaled"]
    stages.append(VectorAssembler(inputCols=[*first, *encoded], outputCol="features"))
    model = Pipeline(stages=stages).fit(frame)
    model.transform(frame).select("id", "features").write.format("delta").save(str(out))


def scikit_learn(frame: pd.DataFrame, out: Path) -> None:
    """scikit-learn's ColumnTransformer in one process, written as an uncompressed matrix."""
    encoder = preprocessing.OneHotEncoder(handle_unknown="ignore", sparse_output=True)
    columns = ColumnTransformer(
        [
            ("numbers", preprocessing.MinMaxScaler(), list(NUMBERS)),
            ("texts", encoder, list(CATEGORIES)),
        ],
        sparse_threshold=1.0,
    )
    sparse.save_npz(out, sparse.csr_matrix(columns.fit_transform(frame)), compressed=False)


def rows_that_differ(ours: DataFrame, theirs: DataFrame) -> int:
    """Rows whose places, or values beyond 1e-12, of what is not zero are not the same in both.

    Each frame has id, indices and values.
    """
    left, right = (_without_zeros(frame) for frame in (ours, theirs))
    joined = left.alias("a").join(right.alias("b"), "id", "full")
    same = (
        "a.indices = b.indices AND forall(zip_with(a.values, b.values, (x, y) -> x - y),"
        " d -> abs(d) <= 1e-12)"
    )
    return joined.where(f"NOT COALESCE({same}, FALSE)").count()


def entries(frame: DataFrame, model: FeatureModel, layout: Layout) -> DataFrame:
    """The id, indices and values of rows that `matchlake` wrote."""
    if layout == "sparse":
        return frame.select("id", "features.*")
    numbers = [f"`{o.name}`" for o in model.outputs() if o.role == "number"]
    slots = [f"`{fitted.name}`" for fitted in model.features if fitted.form == "categories"]
    places = [*map(str, range(len(numbers))), *slots]
    ones = [f"IF({slot} IS NULL, NULL, 1.0e0)" for slot in slots]
    return frame.selectExpr(
        "id",
        f"array_compact(array({', '.join(places)})) AS indices",
        f"concat(array({', '.join(numbers)}), array_compact(array({', '.join(ones)}))) AS values",
    )


def _without_zeros(frame: DataFrame) -> DataFrame:
    kept = frame.selectExpr("id", "filter(arrays_zip(indices, values), e -> e.values != 0) AS kept")
    return kept.selectExpr("id", "kept.indices AS indices", "kept.values AS values")


def random_rows(frame: pd.DataFrame, count: int) -> list[dict[str, object]]:
    """Rows as plain values, as a serving process gets them."""
    chosen = frame.iloc[np.random.default_rng(0).integers(0, len(frame), count)]
    return chosen.where(chosen.notna(), None).to_dict("records")
