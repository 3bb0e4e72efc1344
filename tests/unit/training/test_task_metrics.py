"""The metrics of models against scikit-learn's, and against their definitions."""

import numpy as np
import pytest
from sklearn import metrics as sk
from sklearn.cluster import KMeans

from matchlake.training.model_params import METRICS
from matchlake.training.task_metrics import Scored, classified, confusion, measure, metric

EXACT = {"abs": 1e-12, "rel": 1e-12}
RANDOM = np.random.default_rng(5)


def probabilities(rows: int, classes: int) -> np.ndarray:
    values = RANDOM.gamma(0.5, size=(rows, classes))
    values[0] = np.eye(classes)[0]
    return values / values.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("classes", [("no", "yes"), ("a", "b", "c", "d")])
def test_classification_metrics_equal_those_of_scikit_learn(classes: tuple[str, ...]) -> None:
    chances = probabilities(700, len(classes))
    truth = RANDOM.choice(np.array(classes, object), 700)
    found = measure(classified(truth, chances, classes), METRICS["classification"])
    labels, text = list(classes), truth.astype(str)
    predicted = np.array(classes)[chances.argmax(axis=1)]
    two = len(classes) == 2
    shown = {"labels": labels[1:] if two else labels, "average": "macro"}
    areas = {"roc_auc": sk.roc_auc_score, "pr_auc": sk.average_precision_score}
    expected = {
        "accuracy": sk.accuracy_score(text, predicted),
        "precision": sk.precision_score(text, predicted, **shown),
        "recall": sk.recall_score(text, predicted, **shown),
        "f1": sk.f1_score(text, predicted, **shown),
        "log_loss": sk.log_loss(text, chances, labels=labels),
        "brier": sk.brier_score_loss(text, chances if not two else chances[:, 1], labels=labels)
        if not two
        else sk.brier_score_loss(text == "yes", chances[:, 1]),
        **{
            name: np.mean([area(text == classes[i], chances[:, i]) for i in range(len(classes))])
            if not two
            else area(text == "yes", chances[:, 1])
            for name, area in areas.items()
        },
    }
    assert found == pytest.approx(expected, **EXACT)
    if not two:
        macro = sk.roc_auc_score(text, chances, multi_class="ovr", labels=labels)
        assert found["roc_auc"] == pytest.approx(macro, **EXACT)
    counts = confusion(classified(truth, chances, classes))
    assert counts.tolist() == sk.confusion_matrix(text, predicted, labels=labels).tolist()


def test_a_class_that_the_model_does_not_know_has_no_probability() -> None:
    truth = np.array(["a", "b", "new"], object)
    scored = classified(truth, np.array([[0.9, 0.1], [0.2, 0.8], [0.5, 0.5]]), ("a", "b"))
    found = measure(scored, METRICS["classification"])
    assert found["accuracy"] == pytest.approx(2 / 3)
    padded = [[0.9, 0.1, 0.0], [0.2, 0.8, 0.0], [0.5, 0.5, 0.0]]
    expected = sk.log_loss(truth.astype(str), padded, labels=["a", "b", "new"])
    assert found["log_loss"] == pytest.approx(expected, **EXACT)


def test_one_class_has_no_curve() -> None:
    scored = classified(np.array(["a", "a"], object), np.array([[0.9, 0.1]] * 2), ("a", "b"))
    found = measure(scored, METRICS["classification"])
    assert {"roc_auc", "pr_auc"}.isdisjoint(found)
    assert found["accuracy"] == 1


def test_regression_metrics_equal_those_of_scikit_learn_and_their_definitions() -> None:
    truth = RANDOM.normal(7, 3, 500)
    predicted = truth + RANDOM.normal(0.2, 1, 500)
    found = measure(Scored(predicted, truth), METRICS["regression"])
    spread = truth - truth.mean()
    expected = {
        "mae": sk.mean_absolute_error(truth, predicted),
        "rmse": sk.root_mean_squared_error(truth, predicted),
        "rae": np.abs(predicted - truth).sum() / np.abs(spread).sum(),
        "rse": ((predicted - truth) ** 2).sum() / (spread**2).sum(),
        "r2": sk.r2_score(truth, predicted),
    }
    assert found == pytest.approx(expected, **EXACT)
    constant = measure(Scored(predicted, np.full(500, 2.0)), METRICS["regression"])
    assert {"rae", "rse", "r2"}.isdisjoint(constant)


def test_clustering_metrics_equal_those_of_scikit_learn_and_their_definitions() -> None:
    points = np.concatenate([RANDOM.normal(center, 1, (90, 3)) for center in (0, 4, 9)])
    fitted = KMeans(3, n_init=3, random_state=0).fit(points)
    distances = fitted.transform(points)
    labels = distances.argmin(axis=1)
    found = measure(Scored(labels, scores=distances, features=points), METRICS["clustering"])
    ordered = np.sort(distances, axis=1)
    expected = {
        "inertia": fitted.inertia_,
        "silhouette": np.mean((ordered[:, 1] - ordered[:, 0]) / ordered[:, 1]),
        "davies_bouldin": sk.davies_bouldin_score(points, labels),
        "calinski_harabasz": sk.calinski_harabasz_score(points, labels),
    }
    assert found == pytest.approx(expected, **EXACT)
    one = Scored(np.zeros(270, int), scores=distances[:, :1], features=points)
    assert measure(one, METRICS["clustering"]).keys() == {"inertia", "silhouette"}
    assert metric(one, "silhouette") == 0


def test_taken_rows_are_measured_alone() -> None:
    scored = Scored(np.array([1.0, 2.0, 3.0]), np.array([1.0, 2.0, 7.0]))
    assert metric(scored.take(np.array([0, 1])), "mae") == 0
    assert metric(scored.take(np.array([2, 2])), "mae") == 4
