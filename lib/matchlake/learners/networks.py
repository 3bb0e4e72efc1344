"""Shared code of network trainers: rows in 32 bits, and heads from ONNX models."""

import base64
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from matchlake.errors import InputError, ParameterError
from matchlake.formulas.heads import Folder, GraphHead, Head, Task
from matchlake.learners.checks import FLOAT32_MAX, check_digits, check_features
from matchlake.learners.own_process import fit_in_own_process
from matchlake.learners.params import NetworkParams
from matchlake.learners.protocol import TrainingData, class_codes

Singles = npt.NDArray[np.float32]

TOLERANCE = 1e-5
"""The maximum difference between graph and framework, relative to the larger of the score and 1."""
_SAMPLE = 1_000
_FEWEST_ROWS = 4


class NetworkRows(NamedTuple):
    """The rows of a training in 32 bits: a training part and a validation part."""

    matrix: Singles
    target: npt.NDArray[Any]
    """Class codes as int64, or standardized numbers in 32 bits."""
    held_out: Singles
    """The validation rows, which decide when to stop."""
    held_out_target: npt.NDArray[Any]
    mean: Singles
    """The mean of each column."""
    scale: Singles
    """The standard deviation of each column; 1 for a constant."""
    label_mean: float
    label_scale: float
    """A numeric prediction is `label_mean + label_scale * output`. For classes the mean is 0 and
    the scale 1."""
    outputs: int
    """The number of scores: 1 for numbers and two classes, else one per class."""


def fit_network(
    data: TrainingData, params: NetworkParams, task: Task, seed: int, packages: tuple[str, ...]
) -> Head:
    """Fits a network in a separate process, by `fit_here` of the trainer's module.

    Raises ParameterError if one of the `packages` is not installed, and InputError for rows that a
    network cannot use, and for a fit that fails.
    """
    kind = params.model_dump()["kind"]
    missing = [name for name in packages if find_spec(name) is None]
    if missing:
        raise ParameterError(
            f"Trainer {kind} needs packages that are not installed: {', '.join(missing)}. Install "
            f"them where the job runs: pip install {' '.join(missing)}."
        )
    check_features(data, f"Trainer {kind}", missing=False, largest=FLOAT32_MAX)
    check_digits(data, task, f"Trainer {kind}")
    if data.rows < _FEWEST_ROWS:
        raise InputError(f"Trainer {kind} needs {_FEWEST_ROWS} rows or more, not {data.rows}.")
    given = (data, params.model_dump(mode="json") | {"task": task}, seed)
    function = f"matchlake.learners.{kind}:fit_here"
    return fit_in_own_process(function, given, params.timeout_seconds, f"Trainer {kind}")


def network_rows(data: TrainingData, task: str, params: NetworkParams, seed: int) -> NetworkRows:
    """Returns the rows of a dense network; the seed decides how they are split."""
    matrix, label = data.matrix.astype(np.float32), np.asarray(data.label)
    scale = data.matrix.std(axis=0)
    label_mean, label_scale, outputs = 0.0, 1.0, 1
    if task == "classification":
        target, labels = class_codes(label)
        outputs = 1 if len(labels) == 2 else len(labels)  # noqa: PLR2004
    else:
        numbers = label.astype(np.float64)
        label_mean, label_scale = float(numbers.mean()), float(numbers.std())
        target = ((numbers - label_mean) / label_scale).astype(np.float32)
    order = np.random.default_rng(seed).permutation(data.rows)
    count = min(data.rows - 1, max(1, round(data.rows * params.validation_fraction)))
    held_out, kept = order[:count], np.sort(order[count:])
    return NetworkRows(
        *(matrix[kept], target[kept], matrix[held_out], target[held_out]),
        data.matrix.mean(axis=0).astype(np.float32),
        np.where(scale > 0, scale, 1.0).astype(np.float32),
        *(label_mean, label_scale, outputs),
    )


def user_network(data: TrainingData, params: NetworkParams, task: str, seed: int, on: Any) -> Any:
    """Returns the network of the user's function, which gets classes as codes."""
    module, _, name = (params.function or "").partition(":")
    label = np.asarray(data.label)
    coded = class_codes(label)[0] if task == "classification" else label.astype(np.float64)
    function = getattr(import_module(module), name)
    return function(TrainingData(data.matrix, data.columns, coded), params.params, seed, on)


def graph_head(
    graph: Any,
    data: TrainingData,
    task: str,
    score: Callable[[Singles], npt.NDArray[Any]],
    source: Folder | None = None,
) -> GraphHead:
    """Returns the head of an ONNX model, after comparing its scores with those of `score`.

    Raises InputError if the number of scores is wrong, or the scores differ by more than TOLERANCE.
    """
    sample = data.matrix[:_SAMPLE]
    expected = np.asarray(score(sample.astype(np.float32)), np.float64).reshape(len(sample), -1)
    labels = class_codes(np.asarray(data.label))[1] if task == "classification" else None
    allowed = {1: "identity"} if labels is None else {len(labels): "softmax"}
    allowed |= {1: "logit"} if labels is not None and len(labels) == 2 else {}  # noqa: PLR2004
    width = expected.shape[1]
    if width not in allowed:
        raise InputError(
            f"The network gives {width} score(s) per row; it must give "
            f"{' or '.join(map(str, sorted(allowed)))}. For classes these are log odds."
        )
    head = GraphHead.model_validate(
        {
            "columns": data.columns,
            "labels": labels,
            "link": allowed[width],
            "graph": base64.b64encode(_plain(graph)).decode(),
            "source": source,
        }
    )
    if not np.isfinite(expected).all():
        raise InputError(
            "The network gives scores that are not finite. Choose a smaller learning_rate."
        )
    apart = np.abs(head.scores(sample) - expected) / np.maximum(1.0, np.abs(expected))
    if apart.max() > TOLERANCE:
        raise InputError(
            f"The scores of the ONNX graph differ from the network by {apart.max():.3g}; "
            f"{TOLERANCE:g} is allowed."
        )
    return head


def _plain(graph: Any) -> bytes:
    """Returns the model without the exporter's notes, which contain paths of this machine."""
    graph.doc_string = graph.producer_name = graph.producer_version = ""
    del graph.metadata_props[:]
    inner = graph.graph
    for each in (inner, *inner.node, *inner.initializer, *inner.value_info, *inner.input):
        each.doc_string = ""
        if hasattr(each, "metadata_props"):
            del each.metadata_props[:]
    return bytes(graph.SerializeToString(deterministic=True))


def best_epoch(losses: list[float], patience: int) -> tuple[bool, bool]:
    """Returns whether the last epoch is the best, and whether the fit ends now.

    Raises InputError for a loss that is not a number.
    """
    if not np.isfinite(losses[-1]):
        raise InputError(
            f"The loss of epoch {len(losses)} is {losses[-1]}. Choose a smaller learning_rate, or "
            "scale the features."
        )
    best = int(np.argmin(losses))
    return best == len(losses) - 1, len(losses) - 1 - best >= patience
