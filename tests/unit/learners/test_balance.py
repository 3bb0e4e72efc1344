"""SMOTE, its kinds, and class weights: neighbours, segments, votes, counts, and refusals."""

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
from matchlake.learners.params import (
    AdasynParams,
    BorderlineSmoteParams,
    ClassWeightsParams,
    LightgbmParams,
    SklearnParams,
    SmoteParams,
    SyntheticRows,
)
from matchlake.learners.protocol import TrainingData
from matchlake.learners.registry import fit_head
from matchlake.learners.smote import Slots, drawn, in_danger, shares, smote, synthetic_rows

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
    expected = by_brute_force(rows, 5)
    assert (nearest_rows(rows, 5) == expected).all()
    some = np.array([len(rows) - 1, 3, 50])
    assert (nearest_rows(rows, 5, chosen=some) == expected[some]).all()


def test_neighbours_count_categories() -> None:
    rows = RANDOM.normal(size=(700, 3))
    codes = RANDOM.integers(0, 4, (700, 2)).astype(np.int32)
    expected = by_brute_force(rows, 6, codes, 0.8)
    assert (nearest_rows(rows, 6, codes, 0.8) == expected).all()
    some = np.arange(0, 700, 9)
    assert (nearest_rows(rows, 6, codes, 0.8, some) == expected[some]).all()


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
    bases = (drawn(np.arange(len(own)), count, (1, 1)) for count in (20, 50))
    few, many = (synthetic_rows(own, base, 5, slots, (1, 1)) for base in bases)
    assert (few == many[:20]).all()


