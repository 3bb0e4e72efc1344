"""Trees as the ONNX operator TreeEnsemble, in double."""

from typing import TYPE_CHECKING, Any

import numpy as np

from matchlake.formulas.heads.sums import sum_onnx

if TYPE_CHECKING:
    from matchlake.formulas.heads.trees import TreesHead
    from matchlake.formulas.onnx import Graph

_AT_MOST = 0
"""The mode of a node that compares with `<=`."""
_SUM = 1


def onnx_tree_scores(head: "TreesHead", graph: "Graph", matrix: str) -> str:
    """The scores (rows, scores) of the matrix (rows, columns), both by their names.

    The operator itself adds up leaves with one value. For leaves with several values it returns
    their positions, and the graph adds up the values in the order of the other engines.
    """
    attributes = _ensemble(head)
    trees = len(head.roots)
    if head.width == 1:
        weights, targets = head.leaf_values[:, 0], np.array(head.targets)
        count = len(head.base)
    else:
        weights = np.arange(len(head.leaf_values), dtype=np.float64)
        targets, count = np.arange(trees), trees
    tree_of_leaf, position = attributes.pop("leaf_tree"), attributes.pop("leaf_position")
    found = graph.add(
        "TreeEnsemble",
        matrix,
        domain="ai.onnx.ml",
        aggregate_function=_SUM,
        post_transform=0,
        n_targets=count,
        leaf_targetids=targets[tree_of_leaf].tolist(),
        leaf_weights=graph.tensor(weights[position]),
        **attributes | {name: graph.tensor(attributes[name]) for name in _TENSORS},
    )
    if head.width > 1:
        positions = graph.cast(found, "INT64")
        values = graph.add("Gather", graph.constant(head.leaf_values), positions, axis=0)
        turned = graph.add("Transpose", values, perm=[0, 2, 1])
        found = sum_onnx(graph, turned, trees, 2)
    if head.aggregate == "mean":
        found = graph.add("Div", found, graph.double(trees))
    found = graph.add("Add", found, graph.constant(np.array(head.base)))
    if head.missing == "null":
        nan = graph.double(float("nan"))
        found = graph.add("Where", graph.any_missing(matrix), nan, found)
    return found


_TENSORS = ("nodes_splits", "nodes_modes")


def _ensemble(head: "TreesHead") -> dict[str, Any]:
    """Returns the attributes of the operator, which numbers inner nodes and leaves separately.

    A tree of one leaf becomes a node with that leaf on both sides.
    """
    nodes = head.nodes
    inner: dict[int, int] = {}
    for root in head.roots:
        _number(head, root, inner)
    order = list(inner)
    column = np.array([max(0, head.column[node]) for node in order])
    children = {
        side: [
            head.left[n] if head.column[n] >= 0 and side == "left" else
            head.right[n] if head.column[n] >= 0 else n
            for n in order
        ]
        for side in ("left", "right")
    }  # fmt: skip
    tree_of_node = _trees(head, order)
    leaves: list[int] = []
    leaf_tree: list[int] = []
    made: dict[str, Any] = {}
    for side, name in (("left", "true"), ("right", "false")):
        ids, flags = [], []
        for node, child in zip(order, children[side], strict=True):
            is_leaf = head.column[child] < 0
            flags.append(int(is_leaf))
            ids.append(len(leaves) if is_leaf else inner[child])
            if is_leaf:
                leaves.append(int(nodes.values[child]))
                leaf_tree.append(tree_of_node[node])
        made |= {f"nodes_{name}nodeids": ids, f"nodes_{name}leafs": flags}
    return made | {
        "tree_roots": [inner[root] for root in head.roots],
        "nodes_featureids": column.tolist(),
        "nodes_splits": nodes.threshold[order],
        "nodes_modes": np.full(len(order), _AT_MOST, np.uint8),
        "nodes_missing_value_tracks_true": nodes.missing_left[order].astype(int).tolist(),
        "leaf_tree": np.array(leaf_tree),
        "leaf_position": np.array(leaves),
    }


def _number(head: "TreesHead", root: int, inner: dict[int, int]) -> None:
    """Numbers the inner nodes below `root`, and a root that is a leaf."""
    waiting = [root]
    while waiting:
        node = waiting.pop()
        if head.column[node] < 0 and node != root:
            continue
        inner.setdefault(node, len(inner))
        if head.column[node] >= 0:
            waiting += [head.right[node], head.left[node]]


def _trees(head: "TreesHead", order: list[int]) -> dict[int, int]:
    """The tree of each inner node."""
    tree_of_root = {root: tree for tree, root in enumerate(head.roots)}
    found: dict[int, int] = {}
    tree = 0
    for node in order:
        tree = tree_of_root.get(node, tree)
        found[node] = tree
    return found
