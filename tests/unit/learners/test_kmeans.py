"""k-means and its sweep against scikit-learn, and the same bits for any order of the rows."""

import logging
import math
import warnings
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError
from sklearn import metrics
from sklearn.cluster import KMeans
from sklearn.datasets import make_blobs

from matchlake.engine.exact_sums import PARTS, add_parts, bounds_of, cut_arrays, total_of
from matchlake.errors import InputError, SchemaError
from matchlake.learners.cluster_measures import measure_clusterings
from matchlake.learners.cluster_rows import MemoryRows
from matchlake.learners.kmeans import ClusterSweep, fit_clusters, sweep_clusters
from matchlake.learners.lloyd import Clustering, run_lloyd
from matchlake.learners.params import KmeansParams
from matchlake.learners.protocol import TrainingData
from matchlake.learners.registry import fit_head

COLUMNS = ("a", "b", "c")
SWEEP = KmeansParams.model_validate({"sweep": {"k": {"low": 2, "high": 7}}})
RANDOM = np.random.default_rng(5)


def blobs(rows: int = 3000, clusters: int = 5, seed: int = 1) -> np.ndarray:
    made = make_blobs(rows, 3, centers=clusters, cluster_std=1.2, random_state=seed)
    return np.asarray(made[0])


def fitted(matrix: np.ndarray, params: KmeansParams = SWEEP, seed: int = 3) -> ClusterSweep:
    columns = COLUMNS[: matrix.shape[1]]
    return fit_clusters(TrainingData(matrix, columns), params, seed)


@pytest.mark.parametrize("offset", [0.0, 1e6])
@pytest.mark.parametrize("k", [2, 5, 9])
def test_the_same_first_centres_give_the_clusters_of_scikit_learn(k: int, offset: float) -> None:
    matrix = blobs() + offset
    first = matrix[RANDOM.choice(len(matrix), k, replace=False)]
    rows = MemoryRows.of(matrix)
    ours = Clustering("ours", rows.scale.scaled(first))
    run_lloyd(rows, [ours], 0.0, 300)
    theirs = KMeans(k, init=first, n_init=1, tol=0.0).fit(matrix)
    assert (ours.iterations, ours.converged) == (theirs.n_iter_, True)
    centers = rows.scale.raw(ours.centers)
    np.testing.assert_allclose(centers, theirs.cluster_centers_, rtol=1e-9)
    nearest = np.square(matrix[:, None] - centers).sum(axis=2).argmin(axis=1)
    assert (nearest == theirs.labels_).all()
    (found,) = measure_clusterings(rows, [ours], rows.scale.scaled(matrix.mean(axis=0)))
    assert found.rows == tuple(np.bincount(theirs.labels_))
    assert found.inertia == pytest.approx(theirs.inertia_, rel=1e-9)
    # scikit-learn's distances lose digits where the offset is large, so it gets rows without one.
    expected = metrics.davies_bouldin_score(matrix - offset, nearest)
    assert found.davies_bouldin == pytest.approx(expected, rel=1e-9)
    assert found.calinski_harabasz == pytest.approx(
        metrics.calinski_harabasz_score(matrix, nearest), rel=1e-9
    )


def test_measures_hold_for_centres_that_stopped_before_they_are_means() -> None:
    matrix = blobs(2000)
    sweep = fitted(matrix, KmeansParams(k=6, init="random", max_iterations=2))
    (found,) = sweep.clusterings
    outputs = found.head.numpy(matrix)
    label, distances = outputs["prediction"], np.sort(outputs["distances"], axis=1)
    assert not found.converged
    silhouette = 1 - distances[:, 0] / distances[:, 1]
    assert found.measures.silhouette == pytest.approx(silhouette.mean(), rel=1e-9)
    assert found.measures.silhouettes[2] == pytest.approx(silhouette[label == 2].mean(), rel=1e-9)
    assert found.measures.inertia == pytest.approx(np.square(distances[:, 0]).sum(), rel=1e-9)
    expected = metrics.davies_bouldin_score(matrix, label)
    assert found.measures.davies_bouldin == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("seed", range(8))
