"""Collects the trees of a library into the lists of a tree head."""

from typing import Any

import numpy as np
import numpy.typing as npt

from matchlake.formulas.heads import TreesHead


class Forest:
    """The nodes of trees, added tree by tree."""

    def __init__(
        self, columns: tuple[str, ...], labels: tuple[str, ...] | None, width: int = 1
    ) -> None:
        self._head: dict[str, Any] = {"columns": columns, "labels": labels, "width": width}
        self._width = width
        self._parts: dict[str, list[npt.NDArray[Any]]] = {}
        self._values: list[npt.NDArray[np.float64]] = []
        self._roots: list[int] = []
        self._targets: list[int] = []
        self._nodes = self._leaves = 0

    def add(self, nodes: dict[str, npt.NDArray[Any]], values: npt.ArrayLike, target: int) -> None:
        """Adds a tree whose root is its first node, and whose children follow their parents.

        `nodes` has column (-1 for a leaf), threshold, missing_left, left and right. The threshold
        infinity sends all values left that are not missing. `values` has shape (nodes, width); only
        the values of leaves are used.
        """
        leaf = nodes["column"] < 0
        position = np.cumsum(leaf) - 1 + self._leaves
        self._append("column", np.where(leaf, -1, nodes["column"]))
        self._append("threshold", np.where(leaf, 0.0, nodes["threshold"]))
        self._append("missing_left", ~leaf & nodes["missing_left"].astype(bool))
        self._append("left", np.where(leaf, position, nodes["left"] + self._nodes))
        self._append("right", np.where(leaf, 0, nodes["right"] + self._nodes))
        self._values.append(np.asarray(values, np.float64).reshape(len(leaf), -1)[leaf].ravel())
        self._roots.append(self._nodes)
        self._targets.append(target)
        self._nodes += len(leaf)
        self._leaves += int(leaf.sum())

    def _append(self, name: str, values: npt.NDArray[Any]) -> None:
        self._parts.setdefault(name, []).append(values)

    def head(self, **more: Any) -> TreesHead:
        """The head, with its link, base and further fields."""
        lists = {name: np.concatenate(parts).tolist() for name, parts in self._parts.items()}
        lists["threshold"] = [None if each == np.inf else each for each in lists["threshold"]]
        lists |= {"values": np.concatenate(self._values).tolist()}
        lists |= {"roots": self._roots, "targets": self._targets}
        return TreesHead.model_validate(
            self._head | more | {name: tuple(values) for name, values in lists.items()}
        )


def without_rounding(thresholds: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Returns thresholds for doubles, equivalent to `thresholds` for values rounded to float32.

    scikit-learn rounds features to float32 before its trees compare them. Rounding keeps the order,
    so all doubles up to a certain number go left. That number is the threshold.
    """
    below = thresholds.astype(np.float32)
    down = np.nextafter(below, np.float32(-np.inf))
    below = np.where(below.astype(np.float64) > thresholds, down, below).astype(np.float32)
    above = np.nextafter(below, np.float32(np.inf))
    middle = (below.astype(np.float64) + above.astype(np.float64)) / 2
    ties_go_down = below.view(np.int32) % 2 == 0
    return np.where(ties_go_down, middle, np.nextafter(middle, -np.inf))
