"""The steps of `train_model`: fit on the training part, score the test part, find leaks."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pandas as pd
from pyspark.sql import DataFrame

from matchlake.errors import InputError
from matchlake.features.feature_set import FeatureSet
from matchlake.features.fit import fit_features
from matchlake.features.model import FeatureModel
from matchlake.features.refusals import refusal_sql
from matchlake.formulas.heads import Head
from matchlake.learners.balance import balanced, row_counts
from matchlake.learners.checks import check_data
from matchlake.learners.kmeans import ClusterSweep, fit_clusters
from matchlake.learners.params import KmeansParams
from matchlake.learners.protocol import TrainingData
from matchlake.learners.registry import fit_head
from matchlake.learners.threshold import with_threshold
from matchlake.model_store.scoring_model import ScoringModel
from matchlake.training.model_data import (
    LABEL,
    ModelRows,
    require_memory,
    test_rows,
    training_arrays,
)
from matchlake.training.model_params import ModelParams
from matchlake.training.task_metrics import Array, Doubles, Scored, classified

_log = logging.getLogger(__name__)

_LEAK = 1 - 1e-9
_FEW_CLASSES = 20


@dataclass(frozen=True)
class Trained:
    """A model as it was fitted to its training part."""

    model: ScoringModel
    rows: int
    """Rows of the training part."""
    constant: Doubles
    """The mean label, or the frequency of each class; empty for a clustering."""
    leaks: tuple[str, ...]
    """Feature columns that decide the label alone."""
    counts: Mapping[str, int] = field(default_factory=dict)
    """Rows of the training part and synthetic rows by class, such as `synthetic_rows/yes`."""
    sweep: ClusterSweep | None = None
    """All clusterings of a k-means trainer."""


def train(name: str, params: ModelParams, features: FeatureSet, rows: ModelRows) -> Trained:
    """Fits the features and the estimator on the training part.

    Two Spark jobs; the estimator runs in this process. Raises InputError for rows that cannot be
    learned from.
    """
    fitted = fit_features(rows.train, features)
    require_memory(name, params, fitted, fitted.rows)
    matrix, label = training_arrays(fitted, rows.train, params.keys)
    names = tuple(output.name for output in fitted.outputs())
    data = TrainingData(matrix, names, label)
    more = balanced(data, params.balance, params.seed, category_columns(fitted))
    head, sweep = _fitted(more, params)
    if params.threshold is not None:
        groups = category_columns(fitted)

        def fit_part(part: TrainingData) -> Head:
            return _fitted(balanced(part, params.balance, params.seed, groups), params)[0]

        head = with_threshold(head, data, params.threshold, params.seed, fit_part)
    found = () if label is None else leaks(matrix, names, label)
    for each in found:
        _log.warning(
            "models.%s: feature %s decides the label %s alone: it may be a leak",
            *(name, each, params.label),
        )
    model = ScoringModel(name=name, task=params.task, features=fitted, head=head)
    counts = row_counts(data, more)
    return Trained(model, len(matrix), _constant(model, label), found, counts, sweep)


def _fitted(data: TrainingData, params: ModelParams) -> tuple[Head, ClusterSweep | None]:
    """The head; and of a k-means trainer all clusterings, of which the head is the best."""
    if isinstance(params.trainer, KmeansParams):
        check_data(data, params.task)
        sweep = fit_clusters(data, params.trainer, params.seed)
        return sweep.best.head, sweep
    return fit_head(data, params.trainer, params.task, params.seed), None


def category_columns(model: FeatureModel) -> list[list[int]]:
    """For each categorical feature the places of its columns, and for each indicator its place."""
    groups: dict[tuple[str, str], list[int]] = {}
    for place, output in enumerate(model.outputs()):
        if output.role != "number":
            groups.setdefault((output.feature, output.source), []).append(place)
    return list(groups.values())


def read_test_rows(
    test: DataFrame, keys: Sequence[str], models: Sequence[ScoringModel]
) -> pd.DataFrame:
    """The test rows that every one of the models takes; raises InputError if there are none."""
    for model in models:
        refused = refusal_sql(model.features)
        if refused is not None:
            test = test.where(f"({refused}) IS NULL")
    columns = [column for model in models for column in model.columns()]
    rows = test_rows(test, keys, columns)
    if rows.empty:
        raise InputError(
            "The test part has no rows that the model takes. Choose more rows, or another split."
        )
    return rows


def score(model: ScoringModel, rows: pd.DataFrame) -> Scored:
    """The predictions of a model for test rows; a row without a prediction keeps its place."""
    columns = {fitted.column: rows[fitted.column] for fitted in model.features.features}
    made = model.score_numpy(columns)
    truth = rows[LABEL].to_numpy()
    if model.task == "classification":
        labels, threshold = model.head.labels or (), model.head.decision_threshold
        return classified(truth, made["probabilities"], labels, threshold)
    if model.task == "regression":
        return Scored(made["prediction"], truth.astype("float64"))
    matrix = np.atleast_2d(model.features.transform_numpy(columns))
    return Scored(made["prediction"], scores=made["distances"], features=matrix)


def has_prediction(scored: Scored) -> npt.NDArray[np.bool_]:
    """Whether each row has a prediction: a feature may be missing."""
    values = scored.scores[:, 0] if scored.scores.size else scored.prediction
    present: npt.NDArray[np.bool_] = ~np.isnan(values.astype("float64"))
    return present


def constant_of(trained: Trained, truth: Scored) -> Scored | None:
    """The constant prediction of the training part for the same rows; None for a clustering."""
    if trained.model.task == "clustering":
        return None
    if trained.model.task == "regression":
        return Scored(np.full(len(truth), trained.constant[0]), truth.truth)
    repeated = np.tile(trained.constant, (len(truth), 1))
    return classified(truth.truth, repeated, trained.model.head.labels or ())


def leaks(matrix: Doubles, names: Sequence[str], label: Array) -> tuple[str, ...]:
    """The feature columns that are equal to the label, or to having one class, up to scale."""
    classes = pd.unique(pd.Series(label))
    if label.dtype.kind == "O":
        is_few = len(classes) <= _FEW_CLASSES
        targets = [(label == each).astype("float64") for each in classes] if is_few else []
    else:
        targets = [label.astype("float64")]
    return tuple(
        name
        for i, name in enumerate(names)
        if any(_correlation(matrix[:, i], target) >= _LEAK for target in targets)
    )


def _correlation(column: Doubles, target: Doubles) -> float:
    """The absolute correlation over the rows with a value; 0 for a constant."""
    present = np.isfinite(column)
    one, other = column[present], target[present]
    if len(one) < 3 or not np.ptp(one) or not np.ptp(other):  # noqa: PLR2004 - 2 always correlate
        return 0.0
    return abs(float(np.corrcoef(one, other)[0, 1]))


def _constant(model: ScoringModel, label: Array | None) -> Doubles:
    if label is None:
        return np.zeros(0)
    if model.task == "regression":
        return np.array([float(np.mean(label))])
    shares = pd.Series(label).value_counts(normalize=True)
    return np.array([float(shares.get(each, 0.0)) for each in model.head.labels or ()])
