"""One frame per category, and a comparison: one model per category, or one for all?"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pandas as pd
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from matchlake.errors import ParameterError
from matchlake.features.fitted_categories import FittedCategories
from matchlake.features.model import FeatureModel
from matchlake.formulas.sql import SPARK

Predictor = Callable[[pd.DataFrame], npt.ArrayLike]
Learner = Callable[[pd.DataFrame, pd.Series], Predictor]

_RESULT = "approach STRING, category STRING, rows BIGINT, squared_error DOUBLE"
_GROUP, _CATEGORY, _LABEL = "split_group", "split_category", "split_label"


def split_by(frame: DataFrame, model: FeatureModel, feature: str) -> dict[str, DataFrame]:
    """The rows of each category of the one-hot `feature`, by the category's text. Lazy.

    `frame` needs the column that the feature reads. Rows with a null or an unknown value are in no
    frame. Each frame reads the table again. For many categories, let `build_features` write the
    table with `split_by`: each frame then reads only its own partition.
    """
    fitted = _one_hot(model, feature)
    column = F.col(SPARK.identifier(fitted.column)).cast("string")
    return {c.value: frame.where(column == F.lit(c.value)) for c in fitted.categories}


def compare_split(
    train: DataFrame,
    test: DataFrame,
    features: tuple[FeatureModel, str],
    label: str,
    learn: Learner,
) -> DataFrame:
    """The held-out errors of one model per category, and of one model for all. Lazy.

    `features` are a fitted set and the name of one of its one-hot features. Both frames need the
    columns that the set reads, and `label`, a number. `learn(X, y)` returns a function from X to
    predictions. X has the set's columns; for a single category those of the one-hot feature are
    left out. `learn` runs in Spark's workers, once per category of `train` and once for all rows.

    Gives category, rows (of `test`), separate_error and one_error: the mean squared errors on these
    rows, null for a category without training rows. The last row, without a category, is over the
    categories with both errors.
    """
    model, feature = features
    fitted = _one_hot(model, feature)
    own = [output.name for output in fitted.outputs()]
    both = [_prepared(frame, model, fitted, label) for frame in (train, test)]
    separate = _evaluate(both, "separate", F.col(_CATEGORY), own, learn)
    one = _evaluate(both, "one", F.lit("all"), [], learn)
    return _compared(separate.unionByName(one))


def _compared(found: DataFrame) -> DataFrame:
    """Both approaches side by side, per category and over all categories with both errors."""

    def error(approach: str) -> Column:
        return F.max(F.when(F.col("approach") == approach, F.col("squared_error")))

    by = found.groupBy("category").agg(
        F.max("rows").alias("rows"),
        error("separate").alias("separate_error"),
        error("one").alias("one_error"),
    )
    errors = ("separate_error", "one_error")
    rows_of_both = F.when(
        F.col(errors[0]).isNotNull() & F.col(errors[1]).isNotNull(), F.col("rows")
    )

    def together(each: Column, overall: Column) -> Column:
        return F.when(F.grouping("category") == 0, F.max(each)).otherwise(overall)

    means = [
        together(F.col(name), F.sum(F.col(name) * rows_of_both) / F.sum(rows_of_both)).alias(name)
        for name in errors
    ]
    rows = together(F.col("rows"), F.sum(rows_of_both)).alias("rows")
    return by.rollup("category").agg(rows, *means)


def _one_hot(model: FeatureModel, feature: str) -> FittedCategories:
    one_hot = {
        f.name: f for f in model.features if isinstance(f, FittedCategories) and not f.is_list
    }
    if feature not in one_hot:
        raise ParameterError(
            f"{feature!r} is not a one-hot feature of {model.name}. Its one-hot features: "
            f"{', '.join(one_hot) or 'none'}."
        )
    return one_hot[feature]


def _prepared(
    frame: DataFrame, model: FeatureModel, fitted: FittedCategories, label: str
) -> DataFrame:
    """The set's columns with the label and the category, without rows of no category."""
    category = F.col(SPARK.identifier(fitted.column)).cast("string")
    labelled = frame.withColumns({_LABEL: F.col(label).cast("double"), _CATEGORY: category})
    labelled_model = model.model_copy(update={"keys": (_LABEL, _CATEGORY)})
    return labelled_model.transform(labelled.where(category.isNotNull()))


def _evaluate(
    both: list[DataFrame], approach: str, group: Column, left_out: list[str], learn: Learner
) -> DataFrame:
    def score(train: pd.DataFrame, test: pd.DataFrame) -> pd.DataFrame:
        return _scores(train, test, approach, [_GROUP, _LABEL, _CATEGORY, *left_out], learn)

    train, test = (frame.withColumn(_GROUP, group).groupBy(_GROUP) for frame in both)
    return train.cogroup(test).applyInPandas(score, _RESULT)


def _scores(
    train: pd.DataFrame,
    test: pd.DataFrame,
    approach: str,
    left_out: list[str],
    learn: Learner,
) -> pd.DataFrame:
    """The error of one group's model for each category of the group."""
    rows = test[[_CATEGORY, _LABEL]].assign(error=float("nan"))
    if len(train) and len(test):
        predict = learn(train.drop(columns=left_out), train[_LABEL])
        predicted = np.asarray(predict(test.drop(columns=left_out)), dtype=np.float64)
        rows["error"] = (predicted - test[_LABEL].to_numpy()) ** 2
    by = rows.groupby(_CATEGORY)["error"]
    scores = pd.DataFrame({"rows": by.size(), "squared_error": by.mean()}).reset_index()
    return scores.rename(columns={_CATEGORY: "category"}).assign(approach=approach)