def test_the_silhouette_finds_the_planted_number_of_clusters(seed: int) -> None:
    clusters = 3 + seed % 4
    corners = 6.0 * np.vstack([np.eye(3), -np.eye(3)])
    centers = np.random.default_rng(seed).permutation(corners)[:clusters]
    made = make_blobs(4000, 3, centers=centers, cluster_std=1.0, random_state=seed)
    params = KmeansParams.model_validate({"sweep": {"k": {"low": 2, "high": 9}, "starts": 2}})
    assert fitted(np.asarray(made[0]), params, seed).best.k == clusters


def test_the_inertia_is_that_of_the_best_of_as_many_starts_of_scikit_learn() -> None:
    matrix = blobs(6000, clusters=12, seed=8)
    ours = fitted(matrix, KmeansParams(k=12, starts=5)).best.measures.inertia
    theirs = min(KMeans(12, n_init=1, random_state=s).fit(matrix).inertia_ for s in range(5))
    assert ours <= 1.001 * theirs


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_threads_change_no_bit(threads: int) -> None:
    matrix = blobs(30_000)
    clusterings = []
    for count in (1, threads):
        rows = MemoryRows.of(matrix, count)
        clusterings.append(Clustering("c", rows.scale.scaled(matrix[:7])))
        run_lloyd(rows, clusterings[-1:], 0.0, 10)
    assert clusterings[0].centers.tobytes() == clusterings[1].centers.tobytes()


def test_sums_are_those_of_any_order_to_the_last_bit() -> None:
    values = np.concatenate([RANDOM.normal(size=5000), [1e9, -1e9, 1e-9, 0.0]])
    bound = bounds_of(np.abs(values).max())
    totals = []
    for order in (np.arange(len(values)), RANDOM.permutation(len(values))):
        total = np.zeros(PARTS, np.int64)
        for some in np.array_split(values[order], 7):
            add_parts(total, cut_arrays(some, bound).sum(axis=0), bound)
        totals.append(float(total_of(total[None], bound[None])[0]))
    assert totals[0] == totals[1]
    assert totals[0] == pytest.approx(math.fsum(values), abs=1e-10)


def test_an_empty_cluster_gets_the_farthest_row_as_in_scikit_learn() -> None:
    matrix = blobs(500)
    first = np.vstack([matrix[:2], np.full((1, 3), 1e4)])
    rows = MemoryRows.of(matrix)
    ours = Clustering("ours", rows.scale.scaled(first))
    run_lloyd(rows, [ours], 0.0, 300)
    theirs = KMeans(3, init=first, n_init=1, tol=0.0).fit(matrix)
    assert ours.reseeded == 1
    np.testing.assert_allclose(rows.scale.raw(ours.centers), theirs.cluster_centers_, rtol=1e-9)


@pytest.mark.parametrize(
    ("shift", "factor"), [(1e12, 1.0), (0.0, 1e-300), (0.0, 1e290), (-3e8, 1e-3)]
)
def test_offsets_and_scales_change_no_cluster(shift: float, factor: float) -> None:
    matrix = np.round(blobs(2000), 3)
    moved = matrix * factor + shift
    one, other = (fitted(each, KmeansParams(k=5)).best.measures for each in (matrix, moved))
    assert one.rows == other.rows
    assert other.silhouette == pytest.approx(one.silhouette, rel=1e-4)
    assert other.davies_bouldin == pytest.approx(one.davies_bouldin, rel=1e-4)


def test_one_column_duplicates_and_constants() -> None:
    column = np.repeat([1.0, 5.0, 9.0], 40)[:, None]
    sweep = fitted(column, KmeansParams.model_validate({"sweep": {"k": [2, 3]}}))
    assert sweep.best.k == 3
    assert sorted(sweep.best.head.centers) == [(1.0,), (5.0,), (9.0,)]
    assert sweep.best.measures.inertia == 0.0
    constant = fitted(np.ones((50, 2)), KmeansParams(k=1)).best
    assert (constant.head.centers, constant.measures.rows) == (((1.0, 1.0),), (50,))
    assert np.isnan(constant.measures.silhouette)


