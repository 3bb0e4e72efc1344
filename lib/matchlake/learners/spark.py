"""Linear models and trees of pyspark.ml, fitted on a cluster, as exact heads."""

from collections.abc import Callable
from importlib import import_module
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from matchlake.errors import InputError, ParameterError
from matchlake.formulas.heads import Head, LinearHead, Task
from matchlake.learners.forest import Forest
from matchlake.learners.params import SparkParams
from matchlake.learners.protocol import TrainingFrame
from matchlake.schemas import quote_identifier

Labels = tuple[str, ...] | None
ToHead = Callable[[Any, TrainingFrame, Labels], Head]
VECTOR, CODE = "matchlake vector", "matchlake code"
"""The columns that a fit adds; conf does not allow these names."""
_REFUSED = ("thresholds", "threshold", "cacheNodeIds")
"""Refused parameters: those that name columns, and those whose models a head cannot represent."""


class Estimator(NamedTuple):
    """An estimator that can be converted to an exact head."""

    module: str
    task: Task
    to_head: ToHead


def _linear_head(model: Any, rows: TrainingFrame, labels: Labels) -> Head:
    """The weights: one row, or one per class."""
    if labels is None:
        weights, intercepts = np.atleast_2d(model.coefficients.toArray()), [model.intercept]
    else:
        weights = model.coefficientMatrix.toArray()
        intercepts = model.interceptVector.toArray().tolist()
    link = "identity" if labels is None else "logit" if len(weights) == 1 else "softmax"
    return LinearHead.model_validate(
        {
            "columns": rows.columns,
            "labels": labels,
            "link": link,
            "weights": tuple(map(tuple, weights.tolist())),
            "intercepts": tuple(map(float, intercepts)),
        }
    )


def _forest_head(model: Any, rows: TrainingFrame, labels: Labels) -> Head:
    """A tree, or the mean of the trees of a forest."""
    width = len(labels or (0,))
    forest = Forest(rows.columns, labels, width)
    for _, tree in rows.saved_trees(model).groupby("treeID"):
        if labels is None:
            values = tree["prediction"].to_numpy()
        else:
            counts = np.stack(tree["impurityStats"].to_list())[:, :width]
            values = counts / counts.sum(axis=1, keepdims=True)
        forest.add(_nodes(tree), values, 0)
    return forest.head(aggregate="mean", base=(0.0,) * width, missing="null")


def _boosting_head(model: Any, rows: TrainingFrame, labels: Labels) -> Head:
    """The weighted sum of the trees; a margin m in Spark is the log odds 2 m."""
    factor = 1.0 if labels is None else 2.0
    forest = Forest(rows.columns, labels)
    for weight, (_, tree) in zip(
        model.treeWeights, rows.saved_trees(model).groupby("treeID"), strict=True
    ):
        forest.add(_nodes(tree), tree["prediction"].to_numpy() * weight * factor, 0)
    return forest.head(link="identity" if labels is None else "logit", base=(0.0,), missing="null")


def _nodes(tree: pd.DataFrame) -> dict[str, Any]:
    """The nodes of a tree; they are numbered from 0, and children follow their parents."""
    leaf = tree["leftChild"].to_numpy() < 0
    return {
        "column": np.where(leaf, -1, tree["feature"].to_numpy()),
        "threshold": np.where(leaf, 0.0, tree["threshold"].fillna(0.0).to_numpy()),
        "missing_left": np.zeros(len(tree), bool),
        "left": np.where(leaf, 0, tree["leftChild"].to_numpy()),
        "right": np.where(leaf, 0, tree["rightChild"].to_numpy()),
    }


def _both(name: str, to_head: ToHead) -> dict[str, Estimator]:
    return {
        f"{name}Regressor": Estimator("pyspark.ml.regression", "regression", to_head),
        f"{name}Classifier": Estimator("pyspark.ml.classification", "classification", to_head),
    }


ESTIMATORS: dict[str, Estimator] = {
    "LinearRegression": Estimator("pyspark.ml.regression", "regression", _linear_head),
    "LogisticRegression": Estimator("pyspark.ml.classification", "classification", _linear_head),
    **_both("DecisionTree", _forest_head),
    **_both("RandomForest", _forest_head),
    **_both("GBT", _boosting_head),
}
"""The estimators by the name of their class."""


def fit(rows: TrainingFrame, params: SparkParams, task: Task, seed: int, labels: Labels) -> Head:
    """Fits an estimator on the cluster and returns its head. Starts Spark jobs.

    Raises ParameterError for an unknown estimator or parameter, and InputError for rows that the
    estimator cannot use.
    """
    from pyspark.ml.feature import VectorAssembler  # noqa: PLC0415 - a second to import

    estimator = make_estimator(params, task, seed)
    if params.estimator == "GBTClassifier" and len(labels or ()) > 2:  # noqa: PLR2004
        raise ParameterError(
            f"GBTClassifier needs two classes, but the label has {len(labels or ())}. Choose "
            "RandomForestClassifier."
        )
    frame = VectorAssembler(inputCols=list(rows.columns), outputCol=VECTOR).transform(
        _coded(rows, labels)
    )
    try:
        model = estimator.fit(frame.select(VECTOR, CODE))
        return ESTIMATORS[params.estimator].to_head(model, rows, labels)
    except PySparkException as error:
        reason = str(error).strip().partition("\n")[0]
        raise InputError(f"{params.estimator} could not be fitted: {reason}") from None


def make_estimator(params: SparkParams, task: Task, seed: int) -> Any:
    """The estimator with its parameters, not fitted yet; raises ParameterError for unknown ones."""
    names = [name for name, each in ESTIMATORS.items() if each.task == task]
    if params.estimator not in names:
        reason = f"pyspark.ml has no estimator {params.estimator!r} for {task}."
        raise ParameterError.unknown(reason, params.estimator, "Estimators", names)
    made = getattr(import_module(ESTIMATORS[params.estimator].module), params.estimator)(
        featuresCol=VECTOR, labelCol=CODE
    )
    known = [
        each.name
        for each in made.params
        if not each.name.endswith("Col") and each.name not in _REFUSED
    ]
    for name, value in params.params.items():
        if name not in known:
            reason = f"{params.estimator} has no parameter {name!r}."
            raise ParameterError.unknown(reason, name, "Parameters", known)
        try:
            made.set(made.getParam(name), value)
        except (TypeError, ValueError) as error:
            raise ParameterError(f"{params.estimator}: {name}: {error}") from None
    if "seed" in known and "seed" not in params.params:
        made.set(made.getParam("seed"), seed)
    return made


def _coded(rows: TrainingFrame, labels: Labels) -> DataFrame:
    """The rows with the label as a double: the number, or the position of the class."""
    label = F.col(quote_identifier(rows.label))
    if labels is None:
        return rows.frame.withColumn(CODE, label.cast("double"))
    position = F.array_position(F.array(*map(F.lit, labels)), label)
    return rows.frame.withColumn(CODE, (position - 1).cast("double"))
