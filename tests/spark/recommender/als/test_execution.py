"""`fit_als` on Spark: one task against blocks, against the oracle, whatever the partitions."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from pyspark.ml.recommendation import ALS
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from tests.support.als_oracle import Problem, fixed, solve_side

from matchlake.engine.csr import csr_from_pairs
from matchlake.errors import InputError, ParameterError, SchemaError
from matchlake.io.fit_checkpoints import FitCheckpoints
from matchlake.recommender.als.fit import fit_als
from matchlake.recommender.als.fit_on_spark import continued
from matchlake.recommender.als.fold_in import fixed_side, fold_in
from matchlake.recommender.als.in_memory import initial_rows
from matchlake.recommender.als.model import FactorModel
from matchlake.recommender.als.params import AlsParams
from matchlake.recommender.progress import Progress

SHAPE = (23, 14)


def dense(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    seen = rng.random(SHAPE) < 0.4
    seen[np.arange(23), np.arange(23) % 14] = True
    return np.where(seen, rng.integers(1, 6, SHAPE), 0).astype(float), seen


@pytest.fixture(scope="module")
def pairs(spark: SparkSession) -> DataFrame:
    values, seen = dense()
    rows = [
        (f"u{u:02d}", int(i) * 10, float(values[u, i]), float(values[u, i]))
        for u, i in zip(*np.nonzero(seen), strict=True)
    ]
    return spark.createDataFrame(rows, "user_id string, item_id int, rating double, weight double")


def arrays(model: FactorModel) -> tuple[list[object], list[np.ndarray]]:
    ids, matrices = [], []
    for frame, key, index in (
        (model.user_factors, "user_id", "user_idx"),
        (model.item_factors, "item_id", "item_idx"),
    ):
        table = frame.orderBy(index).toPandas()
        assert table[index].tolist() == list(range(len(table)))
        ids.append((table[key].tolist(), table["n_interactions"].tolist()))
        bias = table["bias"].to_numpy()[:, None]
        matrices.append(np.column_stack([np.stack(table["factors"].tolist()), bias]))
    return ids, matrices


def oracle(params: AlsParams) -> list[np.ndarray]:
    values, seen = dense()
    problem = Problem(values, seen, params)
    items = initial_rows(1, np.arange(SHAPE[1]), params)[:, : params.rank].astype(float)
    side = items, np.zeros(len(items))
    for _ in range(params.iterations):
        users = solve_side(problem, *side)
        side = solve_side(problem.transposed(), *users)
    return [np.column_stack(users), np.column_stack(side)]


@pytest.mark.parametrize("feedback", [pytest.param("explicit", marks=pytest.mark.soak), "implicit"])
def test_executions_agree_with_the_oracle_on_any_partitions(
    pairs: DataFrame, feedback: str
) -> None:
    params = fixed(feedback=feedback, rank=3, iterations=2, regularization=0.1, blocks=3)
    one = params.model_copy(update={"execution": "single_task"})
    many = params.model_copy(update={"execution": "distributed", "checkpoint_interval": 1})
    results = [
        arrays(fit_als(pairs, one)),
        arrays(fit_als(pairs.repartition(5, "rating").orderBy(F.desc("item_id")), one)),
        arrays(fit_als(pairs, many)),
        arrays(fit_als(pairs.repartition(4), many)),
    ]
    _, seen = dense()
    expected_ids = [
        ([f"u{n:02d}" for n in range(23)], seen.sum(axis=1).tolist()),
        ([10 * n for n in range(14)], seen.sum(axis=0).tolist()),
    ]
    truth = oracle(params)
    for ids, matrices in results:
        assert ids == expected_ids
        for found, first, exact in zip(matrices, results[0][1], truth, strict=True):
            assert np.allclose(found, first, atol=1e-5)
            assert np.allclose(found, exact, atol=1e-3)
    assert np.array_equal(results[0][1][0], results[1][1][0])
    assert np.array_equal(results[2][1][0], results[3][1][0])


def test_chosen_numbers_are_alike_in_any_execution_and_unit(pairs: DataFrame) -> None:
    params = AlsParams(rank=3, iterations=2, execution="single_task")
    blocks = params.model_copy(update={"execution": "distributed", "blocks": 2})
    one, many = fit_als(pairs, params), fit_als(pairs, blocks)
    other = fit_als(pairs.withColumn("weight", 1000 * F.col("weight")), params)
    scale = one.params.weight_scale
    assert scale is not None
    assert other.params.weight_scale == pytest.approx(1000 * scale)
    chosen = {"weight_scale", "execution", "blocks"}
    assert one.params.model_dump(exclude=chosen) == other.params.model_dump(exclude=chosen)
    assert many.params == one.params.model_copy(update={"execution": "distributed", "blocks": 2})
    expected = arrays(one)[1]
    for model in (many, other):
        for found, first in zip(arrays(model)[1], expected, strict=True):
            assert np.allclose(found, first, atol=1e-5)
    # A folded-in user has the row of one more half-iteration of the same, scaled weights.
    history = pairs.where("user_id = 'u03'").withColumn("user_id", F.lit("new"))
    folded = one.fold_in(users=history).user_factors.where("user_id = 'new'").collect()[0]
    again = fit_als(pairs, params.model_copy(update={"iterations": 1}), initial_model=one)
    row = again.user_factors.where("user_id = 'u03'").collect()[0]
    assert np.allclose(folded["factors"], row["factors"], atol=1e-5)


@pytest.mark.local_only
def test_hu_koren_with_nu_1_equals_mllib(spark: SparkSession) -> None:
    """MLlib solves for the users last, so theirs are the rows that belong to its items."""
    values, seen = dense()
    users, items = (place.astype(np.int32) for place in np.nonzero(seen))
    weights = values[users, items].astype(np.float32)
    rows = list(zip(users.tolist(), items.tolist(), weights.tolist(), strict=True))
    als = ALS(rank=4, maxIter=2, regParam=0.3, implicitPrefs=True, alpha=1.5, seed=1)
    theirs = als.fit(spark.createDataFrame(rows, "user int, item int, rating float"))
    sides = [
        np.stack(frame.orderBy("id").toPandas()["features"].tolist()).astype(np.float32)
        for frame in (theirs.userFactors, theirs.itemFactors)
    ]
    params = fixed(rank=4, regularization=0.3, alpha=1.5, objective="hu_koren", nu=1.0)
    items_side = fixed_side(sides[1], np.zeros(len(sides[1]), np.float32), 0.0, params)
    found, _ = fold_in(csr_from_pairs(users, items, weights, SHAPE), items_side)
    assert np.allclose(found, sides[0], atol=1e-4)


@pytest.mark.soak
def test_gradients_agree_across_executions_and_an_initial_model_continues(pairs: DataFrame) -> None:
    params = fixed(rank=20, solver="cg", iterations=4, blocks=2)
    seen: dict[str, list[Progress]] = {"single_task": [], "distributed": []}
    whole, halves = {}, {}
    for execution, progress in seen.items():
        chosen = params.model_copy(update={"execution": execution, "checkpoint_interval": 4})
        whole[execution] = arrays(fit_als(pairs, chosen, callback=progress.append))[1]
        two = chosen.model_copy(update={"iterations": 2})
        halves[execution] = arrays(fit_als(pairs, two, initial_model=fit_als(pairs, two)))[1]
    for a, b in zip(whole["single_task"], whole["distributed"], strict=True):
        assert np.allclose(a, b, atol=1e-4)
    for execution in seen:
        for a, b in zip(whole[execution], halves[execution], strict=True):
            assert np.allclose(a, b, atol=1e-5)
    assert [p.iteration for p in seen["single_task"]] == [4]
    losses = [progress[-1].loss for progress in seen.values()]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


@dataclass
class Folder:
    """A cut that writes Parquet, as a job's does, and remembers what it wrote."""

    spark: SparkSession
    path: Path
    written: list[Path] = field(default_factory=list)
    fail_after: int = 10_000

    def __call__(self, frame: DataFrame) -> DataFrame:
        if len(self.written) >= self.fail_after:
            raise KeyboardInterrupt
        self.written.append(self.path / f"{len(self.written):03d}")
        frame.write.parquet(str(self.written[-1]))
        return self.spark.read.parquet(str(self.written[-1]))


