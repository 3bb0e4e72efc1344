"""Links turn scores into outputs, in NumPy, SQL and ONNX.

| link | scores | outputs |
|---|---|---|
| identity | the prediction, or the probabilities | prediction, or label and probabilities |
| exp | the logarithm of the prediction | prediction |
| logit | the log odds of the second label | label and probabilities |
| softmax | one per label | label and probabilities |
| nearest | the distance to each centre | cluster and distances |

The label is the one with the highest score; if scores are equal, the first of them. With a decision
threshold, the second of two labels is predicted if its probability is above the threshold. `cut` is
the threshold as log odds, or as a probability. Softmax subtracts the highest score first, so that
no exponential overflows.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from matchlake.formulas.heads.sums import sum_last, sum_onnx, sum_sql
from matchlake.formulas.numpy import rows_with_nan
from matchlake.formulas.onnx import NULL_TEXT
from matchlake.formulas.sql import Dialect, number_text

if TYPE_CHECKING:
    from matchlake.formulas.onnx import Graph

Link = Literal["identity", "exp", "logit", "softmax", "nearest"]
Labels = Sequence[str] | None
Array = npt.NDArray[Any]

REFUSED_IN_LABELS = ("\0", NULL_TEXT)
"""The characters that no label may contain: they mark missing labels in ONNX."""

PREDICTION, PROBABILITIES, DISTANCES = "prediction", "probabilities", "distances"
OUTPUT_NAMES = (PREDICTION, PROBABILITIES, DISTANCES)


def outputs(task: str, labels: Labels) -> list[tuple[str, str, str]]:
    """Returns the name, SQL type and comment of each output column."""
    if task == "clustering":
        return [
            (PREDICTION, "INT", "Number of the nearest centre, from 0"),
            (DISTANCES, "ARRAY<DOUBLE>", "Distance to each centre"),
        ]
    if task == "regression" or labels is None:
        return [(PREDICTION, "DOUBLE", "Predicted value")]
    listed = ", ".join(labels) if len(labels) <= 20 else f"{len(labels)} labels"  # noqa: PLR2004
    return [
        (PREDICTION, "STRING", "Predicted label"),
        (PROBABILITIES, "ARRAY<DOUBLE>", f"Probability of each label: {listed}"),
    ]


def in_numpy(
    link: Link, labels: Array | None, scores: Array, cut: float | None = None
) -> dict[str, Array]:
    """Returns the outputs; `labels` has None as an additional last element."""
    missing = rows_with_nan(scores)
    if link == "nearest":
        nearest = np.where(missing, -1, np.where(missing[:, None], 0.0, scores).argmin(axis=1))
        return {PREDICTION: nearest.astype(np.int32), DISTANCES: _emptied(scores, missing)}
    if labels is None:
        values = scores[:, 0]
        return {PREDICTION: np.exp(values) if link == "exp" else values}
    if link == "logit":
        chosen = (scores[:, 0] > (cut or 0.0)).astype(np.int64)
        both = np.column_stack([scores[:, 0], -scores[:, 0]])
        probabilities = 1.0 / (1.0 + np.exp(both))
    else:
        chosen = np.where(missing[:, None], 0.0, scores).argmax(axis=1)
        if cut is not None:
            chosen = (scores[:, 1] > cut).astype(np.int64)
        probabilities = scores if link == "identity" else _softmax(scores)
    chosen = np.where(missing, len(labels) - 1, chosen)
    return {PREDICTION: labels[chosen], PROBABILITIES: _emptied(probabilities, missing)}


def _softmax(scores: Array) -> Array:
    best = scores.max(axis=1, keepdims=True)
    weights = np.where(scores == best, 1.0, np.exp(scores - best))
    return np.asarray(weights / sum_last(weights)[:, None])


def _emptied(values: Array, missing: Array) -> Array:
    return np.where(missing[:, None], np.nan, values)


def in_sql(
    link: Link, labels: Labels, scores: Sequence[str], dialect: Dialect, cut: float | None = None
) -> list[dict[str, str]]:
    """Returns select lists: the first reads the features, each other reads the one before it."""
    names = [f"score:{i}" for i in range(len(scores))]
    columns = [dialect.identifier(name) for name in names]
    nan = "CAST('NaN' AS DOUBLE)"
    first = {name: f"NULLIF({text}, {nan})" for name, text in zip(names, scores, strict=True)}
    if labels is None and link != "nearest":
        return [first, {PREDICTION: f"EXP({columns[0]})" if link == "exp" else columns[0]}]
    if labels is not None and link == "logit":
        return [first, _logit(labels, columns[0], dialect, cut or 0.0)]
    kept = dict(zip(names, columns, strict=True))
    missing = " OR ".join(f"{each} IS NULL" for each in columns)
    extreme = "LEAST" if link == "nearest" else "GREATEST"
    one = columns[0] if len(columns) == 1 else f"{extreme}({', '.join(columns)})"
    second = kept | {"score:best": f"CASE WHEN {missing} THEN NULL ELSE {one} END"}
    best = dialect.identifier("score:best")
    values = list(map(dialect.text, labels) if labels else map(str, range(len(scores))))
    cases = " ".join(f"WHEN {c} = {best} THEN {v}" for c, v in zip(columns, values, strict=True))
    prediction = f"CASE WHEN {best} IS NULL THEN NULL {cases} END"
    if cut is not None:
        above = f"WHEN {columns[1]} > {number_text(cut)} THEN {values[1]} ELSE {values[0]}"
        prediction = f"CASE WHEN {best} IS NULL THEN NULL {above} END"
    if link == "softmax":
        return [first, second, *_softmax_stages(names, prediction, dialect)]
    listed = f"CASE WHEN {best} IS NULL THEN NULL ELSE {dialect.doubles(columns)} END"
    name = DISTANCES if link == "nearest" else PROBABILITIES
    return [first, second, {PREDICTION: prediction, name: listed}]


def _logit(labels: Sequence[str], score: str, dialect: Dialect, cut: float) -> dict[str, str]:
    no, yes = (dialect.text(label) for label in labels)
    one = number_text(1.0)
    both = dialect.doubles([f"({one} / ({one} + EXP({each})))" for each in (score, f"(- {score})")])
    return {
        PREDICTION: (
            f"CASE WHEN {score} IS NULL THEN NULL WHEN {score} > {number_text(cut)} THEN {yes} "
            f"ELSE {no} END"
        ),
        PROBABILITIES: f"CASE WHEN {score} IS NULL THEN NULL ELSE {both} END",
    }


def _softmax_stages(names: list[str], prediction: str, dialect: Dialect) -> list[dict[str, str]]:
    """The weights, their sum, and the probabilities."""
    columns = [dialect.identifier(name) for name in names]
    best, total = dialect.identifier("score:best"), dialect.identifier("score:total")
    weights = [
        f"CASE WHEN {each} = {best} THEN {number_text(1.0)} ELSE EXP({each} - {best}) END"
        for each in columns
    ]
    third = dict(zip(names, weights, strict=True)) | {PREDICTION: prediction}
    fourth = dict(zip(names, columns, strict=True)) | {"score:total": sum_sql(columns)}
    shares = dialect.doubles([f"({each} / {total})" for each in columns])
    label = dialect.identifier(PREDICTION)
    listed = f"CASE WHEN {label} IS NULL THEN NULL ELSE {shares} END"
    return [third, fourth | {PREDICTION: label}, {PREDICTION: label, PROBABILITIES: listed}]


def in_onnx(
    link: Link, labels: Labels, scores: str, graph: "Graph", cut: float | None = None
) -> Mapping[str, str]:
    """Returns the tensors of the outputs: NaN or NULL_TEXT for rows without a prediction."""
    if labels is None and link != "nearest":
        value = graph.add("Squeeze", scores, graph.integers([1]))
        return {PREDICTION: graph.add("Exp", value) if link == "exp" else value}
    missing = graph.any_missing(scores)
    nan, one = graph.double(float("nan")), graph.double(1.0)
    if link == "logit":
        chosen = _above(scores, cut or 0.0, graph)
        both = graph.add("Concat", scores, graph.add("Neg", scores), axis=1)
        values = graph.add("Div", one, graph.add("Add", one, graph.add("Exp", both)))
    else:
        finder = "ArgMin" if link == "nearest" else "ArgMax"
        known = graph.add("Where", missing, graph.double(0.0), scores)
        chosen = graph.add(finder, known, axis=1, keepdims=0)
        if cut is not None:
            chosen = _above(graph.sliced(scores, 1, 2, 1), cut, graph)
        values = _softmax_onnx(scores, len(labels or ()), graph) if link == "softmax" else scores
    values = graph.add("Where", missing, nan, values)
    absent = graph.add("Squeeze", missing, graph.integers([1]))
    marked = graph.add("Where", absent, graph.integer(-1), chosen)
    if labels is None:
        return {PREDICTION: graph.cast(marked, "INT32"), DISTANCES: values}
    label = graph.label(marked, labels)
    return {PREDICTION: label, PROBABILITIES: values}


def _above(scores: str, cut: float, graph: "Graph") -> str:
    """Returns 1 for each row whose only score is above `cut`, else 0."""
    above = graph.cast(graph.add("Greater", scores, graph.double(cut)), "INT64")
    return graph.add("Squeeze", above, graph.integers([1]))


def _softmax_onnx(scores: str, count: int, graph: "Graph") -> str:
    best = graph.add("ReduceMax", scores, graph.integers([1]), keepdims=1)
    other = graph.add("Exp", graph.add("Sub", scores, best))
    equal = graph.add("Equal", scores, best)
    weights = graph.add("Where", equal, graph.double(1.0), other)
    total = graph.add("Unsqueeze", sum_onnx(graph, weights, count, 1), graph.integers([1]))
    return graph.add("Div", weights, total)
