"""Trees in ONNX decide as NumPy does, for missing values and values on a threshold, too."""

import numpy as np
import pytest
from tests.support.scoring_cases import random_trees

from matchlake.formulas.heads import TreesHead
from matchlake.model_store.onnx_session import scorer, scores_graph

NAMES = ("a", "b", "c")
SHAPES = [("identity", None, 1), ("logit", ("x", "y"), 1), ("softmax", ("x", "y", "z"), 3)]


def matrix(random: np.random.Generator) -> np.ndarray:
    made = np.round(random.normal(size=(200, 3)), 1)
    made[random.random(made.shape) < 0.2] = np.nan
    made[0], made[1] = np.inf, -np.inf
    return made


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape[0])
def test_scores_equal_numpy(shape: tuple[str, tuple[str, ...] | None, int]) -> None:
    heads: list[TreesHead] = []
    for seed in range(12):
        random = np.random.default_rng(seed)
        rows = matrix(random)
        head = random_trees(NAMES, rows, random, shape)
        found, expected = scorer(head, scores_graph(head))(rows), head.numpy(rows)
        np.testing.assert_array_equal(found["prediction"], expected["prediction"])
        if shape[1]:
            np.testing.assert_allclose(
                found["probabilities"], expected["probabilities"], rtol=1e-13, atol=1e-15
            )
        heads.append(head)
    assert {head.missing for head in heads} == {"null", "routed"}
    assert any(max(head.missing_left) for head in heads)
