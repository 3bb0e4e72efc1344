"""k-means on Spark: the same bits for any partitions, one job per iteration, clusters in SQL."""

import numpy as np
import pandas as pd
import pytest
from pyspark.sql import DataFrame, SparkSession
from tests.support.executions import executions

from matchlake.errors import InputError
from matchlake.learners.cluster_rows import SparkRows
from matchlake.learners.kmeans import ClusterSweep, sweep_clusters
from matchlake.learners.lloyd import Clustering, run_lloyd
from matchlake.learners.params import KmeansParams

COLUMNS = ["x", "y z"]
ROWS = 6000
SWEEP = KmeansParams.model_validate({"sweep": {"k": [2, 4, 5]}, "max_iterations": 5})


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    random = np.random.default_rng(3)
    center = random.integers(0, 4, ROWS)
    values = random.normal(size=(ROWS, 2)) + 6.0 * np.column_stack([center % 2, center // 2])
    made = pd.DataFrame(values, columns=COLUMNS)
    return made.assign(id=[f"u{i}" for i in range(ROWS)])


@pytest.fixture(scope="module")
def frame(spark: SparkSession, table: pd.DataFrame) -> DataFrame:
    return spark.createDataFrame(table)


@pytest.fixture(scope="module")
def swept(frame: DataFrame) -> ClusterSweep:
    return sweep_clusters(frame.coalesce(1), COLUMNS, SWEEP, keys=["id"], seed=1)


@pytest.mark.parametrize("partitions", [4, pytest.param(17, marks=pytest.mark.soak)])
def test_partitions_change_no_bit(frame: DataFrame, swept: ClusterSweep, partitions: int) -> None:
    other = sweep_clusters(frame.repartition(partitions), COLUMNS, SWEEP, keys=["id"], seed=1)
    assert other.clusterings == swept.clusterings
    assert swept.best.k == 4


def test_an_iteration_of_all_clusterings_is_one_job(spark: SparkSession, frame: DataFrame) -> None:
    rows = SparkRows.of(frame, COLUMNS, ["id"])
    starts = [np.array([[0.0, 0.0], [0.4, 0.4]]), np.array([[0.0, 0.1], [0.3, 0.0], [0.3, 0.4]])]
    clusterings = [Clustering(f"k={len(each)}", each) for each in starts]
    ran = executions(spark, lambda: run_lloyd(rows, clusterings, 0.0, 200))
    assert all(each.converged for each in clusterings)
    assert ran == max(each.iterations for each in clusterings)


def test_assignments_and_distances_are_sql(
    frame: DataFrame, table: pd.DataFrame, swept: ClusterSweep
) -> None:
    best = swept.best
    assigned = best.assign(frame, ["id"])
    assert "Python" not in assigned._jdf.queryExecution().executedPlan().toString()
    found = assigned.toPandas().set_index("id").loc[table["id"]]
    expected = best.head.numpy(table[COLUMNS].to_numpy())
    assert (found["prediction"].to_numpy() == expected["prediction"]).all()
    np.testing.assert_array_equal(np.stack(found["distances"]), expected["distances"])
    assert best.measures.rows == tuple(np.bincount(found["prediction"]))


def test_missing_values_are_refused_with_their_columns(frame: DataFrame) -> None:
    broken = frame.selectExpr("IF(id = 'u5', NULL, x) AS x", "`y z`")
    with pytest.raises(InputError, match=r"cannot be clustered: x \(1 rows\)"):
        sweep_clusters(broken, COLUMNS, SWEEP)
    with pytest.raises(InputError, match="no rows to cluster"):
        sweep_clusters(frame.where("id = ''"), COLUMNS, SWEEP)
