"""SMOTE and class weights: neighbours by brute force, segments, votes, counts, and refusals."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy.stats import ks_2samp
from sklearn.linear_model import LogisticRegression
from sklearn.utils.class_weight import compute_sample_weight

from matchlake.engine.neighbors import nearest_rows
from matchlake.errors import InputError, ParameterError
from matchlake.learners.balance import balanced, row_counts
from matchlake.learners.params import ClassWeightsParams, LightgbmParams, SklearnParams, SmoteParams
from matchlake.learners.protocol import TrainingData
from matchlake.learners.registry import fit_head
from matchlake.learners.smote import Slots, smote, synthetic_rows

RANDOM = np.random.default_rng(11)
COLUMNS = ("a", "b", "whole", "red", "green", "blue")
CATEGORY = [(3, 4, 5)]


def by_brute_force(rows: Any, k: int, codes: Any = None, penalty: float = 0.0) -> np.ndarray:
    found = []
    for own in range(len(rows)):
        apart = np.zeros(len(rows))
        for c in range(rows.shape[1]):
            apart += (rows[:, c] - rows[own, c]) ** 2
        for c in range(0 if codes is None else codes.shape[1]):
            apart += np.where(codes[:, c] != codes[own, c], penalty, 0.0)
        apart[own] = np.inf
        found.append(np.argsort(apart, kind="stable")[:k])
    return np.array(found)


@pytest.mark.parametrize(
    "rows",
    [
        RANDOM.normal(size=(900, 12)),
        np.round(RANDOM.normal(size=(900, 2)), 1),  # many ties and duplicates
        RANDOM.normal(size=(900, 3)) + 1e9,
        RANDOM.normal(size=(900, 3)) * [1e-200, 1.0, 1e8],
        np.ones((60, 2)),
        np.vstack([RANDOM.normal(size=(500, 4)), [[1e7] * 4]]),  # one row far away
    ],
    ids=["plain", "ties", "offset", "scales", "equal", "outlier"],
)
def test_neighbours_are_those_of_brute_force(rows: np.ndarray) -> None:
    assert (nearest_rows(rows, 5) == by_brute_force(rows, 5)).all()


def test_neighbours_count_categories() -> None:
    rows = RANDOM.normal(size=(700, 3))
    codes = RANDOM.integers(0, 4, (700, 2)).astype(np.int32)
    expected = by_brute_force(rows, 6, codes, 0.8)
    assert (nearest_rows(rows, 6, codes, 0.8) == expected).all()


def data(rare: int = 40, seed: int = 0) -> TrainingData:
    random = np.random.default_rng(seed)
    rows = 300 + rare
    color = np.eye(3)[random.integers(0, 3, rows)]
    numbers = random.normal(size=(rows, 2)) + 1e3
    matrix = np.column_stack([numbers, random.integers(0, 9, rows), color])
    label = np.array(["many"] * 300 + ["rare"] * rare, object)
    order = random.permutation(rows)
    return TrainingData(matrix[order], COLUMNS, label[order])


def test_every_synthetic_row_lies_between_a_row_and_a_neighbour_with_a_voted_category() -> None:
    before = data()
    after = smote(before, SmoteParams(), 3, CATEGORY)
    own = before.matrix[before.label == "rare"]
    made = after.matrix[before.rows :]
    assert (after.matrix[: before.rows] == before.matrix).all()
    assert len(made) == 260
    assert set(after.label[before.rows :]) == {"rare"}
    assert (made[:, 2] == np.floor(made[:, 2])).all()
    assert (made[:, 3:].sum(axis=1) == 1).all()
    numbers, colors = own[:, :3], own[:, 3:].argmax(axis=1).astype(np.int32)
    penalty = np.median(numbers.std(axis=0)) ** 2
    neighbors = by_brute_force(numbers, 5, colors[:, None], penalty)
    for row in made:
        assert any(
            _is_between(row[:2], own[base][:2], own[other][:2])
            and np.bincount(colors[neighbors[base]], minlength=3)[row[3:].argmax()]
            == np.bincount(colors[neighbors[base]]).max()
            for base in range(len(own))
            for other in neighbors[base]
        )


def _is_between(row: np.ndarray, one: np.ndarray, other: np.ndarray) -> bool:
    step = (row - one) @ (other - one) / max(float((other - one) @ (other - one)), 1e-300)
    on_line = np.allclose(row, one + step * (other - one), rtol=0, atol=1e-9)
    return bool(on_line and -1e-9 <= step <= 1 + 1e-9)


def test_each_class_gets_its_ratio_and_counts_are_told() -> None:
    random = np.random.default_rng(2)
    label = np.repeat([0, 1, 2], [100, 20, 30])
    before = TrainingData(random.normal(size=(150, 2)), ("a", "b"), label)
    params = SmoteParams(ratio={"1": 0.5, "2": 0.1})
    after = balanced(before, params, 1, ())
    assert np.bincount(np.asarray(after.label)).tolist() == [100, 50, 30]
    assert row_counts(before, after) == {
        "rows/0": 100,
        "rows/1": 20,
        "rows/2": 30,
        "synthetic_rows/1": 30,
    }


def test_a_seed_decides_and_more_rows_begin_with_the_same_ones() -> None:
    before = data()
    one, again, other = (smote(before, SmoteParams(), seed, CATEGORY) for seed in (1, 1, 2))
    assert (one.matrix == again.matrix).all()
    assert (one.matrix != other.matrix).any()
    own, slots = before.matrix[before.label == "rare"], Slots.of(6, CATEGORY)
    few, many = (synthetic_rows(own, count, 5, slots, (1, 1)) for count in (20, 50))
    assert (few == many[:20]).all()


@pytest.mark.parametrize(
    ("changed", "params", "message"),
    [
        ({"rare": 5}, SmoteParams(), "neighbors=5 needs 6 rows of a class, and the class rare"),
        ({"rare": 1}, SmoteParams(), "The class rare has a single row"),
        ({"nan": True}, SmoteParams(), "takes no missing values.*: b"),
        ({"huge": np.inf}, SmoteParams(), "takes no infinite values, .* above 1e.150: b"),
        ({"huge": -1e200}, SmoteParams(), "takes no infinite values, .* above 1e.150: b"),
        ({"weights": True}, SmoteParams(), "SMOTE makes no weights"),
        ({"numbers": False}, SmoteParams(), "there is no numeric feature"),
        ({}, SmoteParams(ratio={"rear": 1.0}), "no class 'rear'. Did you mean rare"),
    ],
)
def test_what_cannot_be_balanced_is_refused(
    changed: dict[str, Any], params: SmoteParams, message: str
) -> None:
    before = data(rare=changed.get("rare", 40))
    if "nan" in changed:
        before.matrix[:, 1] = np.nan
    before.matrix[7, 1] = changed.get("huge", before.matrix[7, 1])
    if "weights" in changed:
        before = replace(before, weights=np.ones(before.rows))
    groups = CATEGORY if changed.get("numbers", True) else [(0,), (1,), (2,), (3, 4, 5)]
    with pytest.raises((InputError, ParameterError), match=message):
        smote(before, params, 1, groups)


def test_class_weights_are_those_of_scikit_learn_and_reach_the_estimators() -> None:
    before = data()
    weighted = balanced(before, ClassWeightsParams(), 0, ())
    np.testing.assert_allclose(weighted.weights, compute_sample_weight("balanced", before.label))
    given = balanced(before, ClassWeightsParams(weights={"rare": 4.0}), 0, ())
    assert set(zip(before.label, given.weights, strict=True)) == {("many", 1.0), ("rare", 4.0)}
    with pytest.raises(ParameterError, match="no class 'seldom'"):
        balanced(before, ClassWeightsParams(weights={"seldom": 4.0}), 0, ())
    params = SklearnParams(estimator="LogisticRegression", params={"max_iter": 5000})
    head = fit_head(weighted, params, "classification", 1)
    theirs = LogisticRegression(max_iter=5000, class_weight="balanced", random_state=1)
    theirs.fit(before.matrix, before.label)
    chances = head.numpy(before.matrix)["probabilities"]
    np.testing.assert_allclose(chances, theirs.predict_proba(before.matrix), atol=1e-9)
    boosted = LightgbmParams(rounds=5)
    mean = [
        fit_head(each, boosted, "classification", 1).numpy(before.matrix)["probabilities"][:, 1]
        for each in (before, weighted)
    ]
    assert mean[1].mean() > mean[0].mean() + 0.2


SETS: dict[str, dict[str, Any]] = {
    "normal": {},
    "correlated": {"mix": True},
    "skewed": {"power": True},
    "clusters": {"clusters": True},
    "few rows": {"rows": 30},
    "categories": {"codes": True},
}


@pytest.mark.soak
@pytest.mark.parametrize("name", SETS)
def test_synthetic_rows_are_distributed_as_those_of_imbalanced_learn(name: str) -> None:
    """Kolmogorov and Smirnov per column, and a classifier that cannot tell the two apart."""
    from imblearn.over_sampling import SMOTE, SMOTENC  # noqa: PLC0415
    from sklearn.ensemble import HistGradientBoostingClassifier  # noqa: PLC0415
    from sklearn.metrics import roc_auc_score  # noqa: PLC0415
    from sklearn.model_selection import cross_val_predict  # noqa: PLC0415

    chosen = SETS[name]
    random = np.random.default_rng(len(name))
    rare = chosen.get("rows", 400)
    own = random.normal(size=(rare, 4))
    own = own @ random.normal(size=(4, 4)) if "mix" in chosen else own
    own = np.exp(own) if "power" in chosen else own
    own = own + 8 * random.integers(0, 2, (rare, 1)) if "clusters" in chosen else own
    if "codes" in chosen:
        own[:, 3] = random.integers(0, 3, rare)
    count = 6000
    matrix = np.vstack([random.normal(size=(count + rare, 4)), own])
    if "codes" in chosen:
        matrix[:, 3] = np.round(np.abs(matrix[:, 3])) % 3
    label = np.repeat([0, 1], [count + rare, rare])
    theirs = SMOTENC([3], random_state=1) if "codes" in chosen else SMOTE(random_state=1)
    expected = theirs.fit_resample(matrix, label)[0][len(matrix) :]
    groups = [(3,)] if "codes" in chosen else []
    before = TrainingData(matrix, ("a", "b", "c", "d"), label)
    found = smote(before, SmoteParams(), 1, groups).matrix[len(matrix) :]
    assert len(found) == len(expected) == count
    for one, other in zip(found.T, expected.T, strict=True):
        assert ks_2samp(one, other).pvalue > 0.01 / 4
    both = np.vstack([found, expected])
    side = np.repeat([0, 1], count)
    chances = cross_val_predict(
        HistGradientBoostingClassifier(max_iter=30), both, side, method="predict_proba", cv=5
    )[:, 1]
    assert roc_auc_score(side, chances) <= 0.52
