"""Trees, forests and gradient boosting of scikit-learn as heads."""

from typing import Any

import numpy as np
import numpy.typing as npt

from matchlake.formulas.heads import TreesHead
from matchlake.learners.forest import Forest, without_rounding
from matchlake.learners.protocol import TrainingData

Labels = tuple[str, ...] | None


def forest_head(model: Any, data: TrainingData, labels: Labels) -> TreesHead:
    """A tree, or the mean of the trees of a forest."""
    trees = [each.tree_ for each in getattr(model, "estimators_", [model])]
    forest = Forest(data.columns, labels, len(labels or (0,)))
    for tree in trees:
        forest.add(_nodes(tree), tree.value[:, 0, :], 0)
    return forest.head(
        aggregate="mean",
        base=(0.0,) * len(labels or (0,)),
        missing="routed" if np.isnan(data.matrix).any() else "null",
    )


def boosting_head(model: Any, data: TrainingData, labels: Labels) -> TreesHead:
    """The sum of the trees of GradientBoosting, with their learning rate."""
    forest = Forest(data.columns, labels)
    # With exponential loss the log odds are twice the score. A factor of two does not round.
    factor = 2.0 if model.loss == "exponential" else 1.0
    for stage in model.estimators_:
        for target, each in enumerate(stage):
            values = model.learning_rate * each.tree_.value[:, 0, 0] * factor
            forest.add(_nodes(each.tree_), values, target)
    first = np.zeros((1, len(data.columns)), np.float32)
    base = model._raw_predict_init(first)[0] * factor  # noqa: SLF001 - no public name has it
    return forest.head(link=_link(labels), base=tuple(base.tolist()), missing="null")


def histogram_head(model: Any, data: TrainingData, labels: Labels) -> TreesHead:
    """The sum of the trees of HistGradientBoosting."""
    forest = Forest(data.columns, labels)
    for stage in model._predictors:  # noqa: SLF001 - no public name has the trees
        for target, predictor in enumerate(stage):
            nodes = predictor.nodes
            leaf = nodes["is_leaf"].astype(bool)
            forest.add(
                {
                    "column": np.where(leaf, -1, nodes["feature_idx"]),
                    "threshold": nodes["num_threshold"],
                    "missing_left": nodes["missing_go_to_left"],
                    "left": nodes["left"].astype(np.int64),
                    "right": nodes["right"].astype(np.int64),
                },
                nodes["value"],
                target,
            )
    base = np.ravel(model._baseline_prediction)  # noqa: SLF001
    link = "exp" if getattr(model, "loss", "") in ("poisson", "gamma") else _link(labels)
    return forest.head(link=link, base=tuple(base.tolist()))


def _link(labels: Labels) -> str:
    if labels is None:
        return "identity"
    return "logit" if len(labels) == 2 else "softmax"  # noqa: PLR2004


def _nodes(tree: Any) -> dict[str, npt.NDArray[Any]]:
    leaf = tree.children_left < 0
    return {
        "column": np.where(leaf, -1, tree.feature),
        "threshold": without_rounding(np.where(leaf, 0.0, tree.threshold)),
        "missing_left": tree.missing_go_to_left,
        "left": tree.children_left,
        "right": tree.children_right,
    }
