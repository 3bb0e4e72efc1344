"""The steps of `train_model`: fit on the training part, score the test part, find leaks."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
from pyspark.sql import DataFrame

from matchlake.errors import InputError
from matchlake.features.feature_set import FeatureSet
from matchlake.features.fit import fit_features
from matchlake.features.model import FeatureModel
from matchlake.features.refusals import refusal_sql
from matchlake.learners.protocol import TrainingData
from matchlake.learners.registry import fit_head
from matchlake.learners.selection.select import FeatureScores
from matchlake.model_store.scoring_model import ScoringModel
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
_IMPORTANCE_ROWS = 2_000


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
    scores: FeatureScores | None = None
    """The scores of the columns, if conf selects among them."""


def train(name: str, params: ModelParams, features: FeatureSet, rows: ModelRows) -> Trained:
    """Fits the features and the estimator on the training part.

    Two Spark jobs, and those of `select`; the estimator runs in this process. Raises InputError for
    rows that cannot be learned from.
    """
    features, scores = selected(rows.train, params, features)
    fitted = fit_features(rows.train, features)
    require_memory(name, params, fitted, fitted.rows)
    matrix, label = training_arrays(fitted, rows.train, params.keys)
    names = tuple(output.name for output in fitted.outputs())
    data = TrainingData(matrix, names, label)
    head = fit_head(data, params.trainer, params.task, params.seed)
    found = () if label is None else leaks(matrix, names, label)
    for each in found:
        _log.warning(
            "models.%s: feature %s decides the label %s alone: it may be a leak",
            *(name, each, params.label),
        )
    model = ScoringModel(name=name, task=params.task, features=fitted, head=head)
    return Trained(model, len(matrix), _constant(model, label), found, scores)


def read_test_rows(
    test: DataFrame, keys: Sequence[str], models: Sequence[ScoringModel]
) -> pd.DataFrame:
    """The test rows that every one of the models takes; raises InputError if there are none."""
    return read_rows_for(test, keys, [model.features for model in models])


def read_rows_for(
    test: DataFrame, keys: Sequence[str], features: Sequence[FeatureModel]
) -> pd.DataFrame:
    """The rows that none of the features refuses; raises InputError if there are none."""
    for each in features:
        refused = refusal_sql(each)
        if refused is not None:
            test = test.where(f"({refused}) IS NULL")
    columns = [fitted.column for each in features for fitted in each.features]
    rows = test_rows(test, keys, columns)
    if rows.empty:
        raise InputError(
            "There are no rows on which the model can be measured: the test or the validation part "
            "is empty, or the model takes none of its rows. Choose more rows, or another split."
        )
    return rows


def score(model: ScoringModel, rows: pd.DataFrame) -> Scored:
    """The predictions of a model for test rows; a row without a prediction keeps its place."""
    columns = {fitted.column: rows[fitted.column] for fitted in model.features.features}
    made = model.score_numpy(columns)
    truth = rows[LABEL].to_numpy()
    if model.task == "classification":
        return classified(truth, made["probabilities"], model.head.labels or ())
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


def importance(
    model: ScoringModel, rows: pd.DataFrame, loss: Callable[[Scored], float], seed: int
) -> dict[str, float]:
    """How much worse `loss`, a function of a `Scored`, becomes if one feature is shuffled.

    By feature, the largest first, from at most 2,000 test rows; all columns of a feature are
    shuffled together.
    """
    random = np.random.default_rng(seed)
    if len(rows) > _IMPORTANCE_ROWS:
        rows = rows.iloc[np.sort(random.choice(len(rows), _IMPORTANCE_ROWS, replace=False))]
    before, found = loss(score(model, rows)), {}
    for feature, column in _sources(model.features).items():
        shuffled = rows.assign(**{column: rows[column].to_numpy()[random.permutation(len(rows))]})
        found[feature] = loss(score(model, shuffled)) - before
    return dict(sorted(found.items(), key=lambda pair: -pair[1]))


def _sources(features: FeatureModel) -> Mapping[str, str]:
    """The source column of each feature; features of one column are shuffled together."""
    columns: dict[str, list[str]] = {}
    for fitted in features.features:
        columns.setdefault(fitted.column, []).append(fitted.name)
    return {" and ".join(names): column for column, names in columns.items()}
