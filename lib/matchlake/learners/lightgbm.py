"""Gradient boosting by LightGBM, fitted in one process, as an exact head."""

from typing import Any

import numpy as np
import numpy.typing as npt

from matchlake.errors import InputError
from matchlake.formulas.heads import Task, TreesHead
from matchlake.learners.boosting import Library, chosen_params
from matchlake.learners.checks import check_features
from matchlake.learners.forest import Forest
from matchlake.learners.params import LightgbmParams
from matchlake.learners.protocol import OnProgress, TrainingData, targets_of

OBJECTIVES = {
    "regression": "identity", "regression_l1": "identity", "huber": "identity",
    "fair": "identity", "quantile": "identity", "mape": "identity", "poisson": "exp",
    "gamma": "exp", "tweedie": "exp", "binary": "logit", "multiclass": "softmax",
}  # fmt: skip
"""The supported objectives and their links."""
PARAMETERS = frozenset(
    """
    objective learning_rate num_leaves max_depth min_data_in_leaf min_sum_hessian_in_leaf
    bagging_fraction bagging_freq feature_fraction feature_fraction_bynode extra_trees lambda_l1
    lambda_l2 min_gain_to_split max_bin min_data_in_bin max_delta_step path_smooth alpha fair_c
    poisson_max_delta_step tweedie_variance_power is_unbalance scale_pos_weight boosting drop_rate
    max_drop skip_drop top_rate other_rate num_threads force_col_wise force_row_wise
    boost_from_average use_missing bagging_seed data_sample_strategy feature_fraction_seed
    """.split()  # noqa: SIM905 - one name per line would be a page
)
"""The parameters whose models a head can represent, by their full names."""
LIBRARY = Library("LightGBM", OBJECTIVES, PARAMETERS, "boosting", ("gbdt", "dart", "goss"))


def fit(
    data: TrainingData,
    params: LightgbmParams,
    task: Task,
    seed: int,
    on_progress: OnProgress | None = None,
) -> TreesHead:
    """Fits a booster and returns its trees.

    Raises ParameterError for a parameter or an objective that a head cannot represent. Raises
    InputError for rows that LightGBM refuses.
    """
    import lightgbm  # noqa: PLC0415 - the extra `models`

    check_features(data, "LightGBM", missing=True, largest=np.finfo(np.float64).max)
    label, labels = targets_of(data, task)
    chosen = chosen_params(LIBRARY, params.params, labels)
    chosen |= {"seed": seed, "verbose": -1, "deterministic": True}
    try:
        names = _names(data)
        rows = lightgbm.Dataset(data.matrix, label, weight=data.weights, feature_name=names)
        booster = lightgbm.train(
            chosen, rows, params.rounds, callbacks=[_reporting(on_progress)] if on_progress else []
        )
    except lightgbm.basic.LightGBMError as error:
        raise InputError(f"LightGBM could not be fitted: {error}") from None
    return booster_head(booster, data.columns, labels)


def _names(data: TrainingData) -> list[str]:
    """Returns names made of positions, because LightGBM refuses some characters."""
    return [f"c{i}" for i in range(len(data.columns))]


def _reporting(on_progress: OnProgress) -> Any:
    return lambda env: on_progress("round", env.iteration + 1)


def booster_head(
    booster: Any, columns: tuple[str, ...], labels: tuple[str, ...] | None
) -> TreesHead:
    """Returns the trees of a booster; the leaves of the first tree include the initial score."""
    dump = booster.dump_model()
    count = dump["num_tree_per_iteration"]
    forest = Forest(columns, labels)
    for tree in dump["tree_info"]:
        nodes, values = _flat(tree["tree_structure"])
        forest.add(nodes, values, tree["tree_index"] % count)
    objective = dump["objective"].split()[0]
    return forest.head(link=OBJECTIVES[objective], base=(0.0,) * count)


def _flat(root: dict[str, Any]) -> tuple[dict[str, npt.NDArray[Any]], list[float]]:
    """The nodes of a tree as arrays; children follow their parents."""
    nodes: list[tuple[int, float, bool, int, int]] = []
    values: list[float] = []
    waiting: list[tuple[dict[str, Any], int, int]] = [(root, -1, 0)]
    links: dict[int, list[int]] = {}
    while waiting:
        node, parent, side = waiting.pop()
        own = len(nodes)
        if parent >= 0:
            links[parent][side] = own
        if "split_feature" not in node:
            nodes.append((-1, 0.0, False, 0, 0))
            values.append(float(node["leaf_value"]))
            continue
        links[own] = [0, 0]
        nodes.append((*_split(node), 0, 0))
        values.append(0.0)
        waiting += [(node["right_child"], own, 1), (node["left_child"], own, 0)]
    column, threshold, missing_left, left, right = (
        np.array(each) for each in zip(*nodes, strict=True)
    )
    for node_number, (first, second) in links.items():
        left[node_number], right[node_number] = first, second
    names = ("column", "threshold", "missing_left", "left", "right")
    return dict(zip(names, (column, threshold, missing_left, left, right), strict=True)), values


def _split(node: dict[str, Any]) -> tuple[int, float, bool]:
    """Returns the column, the threshold, and whether a missing value goes left."""
    if node["decision_type"] != "<=" or node["missing_type"] == "Zero":
        raise InputError(
            "LightGBM made a categorical split, or a split that treats zero as missing."
        )
    threshold = float(node["threshold"])
    # If the training data had no missing values, LightGBM treats NaN as 0.
    goes_left = node["default_left"] if node["missing_type"] == "NaN" else threshold >= 0
    return int(node["split_feature"]), threshold, bool(goes_left)
