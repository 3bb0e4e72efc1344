"""The same features by matchlake, by Spark ML and by scikit-learn: fit, transform, write."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from pyspark.ml import Pipeline
from pyspark.ml.feature import (
    CountVectorizer,
    MinMaxScaler,
    OneHotEncoder,
    StringIndexer,
    VectorAssembler,
)
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from scipy import sparse
from sklearn import preprocessing
from sklearn.compose import ColumnTransformer
from tests.benchmarks.flights import CATEGORIES, NUMBERS

from matchlake.features.categories import OneHot
from matchlake.features.feature_set import FeatureSet
from matchlake.features.fit import fit_features
from matchlake.features.model import FeatureModel, Layout
from matchlake.features.scalers import MinMax
from matchlake.io.delta_schema import STATISTICS

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
    """Fits, transforms and writes a Delta table, with statistics of its keys as jobs declare it."""
    model = fit_features(frame, features)
    writer = model.transform(frame, layout).write.format("delta")
    writer.option(STATISTICS, ",".join(features.keys)).save(str(out))
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


def spark_ml_top(frame: DataFrame, out: Path, number: str, category: str, count: int) -> None:
    """A number scaled, and the `count` most frequent values of a text one-hot, as a Delta table.

    StringIndexer has no such limit; CountVectorizer has, over lists, of which each row gets one.
    """
    stages = [
        VectorAssembler(inputCols=[number], outputCol="numbers"),
        MinMaxScaler(inputCol="numbers", outputCol="scaled"),
        CountVectorizer(inputCol="listed", outputCol="ones", vocabSize=count, binary=True),
        VectorAssembler(inputCols=["scaled", "ones"], outputCol="features"),
    ]
    listed = frame.withColumn("listed", F.array(category))
    made = Pipeline(stages=stages).fit(listed).transform(listed)
    made.select("id", "features").write.format("delta").save(str(out))


def scikit_learn(frame: pd.DataFrame, out: Path) -> tuple[ColumnTransformer, sparse.csr_matrix]:
    """scikit-learn's ColumnTransformer in one process, written as an uncompressed matrix."""
    encoder = preprocessing.OneHotEncoder(handle_unknown="ignore", sparse_output=True)
    columns = ColumnTransformer(
        [
            ("numbers", preprocessing.MinMaxScaler(), list(NUMBERS)),
            ("texts", encoder, list(CATEGORIES)),
        ],
        sparse_threshold=1.0,
    )
    matrix = sparse.csr_matrix(columns.fit_transform(frame))
    out.mkdir()
    sparse.save_npz(out / "features.npz", matrix, compressed=False)
    return columns, matrix


def unlike_scikit_learn(
    written: DataFrame,
    model: FeatureModel,
    columns: ColumnTransformer,
    theirs: sparse.csr_matrix,
) -> tuple[int, list[str]]:
    """Rows whose values differ by more than 1e-12, column by column, and columns of one side alone.

    `written` is ours in the sparse layout, its ids the numbers of the rows of `theirs`.
    """
    lists = written.orderBy("id").select("features.indices", "features.values").toArrow()
    indices, values = (lists[name].combine_chunks() for name in lists.column_names)
    ours = sparse.csr_matrix(
        (values.flatten(), indices.flatten(), indices.offsets),
        (len(lists), len(model.indexed_outputs())),
    )
    places = {(slot.feature, slot.category): at for at, slot in enumerate(model.indexed_outputs())}
    texts = columns.named_transformers_["texts"].categories_
    named = [(name, None) for name in NUMBERS]
    named += [(name, each) for name, found in zip(CATEGORIES, texts, strict=True) for each in found]
    shared = [at for at, name in enumerate(named) if name in places]
    difference = ours[:, [places[named[at]] for at in shared]] - theirs[:, shared]
    different = np.unique((abs(difference) > 1e-12).nonzero()[0])
    alone = {f"{name}={category}" for name, category in set(named) ^ set(places)}
    return len(different), sorted(alone)


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
    indexed = [f"`{fitted.name}`" for fitted in model.features if fitted.form == "categories"]
    places = [*map(str, range(len(numbers))), *indexed]
    ones = [f"IF({name} IS NULL, NULL, 1.0e0)" for name in indexed]
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
