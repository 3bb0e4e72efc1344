"""Generated models over hostile rows in every engine, and how far the engines are apart."""

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import numpy as np
from pyspark.sql import SparkSession
from tests.support.scoring_cases import (
    SCHEMA,
    as_columns,
    hostile_rows,
    random_model,
    score_tolerance,
)

from matchlake.formulas.onnx import NULL_TEXT
from matchlake.model_store.onnx_session import score_onnx
from matchlake.model_store.scoring_model import ScoringModel

KINDS = ("linear", "trees", "centroids")
ROWS, GROUP = 1000, 5
Outputs = dict[str, np.ndarray]


def compare_engines(spark: SparkSession, count: int) -> dict[str, Any]:
    """By engine the largest difference of a score from NumPy's, in units of the sum of terms.

    `labels` counts labels and clusters that differ although no two scores are within 1e-12.
    """
    rows = hostile_rows(ROWS, seed=7)
    columns = as_columns(rows)
    frame = spark.createDataFrame(rows, SCHEMA).coalesce(1)
    frame.createOrReplaceTempView("rows_to_score")
    frame.cache()
    found: dict[str, dict[str, float]] = defaultdict(lambda: {"largest": 0.0, "labels": 0})
    for models in _groups(columns, count):
        by_sql = _by_sql(spark, models)
        for number, model in enumerate(models):
            expected = model.score_numpy(columns)
            terms = score_tolerance(model, model.features.transform_numpy(columns)) / 1e-14
            sides = {
                "onnx": _by_onnx(model, columns),
                "json": ScoringModel.from_json(model.to_json()).score_numpy(columns),
                "spark": by_sql[number],
            }
            for name, outputs in sides.items():
                _note(found[name], outputs, expected, terms)
    return {"models": count * len(KINDS), "rows": ROWS, **found}


def _groups(columns: Outputs, count: int) -> Iterator[list[ScoringModel]]:
    models = [
        random_model(kind, columns, np.random.default_rng(10_000 + seed))[0]
        for seed in range(count)
        for kind in KINDS
    ]
    for first in range(0, len(models), GROUP):
        yield models[first : first + GROUP]


def _by_onnx(model: ScoringModel, columns: Outputs) -> Outputs:
    found = score_onnx(model.to_onnx(), model.onnx_inputs(columns))
    if found["prediction"].dtype == object:
        labels = [None if each == NULL_TEXT else each for each in found["prediction"]]
        found["prediction"] = np.array(labels, dtype=object)
    return found


def _by_sql(spark: SparkSession, models: list[ScoringModel]) -> list[Outputs]:
    """The outputs of all models by one query."""
    parts = []
    for number, model in enumerate(models):
        names = [output.name for output in model.outputs()]
        is_label = model.task == "classification"
        label, value = ("prediction", "NULL") if is_label else ("NULL", "prediction")
        listed = names[1] if len(names) > 1 else "NULL"
        parts.append(
            f"SELECT {number} AS n, id, CAST({label} AS STRING) AS label, CAST({value} AS DOUBLE)"
            f" AS value, CAST({listed} AS ARRAY<DOUBLE>) AS listed"
            f" FROM ({model.to_sql('rows_to_score')})"
        )
    table = spark.sql(" UNION ALL ".join(parts)).toPandas().sort_values(["n", "id"])
    return [_outputs(model, table[table["n"] == n]) for n, model in enumerate(models)]


def _outputs(model: ScoringModel, rows: Any) -> Outputs:
    names = [output.name for output in model.outputs()]
    if model.task == "classification":
        prediction = np.array([label or None for label in rows["label"]], dtype=object)
    elif model.task == "clustering":
        prediction = rows["value"].fillna(-1).to_numpy().astype(np.int32)
    else:
        prediction = rows["value"].to_numpy(np.float64)
    made = {"prediction": prediction}
    if len(names) > 1:
        width = max(len(each) for each in rows["listed"] if each is not None)
        nothing = [np.nan] * width
        made[names[1]] = np.array([nothing if each is None else each for each in rows["listed"]])
    return made


def _note(figures: dict[str, float], found: Outputs, expected: Outputs, terms: np.ndarray) -> None:
    for name, values in expected.items():
        if values.dtype == np.float64:
            known = np.isfinite(values)
            if not np.array_equal(found[name][~known], values[~known], equal_nan=True):
                figures["largest"] = float("inf")
            with np.errstate(all="ignore"):
                scale = np.maximum(1.0, np.abs(np.where(known, values, 0.0)))
                scale = scale * (terms if values.ndim == 1 else terms[:, None])
                apart = (np.abs(found[name] - values) / scale)[known]
            figures["largest"] = max(figures["largest"], float(apart.max(initial=0.0)))
        else:
            other = (found[name] != values) & ~_ties(expected)
            figures["labels"] += int(other.sum())


def _ties(expected: Outputs) -> np.ndarray:
    name = "probabilities" if "probabilities" in expected else "distances"
    ordered = np.sort(expected[name], axis=1)
    if ordered.shape[1] == 1:
        return np.zeros(len(ordered), dtype=bool)
    ends = ordered[:, -2:] if name == "probabilities" else ordered[:, :2]
    with np.errstate(invalid="ignore"):
        return np.asarray(np.abs(ends[:, 1] - ends[:, 0]) <= 1e-12)