@pytest.mark.soak
@pytest.mark.parametrize("execution", ["single_task", "distributed"])
def test_a_stopped_fit_resumes_from_its_last_checkpoint(
    spark: SparkSession, pairs: DataFrame, tmp_path: Path, execution: str
) -> None:
    params = fixed(rank=20, iterations=3, checkpoint_interval=1, blocks=2, execution=execution)
    validation = pairs.limit(5) if execution == "single_task" else None
    whole = arrays(
        fit_als(pairs, params, checkpoint=Folder(spark, tmp_path / "whole"), validation=validation)
    )
    # Pairs; ids twice, the blocks, the first state. Then a state each iteration, or its two halves.
    before, each = (5, 2) if execution == "distributed" else (1, 1)
    stopped = Folder(spark, tmp_path / "stopped", fail_after=before + 2 * each)
    with pytest.raises(KeyboardInterrupt):
        fit_als(pairs, params, checkpoint=stopped, validation=validation)
    state = spark.read.parquet(str(stopped.written[-1]))
    seen: list[Progress] = []
    again = Folder(spark, tmp_path / "again")
    model = fit_als(pairs, params, checkpoint=again, initial_model=state, callback=seen.append)
    assert [p.iteration for p in seen] == [3]
    for a, b in zip(arrays(model)[1], whole[1], strict=True):
        assert np.allclose(a, b, atol=1e-6)
    short = params.model_copy(update={"iterations": 1})
    with pytest.raises(InputError, match="2 iterations, more than iterations=1"):
        fit_als(pairs, short, initial_model=state)


