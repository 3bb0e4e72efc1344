"""The steps of `train_model`: fit on the training part, score the test part, find leaks."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pandas as pd
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from matchlake.errors import InputError
from matchlake.features.feature_set import FeatureSet
from matchlake.features.fit import fit_features
from matchlake.features.model import FeatureModel
from matchlake.features.refusals import refusal_sql
from matchlake.formulas.heads import Head
from matchlake.io.spark_models import saved_trees
from matchlake.learners.balance import balanced, row_counts
from matchlake.learners.checks import check_data
from matchlake.learners.frame_checks import checked_classes
from matchlake.learners.kmeans import ClusterSweep, fit_clusters
from matchlake.learners.params import KmeansParams
from matchlake.learners.protocol import TrainingData, TrainingFrame
from matchlake.learners.registry import fit_head, fit_on_cluster, learner_of
from matchlake.learners.selection.select import FeatureScores
from matchlake.learners.threshold import with_threshold
from matchlake.model_store.scoring_model import ScoringModel
from matchlake.schemas import quote_identifier
from matchlake.training.feature_scores import selected
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
_LEAK_ROWS = 100_000
"""The number of rows searched for leaks if the training part stays in Spark."""


@dataclass(frozen=True)
class Trained:
    """A model fitted to its training part, with facts about the fit."""

    model: ScoringModel
    rows: int
    """The number of rows of the training part."""
    constant: Doubles
    """The mean label, or the frequency of each class; empty for a clustering."""
    leaks: tuple[str, ...]
    """Feature columns that alone determine the label."""
    scores: FeatureScores | None = None
    """The scores of the columns, if conf selects features."""
    counts: Mapping[str, int] = field(default_factory=dict)
    """The number of rows and of synthetic rows by class, such as `synthetic_rows/yes`."""
    sweep: ClusterSweep | None = None
    """All clusterings of a k-means trainer."""


def train(
    name: str, params: ModelParams, features: FeatureSet, rows: ModelRows, folder: str
) -> Trained:
    """Fits the features and the estimator on the training part.

    The estimator runs in this process, after two Spark jobs and those of `select`. An estimator of
    pyspark.ml runs on the cluster, and writes its trees below `folder`. Raises InputError for rows
    from which no model can be learned.
    """
    features, scores = selected(rows.train, params, features)
    fitted = fit_features(rows.train, features)
    names = tuple(output.name for output in fitted.outputs())
    counts: Mapping[str, int] = {}
    sweep = None
    if learner_of(params.trainer.kind).on_cluster:
        frame = cluster_rows(fitted, rows.train, folder)
        labels = checked_classes(frame, params.head_task)
        head = fit_on_cluster(frame, params.trainer, params.head_task, params.seed, labels)
        constant, count = _cluster_constant(frame, labels), fitted.rows
        sample = rows.train.limit(_LEAK_ROWS)
        matrix, label = training_arrays(fitted, sample, params.keys)
    else:
        require_memory(name, params, fitted, fitted.rows)
        matrix, label = training_arrays(fitted, rows.train, params.keys)
        data = TrainingData(matrix, names, label)
        more = balanced_rows(data, params, fitted)
        head, sweep = fit_here(data, more, params, fitted)
        counts = row_counts(data, more)
        constant, count = _constant(head, label), len(matrix)
    found = () if label is None else leaks(matrix, names, label)
    for each in found:
        _log.warning(
            "models.%s: feature %s alone determines the label %s: it may be a leak",
            *(name, each, params.label),
        )
    model = ScoringModel(name=name, task=params.head_task, features=fitted, head=head)
    return Trained(model, count, constant, found, scores, counts, sweep)


def cluster_rows(fitted: FeatureModel, train: DataFrame, folder: str) -> TrainingFrame:
    """Returns the label, and the features as doubles, of rows that stay in Spark. Lazy."""
    frame = fitted.model_copy(update={"keys": (LABEL,)}).transform(train)
    names = tuple(output.name for output in fitted.outputs())
    doubles = {name: F.col(quote_identifier(name)).cast("double") for name in names}
    return TrainingFrame(
        *(frame.withColumns(doubles), names, LABEL),
        lambda model: saved_trees(train.sparkSession, model, folder),
    )


def _cluster_constant(rows: TrainingFrame, labels: tuple[str, ...] | None) -> Doubles:
    """Returns the mean label, or the frequency of each class. One Spark job."""
    label = F.col(quote_identifier(rows.label))
    if labels is None:
        return np.array([float(rows.frame.agg(F.avg(label)).collect()[0][0])])
    counts: dict[str, int] = dict(rows.frame.groupBy(label).count().collect())
    return np.array([counts[each] for each in labels]) / sum(counts.values())


def fit_here(
    data: TrainingData, more: TrainingData, params: ModelParams, fitted: FeatureModel
) -> tuple[Head, ClusterSweep | None]:
    """Fits in this process. Returns the head with its threshold, and the clusterings of a sweep.

    `more` has the rows of `data` and those that `balance` adds. A threshold is chosen on the rows
    of `data`.
    """
    head, sweep = _fitted(more, params)
    if params.threshold is not None:

        def fit_part(part: TrainingData) -> Head:
            return _fitted(balanced_rows(part, params, fitted), params)[0]

        head = with_threshold(head, data, params.threshold, params.seed, fit_part)
    return head, sweep


def balanced_rows(data: TrainingData, params: ModelParams, fitted: FeatureModel) -> TrainingData:
    """Returns the training rows with the rows or weights that `balance` adds."""
    return balanced(data, params.balance, params.seed, category_columns(fitted))


def _fitted(data: TrainingData, params: ModelParams) -> tuple[Head, ClusterSweep | None]:
    """Returns the head; for k-means also all clusterings, of which the head is the best."""
    if isinstance(params.trainer, KmeansParams):
        check_data(data, params.head_task)
        sweep = fit_clusters(data, params.trainer, params.seed)
        return sweep.best.head, sweep
    return fit_head(data, params.trainer, params.head_task, params.seed), None


def category_columns(model: FeatureModel) -> list[list[int]]:
    """Returns the column positions of each categorical feature, and of each indicator."""
    groups: dict[tuple[str, str], list[int]] = {}
    for place, output in enumerate(model.outputs()):
        if output.role != "number":
            groups.setdefault((output.feature, output.source), []).append(place)
    return list(groups.values())


def read_test_rows(
    test: DataFrame, keys: Sequence[str], features: Sequence[FeatureModel]
) -> pd.DataFrame:
    """Reads the rows that no feature refuses; raises InputError if there are none."""
    for each in features:
        refused = refusal_sql(each)
        if refused is not None:
            test = test.where(f"({refused}) IS NULL")
    columns = [fitted.column for each in features for fitted in each.features]
    rows = test_rows(test, keys, columns)
    if rows.empty:
        raise InputError(
            "There are no rows on which the model can be measured: the test or the validation part "
            "is empty, or the model refuses all its rows. Choose more rows, or another split."
        )
    return rows


def score(model: ScoringModel, rows: pd.DataFrame) -> Scored:
    """Returns the predictions for test rows, in the same order; NaN without a prediction."""
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
    """Returns whether each row has a prediction; a row with a missing feature may have none."""
    values = scored.scores[:, 0] if scored.scores.size else scored.prediction
    present: npt.NDArray[np.bool_] = ~np.isnan(values.astype("float64"))
    return present


def constant_of(trained: Trained, truth: Scored) -> Scored | None:
    """Returns the constant prediction of the training part for these rows.

    None for a clustering.
    """
    if trained.model.task == "clustering":
        return None
    if trained.model.task == "regression":
        return Scored(np.full(len(truth), trained.constant[0]), truth.truth)
    repeated = np.tile(trained.constant, (len(truth), 1))
    return classified(truth.truth, repeated, trained.model.head.labels or ())


def leaks(matrix: Doubles, names: Sequence[str], label: Array) -> tuple[str, ...]:
    """Returns the feature columns that correlate perfectly with the label or with one class."""
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
    """Returns the absolute correlation over the rows with a value; 0 for a constant."""
    present = np.isfinite(column)
    one, other = column[present], target[present]
    if len(one) < 3 or not np.ptp(one) or not np.ptp(other):  # noqa: PLR2004 - 2 always correlate
        return 0.0
    return abs(float(np.corrcoef(one, other)[0, 1]))


def _constant(head: Head, label: Array | None) -> Doubles:
    if label is None:
        return np.zeros(0)
    if head.task == "regression":
        return np.array([float(np.mean(label))])
    shares = pd.Series(label).value_counts(normalize=True)
    return np.array([float(shares.get(each, 0.0)) for each in head.labels or ()])
