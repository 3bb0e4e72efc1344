"""Checks that the lists of a tree model describe trees."""

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from matchlake.formulas.heads.trees import TreesHead


def check_forest(head: "TreesHead") -> None:
    """Raises ValueError if the lists of a tree model do not fit each other.

    Children must have higher numbers than their parents, so that there are no cycles.
    """
    _check_scores(head)
    count = len(head.column)
    for name in ("threshold", "missing_left", "left", "right"):
        if len(getattr(head, name)) != count:
            raise ValueError(f"{name} has {len(getattr(head, name))} nodes, and column has {count}")
    if max(head.roots) >= count:
        raise ValueError(f"a root is out of range: there are {count} nodes")
    column, left, right = (np.array(each) for each in (head.column, head.left, head.right))
    if column.max() >= len(head.columns):
        raise ValueError(f"a node reads column {column.max()} of {len(head.columns)}")
    inner, own = column >= 0, np.arange(count)
    children = np.concatenate([left[inner], right[inner]])
    parents = np.concatenate([own[inner], own[inner]])
    if (children <= parents).any() or (children >= count).any():
        raise ValueError("a child must be one of the nodes after its parent")
    if len(np.unique(np.concatenate([children, head.roots]))) != count:
        raise ValueError("each node must be a root, or the child of one node")
    if len(children) + len(head.roots) != count:
        raise ValueError("a node is a child twice, or is both a root and a child")
    leaves = len(head.values) // head.width
    if len(head.values) % head.width or (left[~inner] >= leaves).any():
        raise ValueError(f"a leaf must be one of the {leaves} leaves with {head.width} value(s)")


def _check_scores(head: "TreesHead") -> None:
    count = len(head.labels or ())
    expected = {"logit": 1, "exp": 1}.get(head.link, count or 1)
    if (head.link in ("logit", "softmax")) != bool(count) and head.link != "identity":
        raise ValueError(f"the link {head.link} needs labels, but only classifications have labels")
    if head.link == "logit" and count != 2:  # noqa: PLR2004
        raise ValueError(f"the link logit is for two labels, not {count}")
    if len(head.base) != expected:
        raise ValueError(f"base must be for {expected} score(s), not {len(head.base)}")
    if head.width not in (1, expected):
        raise ValueError(f"a leaf has 1 or {expected} value(s), not {head.width}")
    if len(head.targets) != len(head.roots):
        raise ValueError("targets needs one score per root")
    allowed = set(range(expected)) if head.width == 1 else {0}
    if not set(head.targets) <= allowed:
        raise ValueError(f"a target must be one of the scores {sorted(allowed)}")
    if head.width == 1 and set(head.targets) != allowed:
        raise ValueError("each score needs a tree")
    if head.aggregate == "mean" and head.width != expected:
        raise ValueError("a mean needs a value per score in each leaf")
