"""k-means and sweeps: fits every k, init and start together, in one pass per iteration."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from matchlake.engine.frames import is_spark, to_arrow_table
from matchlake.errors import InputError, SchemaError
from matchlake.features.table_statistics import spark_types
from matchlake.formulas.heads import CentroidsHead, Task
from matchlake.formulas.sql import SPARK
from matchlake.learners.checks import check_features
from matchlake.learners.cluster_measures import Measures, measure_clusterings
from matchlake.learners.cluster_rows import (
    LARGEST,
    Checkpointer,
    ClusterRows,
    Doubles,
    MemoryRows,
    SparkRows,
)
from matchlake.learners.cluster_starts import Candidates, find_candidates, start_centers
from matchlake.learners.lloyd import Clustering, run_lloyd
from matchlake.learners.params import KmeansParams
from matchlake.learners.protocol import OnProgress, TrainingData
from matchlake.schemas import quote_identifier

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

_log = logging.getLogger(__name__)

_NUMBERS = ("tinyint", "smallint", "int", "bigint", "float", "double", "decimal", "boolean")
_SMALLER_IS_BETTER = frozenset(("inertia", "davies_bouldin"))


@dataclass(frozen=True)
class Clusters:
    """One fitted clustering of a sweep."""

    head: CentroidsHead
    k: int
    init: str
    start: int
    iterations: int
    converged: bool
    reseeded: int
    """How often an empty cluster got the row that is farthest from its centre."""
    measures: Measures

    def assign(self, frame: "DataFrame", keys: Sequence[str]) -> "DataFrame":
        """`keys`, `prediction` (INT) and `distances` (ARRAY<DOUBLE>) of each row, as SQL; lazy."""
        kept = [quote_identifier(key) for key in keys]
        for stage in self.head.sql_stages(SPARK):
            made = [f"{text} AS {quote_identifier(name)}" for name, text in stage.items()]
            frame = frame.selectExpr(*kept, *made)
        return frame


@dataclass(frozen=True)
class ClusterSweep:
    """The clusterings of a sweep, ordered by k, init and start."""

    clusterings: tuple[Clusters, ...]
    metric: str
    """The measure that decides which clustering is the best."""

    @cached_property
    def best(self) -> Clusters:
        """Returns the best clustering, the first if several are equal."""
        sign = 1.0 if self.metric in _SMALLER_IS_BETTER else -1.0
        values = [sign * getattr(each.measures, self.metric) for each in self.clusterings]
        ordered = np.where(np.isnan(values), np.inf, values)
        return self.clusterings[int(np.argmin(ordered))]

    def table(self) -> pd.DataFrame:
        """One row per clustering: k, init, start, iterations, measures, and whether it is best."""
        return pd.DataFrame([_row(each, is_best=each is self.best) for each in self.clusterings])


def _row(each: Clusters, *, is_best: bool) -> Mapping[str, Any]:
    names = ("k", "init", "start", "iterations", "converged", "reseeded")
    measures = ("inertia", "silhouette", "davies_bouldin", "calinski_harabasz")
    return {
        **{name: getattr(each, name) for name in names},
        **{name: getattr(each.measures, name) for name in measures},
        "smallest_cluster": min(each.measures.rows),
        "best": is_best,
    }


def fit(
    data: TrainingData,
    params: KmeansParams,
    task: Task,
    seed: int,
    on_progress: OnProgress | None = None,
) -> CentroidsHead:
    """The head of the best clustering; raises InputError as `fit_clusters` does."""
    del task
    return fit_clusters(data, params, seed, on_progress).best.head


def fit_clusters(
    data: TrainingData, params: KmeansParams, seed: int, on_progress: OnProgress | None = None
) -> ClusterSweep:
    """Fits the clusterings of `params` to rows in memory.

    Raises InputError for missing, infinite or huge values, and if k exceeds the number of distinct
    rows.
    """
    check_features(data, "kmeans", missing=False, largest=LARGEST)
    return _fit(MemoryRows.of(data.matrix), data.columns, params, seed, on_progress)


def sweep_clusters(
    rows: Any,
    columns: Sequence[str],
    params: KmeansParams,
    *,
    keys: Sequence[str] = (),
    seed: int = 0,
    checkpoint: Checkpointer | None = None,
) -> ClusterSweep:
    """Fits k-means clusterings to the numeric columns of a table.

    Args:
        rows: A Spark frame, which stays distributed, or any table in memory.
        columns: The numeric columns.
        params: One k, or a sweep over several.
        keys: For a Spark frame: the columns that identify a row. They decide which rows are drawn
            as first centres. Without keys, equal rows count once.
        seed: The same seed gives the same centres for any number of partitions.
        checkpoint: Keeps the packed rows of a Spark frame; default `localCheckpoint()`.

    Returns:
        All clusterings with their measures.

    Raises:
        SchemaError: A column is missing, or has no numbers.
        InputError: There are no rows, values are missing or infinite, or k is above the number of
            distinct rows.

    Spark jobs: two to pack the rows, up to five to choose centres, and two at the end. Each
    iteration is one job for all clusterings, and one more job if a cluster is empty.
    """
    if not is_spark(rows):
        rows = to_arrow_table(rows, "rows")
    types = dict(rows.dtypes) if is_spark(rows) else spark_types(rows)
    missing = [name for name in (*columns, *keys) if name not in types]
    if missing or not columns:
        raise SchemaError.missing("rows", missing or ["(no columns given)"], types)
    _require_numbers(types, columns)
    if is_spark(rows):
        packed = SparkRows.of(rows, columns, keys, checkpoint)
        return _fit(packed, tuple(columns), params, seed)
    if not len(rows):
        raise InputError("There are no rows to cluster. Check the table.")
    # Integers above 2^53 are rounded, as in Spark.
    doubles = [rows[name].cast("double", safe=False) for name in columns]
    matrix = np.column_stack([each.to_numpy(zero_copy_only=False) for each in doubles])
    return fit_clusters(TrainingData(matrix, tuple(columns)), params, seed)


def _require_numbers(types: Mapping[str, str], columns: Sequence[str]) -> None:
    for name in columns:
        if types[name].partition("(")[0] not in _NUMBERS:
            raise SchemaError(
                f"Column {name} is {types[name]}, but k-means needs numbers. Encode it first."
            )


def _fit(
    rows: ClusterRows,
    columns: tuple[str, ...],
    params: KmeansParams,
    seed: int,
    on_progress: OnProgress | None = None,
) -> ClusterSweep:
    chosen = _choices(params)
    found = find_candidates(rows, max(k for k, _, _ in chosen), seed)
    chosen = _possible(chosen, found)
    made = [
        Clustering(f"k={k}, {init}, start {start}", start_centers(found, k, init, seed, start))
        for k, init, start in chosen
    ]
    tolerance = params.tolerance * found.variance
    run_lloyd(rows, made, tolerance, params.max_iterations, on_progress)
    measured = measure_clusterings(rows, made, found.mean)
    for each in made:
        if each.reseeded:
            _log.warning("%s: empty clusters were reseeded %d times", each.name, each.reseeded)
    clusterings = tuple(
        Clusters(
            *(_head(columns, rows.scale.raw(each.centers)), *choice),
            *(each.iterations, each.converged, each.reseeded, measures),
        )
        for choice, each, measures in zip(chosen, made, measured, strict=True)
    )
    return ClusterSweep(clusterings, params.sweep.metric if params.sweep else "inertia")


def _choices(params: KmeansParams) -> list[tuple[int, str, int]]:
    """Every k, init and start."""
    if params.sweep is None:
        return [(params.k or 1, params.init, start) for start in range(params.starts)]
    sweep = params.sweep
    return [
        (k, init, start)
        for k in sweep.numbers()
        for init in sweep.inits
        for start in range(sweep.starts)
    ]


def _possible(chosen: list[tuple[int, str, int]], found: Candidates) -> list[tuple[int, str, int]]:
    """Returns the choices with enough distinct rows; raises InputError if there are none."""
    possible = [each for each in chosen if each[0] <= found.distinct]
    if not possible:
        raise InputError(
            f"k={min(k for k, _, _ in chosen)} is above the number of distinct rows, "
            f"{found.distinct}. Choose k at most {found.distinct}, or more columns."
        )
    left_out = sorted({k for k, _, _ in chosen} - {k for k, _, _ in possible})
    if left_out:
        _log.warning(
            "k=%s is left out: there are only %d distinct rows",
            *(", ".join(map(str, left_out)), found.distinct),
        )
    return possible


def _head(columns: tuple[str, ...], centers: Doubles) -> CentroidsHead:
    return CentroidsHead(columns=columns, centers=tuple(map(tuple, centers.tolist())))