@pytest.mark.soak
def test_a_fit_stops_when_the_validation_part_gets_worse(pairs: DataFrame) -> None:
    params = fixed(
        feedback="explicit",
        rank=10,
        regularization=0.0001,
        iterations=30,
        checkpoint_interval=1,
        patience=2,
    )
    validation = pairs.where("crc32(user_id || item_id) % 3 = 0")
    train = pairs.join(validation, ["user_id", "item_id"], "anti")
    seen: list[Progress] = []
    model = fit_als(train, params, validation=validation, callback=seen.append)
    metrics = [p.metric for p in seen if p.metric is not None]
    assert len(seen) < 30
    assert min(metrics) == metrics[-3]
    rows = model.score(validation).collect()
    rmse = np.sqrt(np.mean([(row["score"] - row["rating"]) ** 2 for row in rows]))
    assert rmse == pytest.approx(metrics[-3], rel=1e-5)


def bad(spark: SparkSession, *rows: tuple[object, ...]) -> DataFrame:
    good = [("a", "x", 1.0), ("b", "y", 2.0)]
    return spark.createDataFrame([*good, *rows], "user_id string, item_id string, weight double")


@pytest.mark.parametrize(
    ("rows", "shown"),
    [
        ([(None, "z", 1.0)], r"1 of 3 .*None, 'z', 1.0"),
        ([("c", "z", float("nan")), ("d", "z", 1.0)], r"1 of 4 .*'c', 'z', nan"),
        ([("c", "z", float("inf"))], r"'c', 'z', inf"),
        ([("c", "z", -1.0)], r"'c', 'z', -1.0.*of at least 0"),
        ([("b", "y", 5.0)], r"more than one row, among them \[\('b', 'y'\)\].*duplicates"),
    ],
)
def test_invalid_interactions_are_shown(
    spark: SparkSession, rows: list[tuple[object, ...]], shown: str
) -> None:
    with pytest.raises(InputError, match=shown):
        fit_als(bad(spark, *rows), fixed(rank=2, iterations=1))


def test_other_errors_have_instructions(spark: SparkSession) -> None:
    frame = bad(spark)
    again = frame.unionByName(frame.where("user_id = 'b'"))
    with pytest.raises(InputError, match=r"\('b', 'y'\)"):
        fit_als(again, fixed(rank=2, execution="distributed"))
    with pytest.raises(SchemaError, match="rating"):
        fit_als(frame, fixed(feedback="explicit"))
    with pytest.raises(ParameterError, match=r"patience=2 stops a fit early by .*validation"):
        fit_als(frame, fixed(patience=2))
    with pytest.raises(InputError, match="no interactions"):
        fit_als(frame.limit(0), fixed())
    with pytest.raises(InputError, match=r"All 2 ratings are 4.0"):
        fit_als(frame.withColumn("rating", F.lit(4.0)), fixed(feedback="explicit"))