@pytest.mark.parametrize(
    ("changed", "params", "message"),
    [
        ({"rare": 5}, SmoteParams(), "neighbors=5 needs 6 rows of a class, but the class rare"),
        ({"rare": 1}, SmoteParams(), "The class rare has a single row"),
        ({"nan": True}, SmoteParams(), "does not accept missing values.*: b"),
        ({"huge": np.inf}, SmoteParams(), "does not accept infinite values, .* above 1e.150: b"),
        ({"huge": -1e200}, SmoteParams(), "does not accept infinite values, .* above 1e.150: b"),
        ({"weights": True}, SmoteParams(), "SMOTE does not make weights"),
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


def overlapping(classes: int) -> TrainingData:
    """Classes of 400, 60 and 40 rows, the rare ones at the edge of the frequent one."""
    random = np.random.default_rng(classes)
    label = np.repeat(np.arange(classes), [400, 60, 40][:classes])
    matrix = random.normal(size=(len(label), 4)) * [1.0, 3.0, 0.5, 1.0]
    matrix[:, 0] += 2.0 * label
    order = random.permutation(len(label))
    return TrainingData(matrix[order], ("a", "b", "c", "d"), label[order])


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("neighbors", [5, 10])
def test_rows_in_danger_are_those_of_imbalanced_learn(classes: int, neighbors: int) -> None:
    from imblearn.over_sampling import BorderlineSMOTE  # noqa: PLC0415

    before = overlapping(classes)
    theirs = BorderlineSMOTE(m_neighbors=neighbors, random_state=1)
    labels = theirs.fit_resample(before.matrix, before.label)[1]
    slots = Slots.of(4, ())
    for rare in range(1, classes):
        own = np.flatnonzero(before.label == rare)
        found = own[in_danger(before, own, neighbors, slots)]
        assert found.tolist() == theirs.in_danger_indices[rare].tolist()
        assert 0 < len(found) < len(own)
    made = smote(before, BorderlineSmoteParams(danger_neighbors=neighbors), 1)
    assert np.bincount(np.asarray(made.label)).tolist() == np.bincount(labels).tolist()


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("ratio", [1.0, 0.3])
def test_adasyn_makes_as_many_rows_beside_each_row_as_imbalanced_learn(
    classes: int, ratio: float
) -> None:
    from imblearn.over_sampling import ADASYN  # noqa: PLC0415

    before = overlapping(classes)
    wanted = {rare: int(400 * ratio) for rare in range(1, classes)}
    # With steps of 0, a synthetic row is the row beside which it is made.
    theirs = ADASYN(sampling_strategy=wanted, random_state=_NoSteps(1))
    expected, labels = theirs.fit_resample(before.matrix, before.label)
    made = smote(before, AdasynParams(ratio=ratio), 1)
    for rare, count in wanted.items():
        own = np.flatnonzero(before.label == rare)
        found = shares(before, own, count - len(own), 5, Slots.of(4, ()))
        behind = expected[before.rows :][labels[before.rows :] == rare]
        assert found.tolist() == [
            int((behind == before.matrix[row]).all(axis=1).sum()) for row in own
        ]
        assert int((made.label == rare).sum()) == len(own) + found.sum()


class _NoSteps(np.random.RandomState):
    def uniform(self, *_: Any, size: Any = None) -> Any:
        return np.zeros(size)


@pytest.mark.parametrize("params", [BorderlineSmoteParams(), AdasynParams()], ids=["border", "ada"])
def test_kinds_of_smote_put_rows_beside_chosen_ones_only(params: SyntheticRows) -> None:
    """With one neighbour, each synthetic row lies between a chosen row and the nearest one."""
    before = data(rare=60, seed=4)
    params = params.model_copy(update={"neighbors": 1})
    own = np.flatnonzero(before.label == "rare")
    after = balanced(before, params, 3, CATEGORY)
    again = balanced(before, params, 3, CATEGORY)
    made = after.matrix[before.rows :]
    assert (again.matrix == after.matrix).all()
    assert (after.matrix[: before.rows] == before.matrix).all()
    assert set(after.label[before.rows :]) == {"rare"}
    assert (made[:, 3:].sum(axis=1) == 1).all()
    codes = before.matrix[:, 3:].argmax(axis=1).astype(np.int32)[:, None]
    numbers = before.matrix[:, :3]
    penalty = np.median(numbers[own].std(axis=0)) ** 2
    k = params.danger_neighbors if isinstance(params, BorderlineSmoteParams) else 1
    foreign = (before.label[by_brute_force(numbers, k, codes, penalty)] != "rare").sum(axis=1)[own]
    is_border = isinstance(params, BorderlineSmoteParams)
    chosen = (2 * foreign >= k) & (foreign < k) if is_border else foreign > 0
    assert 0 < chosen.sum() < len(own)
    nearest = by_brute_force(numbers[own], 1, codes[own], penalty)[:, 0]
    ends = [(numbers[own[i], :2], numbers[own[nearest[i]], :2]) for i in np.flatnonzero(chosen)]
    assert all(any(_is_between(row[:2], *end) for end in ends) for row in made)


@pytest.mark.parametrize(
    ("shift", "params", "message"),
    [
        (0.0, BorderlineSmoteParams(danger_neighbors=340), "needs 341 rows, but there are 340"),
        (0.0, BorderlineSmoteParams(neighbors=40), "neighbors=40 needs 41 rows of a class"),
        (0.0, AdasynParams(neighbors=40), "neighbors=40 needs 41 rows of a class"),
        (1e6, BorderlineSmoteParams(), "no row of the class rare is in danger"),
        (1e6, AdasynParams(), "no row of the class rare has a row of another class among its 5"),
        (
            0.0,
            AdasynParams(ratio=41 / 300),
            "1 rows for the class rare are at most half a row for each of its 40",
        ),
        (np.nan, BorderlineSmoteParams(), "Borderline-SMOTE does not accept missing values"),
        (np.nan, AdasynParams(), "ADASYN does not accept missing values, .*: a. Give them another"),
        (
            np.inf,
            AdasynParams(),
            "ADASYN does not accept infinite values, or absolute values above 1e.150: a",
        ),
        (-1e200, BorderlineSmoteParams(), "Borderline-SMOTE does not accept infinite values"),
        (0.0, AdasynParams(ratio={"rear": 1.0}), "no class 'rear'. Did you mean rare"),
    ],
)
def test_what_a_kind_of_smote_cannot_balance_is_refused(
    shift: float, params: SyntheticRows, message: str
) -> None:
    before = data()
    before.matrix[before.label == "rare", 0] += shift
    with pytest.raises((InputError, ParameterError), match=message):
        balanced(before, params, 1, CATEGORY)


@pytest.mark.parametrize("params", [BorderlineSmoteParams(), AdasynParams()], ids=["border", "ada"])
def test_kinds_of_smote_take_equal_rows_and_hard_scales(params: SyntheticRows) -> None:
    random = np.random.default_rng(3)
    for scale in ([0.0, 0.0], [1e-300, 1e-300], [1e140, 1e-200]):
        label = np.repeat([0, 1], [200, 30])[random.permutation(230)]
        before = TrainingData(random.integers(0, 3, (230, 2)) * scale, ("a", "b"), label)
        found = smote(before, params, 1)
        assert np.isfinite(found.matrix).all()
        assert found.rows > before.rows
        assert not (found.label[230:] == 0).any()


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
