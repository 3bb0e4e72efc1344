"""Gradient boosting by XGBoost, fitted in one process, as an exact head.

XGBoost rounds features to 32 bits, compares them with `<`, and adds up leaves in 32 bits. The head
has equivalent thresholds for doubles, and adds up in 64 bits. Its scores differ by at most 1e-6.
"""

import json
import math
from typing import Any

import numpy as np
import numpy.typing as npt

from matchlake.errors import InputError, ParameterError
from matchlake.formulas.heads import Task, TreesHead
from matchlake.learners.boosting import Library, chosen_params
from matchlake.learners.checks import FLOAT32_MAX, check_features
from matchlake.learners.forest import Forest, without_rounding
from matchlake.learners.params import XgboostParams
from matchlake.learners.protocol import OnProgress, TrainingData, targets_of

OBJECTIVES = {
    "reg:squarederror": "identity", "reg:squaredlogerror": "identity",
    "reg:absoluteerror": "identity", "reg:pseudohubererror": "identity",
    "count:poisson": "exp", "reg:gamma": "exp", "reg:tweedie": "exp",
    "binary:logistic": "logit", "multi:softprob": "softmax",
}  # fmt: skip
"""The supported objectives and their links."""
PARAMETERS = frozenset(
    """
    objective booster learning_rate gamma max_depth min_child_weight max_delta_step subsample
    sampling_method colsample_bytree colsample_bylevel colsample_bynode reg_lambda reg_alpha
    tree_method scale_pos_weight grow_policy max_leaves max_bin num_parallel_tree
    monotone_constraints interaction_constraints sample_type normalize_type rate_drop one_drop
    skip_drop tweedie_variance_power huber_slope base_score nthread device
    """.split()  # noqa: SIM905 - one name per line would be a page
)
"""The parameters whose models a head can represent, by their full names."""
LIBRARY = Library("XGBoost", OBJECTIVES, PARAMETERS, "booster", ("gbtree", "dart"))


def fit(
    data: TrainingData,
    params: XgboostParams,
    task: Task,
    seed: int,
    on_progress: OnProgress | None = None,
) -> TreesHead:
    """Fits a booster and returns its trees.

    Raises ParameterError without XGBoost, and for a parameter or an objective that a head cannot
    represent. Raises InputError for rows that XGBoost refuses.
    """
    try:
        import xgboost  # noqa: PLC0415 - an optional package
    except ImportError:
        raise ParameterError(
            "Trainer xgboost needs XGBoost, which is not installed. Install it where the job runs: "
            "pip install xgboost-cpu, or xgboost for GPUs."
        ) from None
    check_features(data, "XGBoost", missing=True, largest=FLOAT32_MAX)
    label, labels = targets_of(data, task)
    chosen = chosen_params(LIBRARY, params.params, labels) | {"seed": seed, "verbosity": 0}
    try:
        rows = xgboost.DMatrix(data.matrix, label, weight=data.weights)
        callbacks = [_reporting(on_progress)] if on_progress else []
        booster = xgboost.train(chosen, rows, params.rounds, callbacks=callbacks)
    except (xgboost.core.XGBoostError, TypeError, ValueError) as error:
        reason = str(error).strip().splitlines()[0].rpartition("] ")[2]
        raise InputError(f"XGBoost could not be fitted: {reason}") from None
    return booster_head(booster, data.columns, labels)


def _reporting(on_progress: OnProgress) -> Any:
    import xgboost  # noqa: PLC0415

    class Reporting(xgboost.callback.TrainingCallback):  # type: ignore[misc,unused-ignore]
        def after_iteration(self, model: Any, epoch: int, evals_log: Any) -> bool:
            del model, evals_log
            on_progress("round", epoch + 1)
            return False

    return Reporting()


def booster_head(
    booster: Any, columns: tuple[str, ...], labels: tuple[str, ...] | None
) -> TreesHead:
    """The trees of a booster, with its base score."""
    learner = json.loads(booster.save_raw("json"))["learner"]
    boosting = learner["gradient_booster"]
    model = boosting.get("gbtree", boosting)["model"]
    weights = boosting.get("weight_drop") or [1.0] * len(model["trees"])
    forest = Forest(columns, labels)
    for tree, target, weight in zip(model["trees"], model["tree_info"], weights, strict=True):
        nodes, values = _nodes(tree)
        forest.add(nodes, values * weight, target)
    link = OBJECTIVES[learner["objective"]["name"]]
    return forest.head(link=link, base=_base(learner, link, len(labels or ())))


def _base(learner: dict[str, Any], link: str, classes: int) -> tuple[float, ...]:
    """Returns the base score as a raw score; the file stores it as a prediction."""
    text = str(learner["learner_model_param"]["base_score"])
    values = [float(each) for each in text.strip("[]").split(",")]
    if link == "logit":
        return (math.log(values[0]) - math.log1p(-values[0]),)
    if link == "exp":
        return (math.log(values[0]),)
    return tuple(values * classes if link == "softmax" and len(values) == 1 else values)


def _nodes(tree: dict[str, Any]) -> tuple[dict[str, npt.NDArray[Any]], npt.NDArray[np.float64]]:
    """Returns the nodes of a tree, children after their parents, and the values."""
    left, right = (np.array(tree[f"{side}_children"]) for side in ("left", "right"))
    order, waiting = [], [0]
    while waiting:
        node = waiting.pop()
        order.append(node)
        if left[node] >= 0:
            waiting += [int(right[node]), int(left[node])]
    position = np.zeros(len(left), np.int64)
    position[order] = np.arange(len(order))
    leaf = left[order] < 0
    conditions = np.array(tree["split_conditions"], np.float32)[order]
    below = np.nextafter(conditions, np.float32(-np.inf))
    nodes = {
        "column": np.where(leaf, -1, np.array(tree["split_indices"])[order]),
        "threshold": without_rounding(np.where(leaf, 0.0, below.astype(np.float64))),
        "missing_left": np.array(tree["default_left"], bool)[order],
        "left": np.where(leaf, 0, position[left[order]]),
        "right": np.where(leaf, 0, position[right[order]]),
    }
    return nodes, conditions.astype(np.float64)
