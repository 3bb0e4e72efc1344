"""The threshold of two classes: the best one of all, and the same labels in every engine."""

import duckdb
import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score

from matchlake.errors import InputError, ParameterError
from matchlake.formulas.heads import LinearHead
from matchlake.formulas.onnx import Graph
from matchlake.formulas.sql import DUCKDB
from matchlake.learners.params import SklearnParams, ThresholdParams
from matchlake.learners.protocol import TrainingData
from matchlake.learners.registry import fit_head
from matchlake.learners.threshold import best_threshold, with_threshold
from matchlake.model_store.onnx_session import score_onnx

RANDOM = np.random.default_rng(2)
COLUMNS = ("a", "b")
METRICS = {
    "f1": f1_score,
    "balanced_accuracy": balanced_accuracy_score,
    "accuracy": accuracy_score,
}


@pytest.mark.parametrize("metric", METRICS)
def test_no_other_threshold_is_better(metric: str) -> None:
    chances = np.round(RANDOM.random(300), 2)
    truth = RANDOM.random(300) < chances**2
    found = best_threshold(chances, truth, metric)
    values = [METRICS[metric](truth, chances > each) for each in np.unique(chances)[:-1]]
    assert METRICS[metric](truth, chances > found) == pytest.approx(max(values))


def rows() -> TrainingData:
    matrix = RANDOM.normal(size=(800, 2))
    rare = matrix[:, 0] + matrix[:, 1] + RANDOM.normal(size=800) > 2.5
    return TrainingData(matrix, COLUMNS, np.where(rare, "rare", "common").astype(object))


@pytest.mark.parametrize("estimator", ["LogisticRegression", "RandomForestClassifier"])
def test_all_engines_cut_at_the_threshold(estimator: str) -> None:
    data = rows()
    params = SklearnParams(
        estimator=estimator, params={"n_estimators": 5} if "Forest" in estimator else {}
    )

    def fit(part: TrainingData) -> object:
        return fit_head(part, params, "classification", 1)

    head = with_threshold(fit(data), data, ThresholdParams(), 1, fit)
    assert head.decision_threshold is not None
    assert 0.05 < head.decision_threshold < 0.5
    found = head.numpy(data.matrix)
    expected = np.where(found["probabilities"][:, 1] > head.decision_threshold, "rare", "common")
    assert (found["prediction"] == expected).all()
    table = pd.DataFrame(data.matrix, columns=list(COLUMNS)).assign(id=range(data.rows))
    if head.sql_limit() is None:
        query = "SELECT * FROM input"
        with duckdb.connect() as database:
            database.register("input", table)
            for stage in head.sql_stages(DUCKDB):
                listed = ", ".join(f'{text} AS "{name}"' for name, text in stage.items())
                query = f"SELECT id, {listed} FROM ({query})"
            by_sql = database.sql(f"{query} ORDER BY id").df()
        assert (by_sql["prediction"] == expected).all()
    graph = Graph()
    tensors = head.onnx(graph, graph.input("matrix", "DOUBLE", ["rows", 2]))
    graph.output("prediction", tensors["prediction"], "STRING", ["rows"])
    by_onnx = score_onnx(graph.to_bytes("t", {}), {"matrix": data.matrix})
    assert (by_onnx["prediction"] == expected).all()
    assert type(head).model_validate_json(head.model_dump_json()) == head


def test_what_has_no_threshold_is_refused() -> None:
    with pytest.raises(ParameterError, match="a threshold needs two labels"):
        LinearHead(columns=("a",), weights=((1.0,),), intercepts=(0.0,), decision_threshold=0.3)
    data = rows()
    few = TrainingData(data.matrix[:30], COLUMNS, np.array(["a"] * 27 + ["b"] * 3, object))
    head = fit_head(few, SklearnParams(estimator="LogisticRegression"), "classification", 1)
    with pytest.raises(InputError, match="folds=5 needs 5 rows of each class, but one class has 3"):
        with_threshold(head, few, ThresholdParams(), 1, lambda _part: head)