def test_an_initial_model_and_validation_are_checked_before_the_fit(spark: SparkSession) -> None:
    def no_cut(frame: DataFrame) -> DataFrame:
        raise AssertionError(frame)

    frame, params = bad(spark), fixed(rank=2, iterations=1)
    start = FactorModel(frame, frame, 0.0, params)
    with pytest.raises(
        ParameterError, match=r"initial_model has rank 2, but params have rank=3.*set rank=2"
    ):
        fit_als(frame, fixed(rank=3), initial_model=start, checkpoint=no_cut)
    with pytest.raises(SchemaError, match="in the validation part: item_id"):
        fit_als(frame, params, validation=frame.drop("item_id"), checkpoint=no_cut)
    nothing = frame.withColumn("item_id", F.lit(None).cast("string"))
    with pytest.raises(InputError, match="Every row of validation has a null in user_id, item_id"):
        fit_als(frame, params, validation=nothing, checkpoint=no_cut)


def test_an_initial_model_without_known_ids_has_no_effect(pairs: DataFrame) -> None:
    params = fixed(rank=2, iterations=1, execution="single_task")
    model = fit_als(pairs, params)
    strangers = replace(
        model, user_factors=model.user_factors.limit(0), item_factors=model.item_factors.limit(0)
    )
    again = fit_als(pairs, params, initial_model=strangers)
    for one, other in zip(arrays(model)[1], arrays(again)[1], strict=True):
        assert np.array_equal(one, other)


def test_the_ids_of_an_initial_model_become_those_of_the_interactions(spark: SparkSession) -> None:
    kinds = spark.range(0).selectExpr("id AS user_id", "CAST(id AS INT) AS item_id").schema
    rows, params = [("abc",), ("5000000000",), ("1",), (None,)], fixed(rank=1)
    users, items = (spark.createDataFrame(rows, f"{key}_id string") for key in ("user", "item"))
    start = continued(FactorModel(users, items, 0.0, params), kinds, params)
    assert [row["user_id"] for row in start.user_factors.collect()] == [5_000_000_000, 1]
    assert [row["item_id"] for row in start.item_factors.collect()] == [1]


@pytest.mark.parametrize(
    ("rule", "merge"),
    [("sum", sum), ("mean", lambda values: sum(values) / len(values)), ("last", max)],
)
def test_repeated_pairs_follow_the_rule(
    spark: SparkSession, rule: str, merge: Callable[[list[float]], float]
) -> None:
    frame = bad(spark, ("b", "y", 5.0)).withColumn(
        "event_time", F.timestamp_seconds(F.col("weight").cast("long"))
    )
    once = spark.createDataFrame(
        [("a", "x", 1.0), ("b", "y", float(merge([2.0, 5.0])))],
        "user_id string, item_id string, weight double",
    )
    params = fixed(rank=2, iterations=2, duplicates=rule)
    found = arrays(fit_als(frame, params))
    expected = arrays(fit_als(once, params.model_copy(update={"duplicates": "error"})))
    assert found[0] == expected[0]
    assert all(np.array_equal(a, b) for a, b in zip(found[1], expected[1], strict=True))


def test_the_checkpoints_of_a_run_are_read_in_small_pieces(
    spark: SparkSession, tmp_path: Path
) -> None:
    text = F.concat("id", F.repeat(F.lit("x"), 500_000))
    large = spark.range(0, 96, 1, 1).select(text.cast("binary").alias("data"))
    assert FitCheckpoints(spark, tmp_path)(large).count() == 96
    (written,) = tmp_path.rglob("*.parquet")
    groups = pq.ParquetFile(written).metadata
    sizes = [groups.row_group(n).total_byte_size for n in range(groups.num_row_groups)]
    assert sum(sizes) > 45 << 20
    assert max(sizes) < 20 << 20