def test_k_above_the_distinct_rows(caplog: pytest.LogCaptureFixture) -> None:
    matrix = np.repeat([[1.0, 2.0], [3.0, 4.0], [5.0, 9.0]], 30, axis=0)
    with pytest.raises(InputError, match="k=4 is above the number of distinct rows, 3"):
        fitted(matrix, KmeansParams(k=4))
    with caplog.at_level(logging.WARNING):
        sweep = fitted(matrix)
    assert [each.k for each in sweep.clusterings] == [2, 3]
    assert "k=4, 5, 6, 7 is left out: there are only 3 distinct rows" in caplog.text


def test_bad_rows_are_refused() -> None:
    matrix = blobs(20)
    matrix[3, 1] = np.nan
    with pytest.raises(InputError, match=r"kmeans does not accept missing values.*b"):
        fitted(matrix)
    with pytest.raises(InputError, match="no training rows"):
        fit_head(TrainingData(matrix[:0], COLUMNS), KmeansParams(k=2), "clustering", 1)
    with pytest.raises(InputError, match="no rows to cluster"):
        sweep_clusters(pd.DataFrame({"a": [1.0]})[:0], ["a"], KmeansParams(k=2))
    with pytest.raises(SchemaError, match="age"):
        sweep_clusters(pd.DataFrame({"a": [1.0]}), ["age"], KmeansParams(k=1))
    with pytest.raises(InputError, match="missing values"):
        sweep_clusters(pd.DataFrame({"a": [1.0, None]}), ["a"], KmeansParams(k=1))
    for name, column in {
        "string": ["1", "x"],
        "timestamp": pd.date_range("2024", periods=2),
    }.items():
        with pytest.raises(SchemaError, match=f"Column a is {name}, but k-means needs numbers"):
            sweep_clusters(pd.DataFrame({"a": column}), ["a"], KmeansParams(k=1))


def test_whole_numbers_decimals_and_flags_are_numbers() -> None:
    rows = pd.DataFrame(
        {
            "id": [2**60 + 1, 2**60 + 5, 3],
            "price": [Decimal("1.25"), Decimal("7.50"), Decimal("1.25")],
            "flag": [True, False, True],
        }
    )
    sweep = sweep_clusters(rows, list(rows), KmeansParams(k=3))
    assert set(sweep.best.head.centers) == {
        (2.0**60, 1.25, 1.0),
        (2.0**60, 7.5, 0.0),
        (3.0, 1.25, 1.0),
    }


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "either k or sweep"),
        ({"k": 3, "sweep": {}}, "either k or sweep"),
        ({"k": 0}, "greater than or equal to 1"),
        ({"sweep": {"k": [1, 2]}}, "one cluster has no silhouette"),
        ({"sweep": {"k": {"low": 5, "high": 3}}}, "high 3 is below low 5"),
        ({"sweep": {}, "starts": 3}, "set sweep.inits and sweep.starts"),
    ],
)
def test_parameters_that_contradict_are_refused(given: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        KmeansParams.model_validate(given)


def test_a_table_in_memory_gives_the_same_as_a_matrix() -> None:
    matrix = blobs(300)
    frame = pd.DataFrame(matrix, columns=list(COLUMNS))
    by_table = sweep_clusters(frame, COLUMNS, SWEEP, seed=3)
    assert by_table.best.head == fitted(matrix).best.head
    head = fit_head(TrainingData(matrix, COLUMNS), SWEEP, "clustering", 3)
    assert head == by_table.best.head
    table = by_table.table()
    assert list(table["k"]) == [2, 3, 4, 5, 6, 7]
    assert table.loc[table["best"], "k"].item() == by_table.best.k


def test_scikit_learn_warns_where_we_refuse() -> None:
    """The peer returns fewer clusters than asked for, with a warning only."""
    with warnings.catch_warnings(record=True) as raised:
        warnings.simplefilter("always")
        KMeans(3, n_init=1).fit(np.ones((10, 2)))
    assert "distinct clusters (1)" in str(raised[0].message)
