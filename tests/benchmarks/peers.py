"""The libraries the engine is measured against, each behind one function.

A peer gets what the engine gets, a Spark frame of `user_id`, `item_id` and a value, and gives back
its factor matrices, so that quality is measured alike for all.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from pyspark.sql import DataFrame

Floats = npt.NDArray[np.float32]

IMPLICIT_RIDGE, EXPLICIT_RIDGE = 0.01, 0.07
"""Regularization of the peers, and of the engine beside them."""

IRSPACK = {"unobserved_weight": 0.1, "regularization": 0.003}
"""The same for `irspack`, which has another objective: that of the engine's `objective="ials"`."""


@dataclass
class Outcome:
    """What one side needed and learnt; `each` are the seconds of its iterations."""

    each: list[float]
    whole: float
    users: Floats = field(repr=False)
    items: Floats = field(repr=False)
    user_bias: Floats | None = field(default=None, repr=False)
    item_bias: Floats | None = field(default=None, repr=False)
    mean: float = 0.0
    loss: float | None = None

    @property
    def iteration(self) -> float:
        """The median seconds of an iteration, the first left out where there are more."""
        return float(np.median(self.each[1:] or self.each))


@dataclass(frozen=True)
class Task:
    """One benchmark: the data as a frame, and the parameters all sides share."""

    frame: DataFrame
    shape: tuple[int, int]
    rank: int
    iterations: int
    threads: int
    explicit: bool

    @property
    def value(self) -> str:
        return "rating" if self.explicit else "weight"


def _matrix(task: Task) -> object:
    from scipy.sparse import csr_matrix  # noqa: PLC0415

    table = task.frame.toArrow()
    users, items = np.asarray(table["user_id"]), np.asarray(table["item_id"])
    values = np.asarray(table[task.value]).astype(np.float32)
    return csr_matrix((values, (users, items)), task.shape)


def implicit(task: Task) -> Outcome:
    """`implicit`, conjugate gradients; its confidence is c where the engine's is 1 + c."""
    from implicit.cpu.als import AlternatingLeastSquares  # noqa: PLC0415
    from threadpoolctl import threadpool_limits  # noqa: PLC0415

    begin = time.perf_counter()
    matrix = _matrix(task)
    matrix.data += 1.0  # type: ignore[attr-defined]
    each: list[float] = []
    with threadpool_limits(1, "blas"):  # As its documentation asks; its own threads do the work.
        model = AlternatingLeastSquares(
            factors=task.rank,
            iterations=task.iterations,
            regularization=IMPLICIT_RIDGE,
            num_threads=task.threads,
            use_cg=True,
            random_state=0,
        )
        model.fit(
            matrix, show_progress=False, callback=lambda _n, seconds, *_: each.append(seconds)
        )
    whole = time.perf_counter() - begin
    return Outcome(each, whole, np.asarray(model.user_factors), np.asarray(model.item_factors))


def irspack(task: Task) -> Outcome:
    """`irspack`'s iALS, conjugate gradients, the same objective as the engine's with nu = 1."""
    from irspack import IALSRecommender  # noqa: PLC0415

    begin = time.perf_counter()
    model = IALSRecommender(
        _matrix(task),
        n_components=task.rank,
        alpha0=IRSPACK["unobserved_weight"],
        reg=IRSPACK["regularization"],
        n_threads=task.threads,
        solver_type="CG",
        max_cg_steps=3,
        train_epochs=task.iterations,
        prediction_time_max_cg_steps=5,
    )
    each: list[float] = []
    model.start_learning()
    for _ in range(task.iterations):
        start = time.perf_counter()
        model.run_epoch()
        each.append(time.perf_counter() - start)
    whole = time.perf_counter() - begin
    users, items = model.get_user_embedding(), model.get_item_embedding()
    return Outcome(each, whole, np.asarray(users), np.asarray(items))


def mllib(task: Task) -> Outcome:
    """Spark's own ALS, its ratings centred by hand.

    An iteration is the difference of two short fits; the whole and the factors are those of a
    third one of as many iterations as the other sides do.
    """
    from pyspark.sql import functions as F  # noqa: PLC0415

    mean = 0.0
    frame = task.frame
    if task.explicit:
        mean = float(frame.agg(F.avg("rating")).collect()[0][0])
        frame = frame.withColumn("rating", F.col("rating") - mean)
    frame = frame.withColumn("user_id", F.col("user_id").cast("int"))
    frame = frame.withColumn("item_id", F.col("item_id").cast("int"))
    _mllib_fit(frame.limit(1000), task, 1)  # Starts its code paths.
    seconds = []
    for iterations in (1, 3, task.iterations):
        begin = time.perf_counter()
        sides = _mllib_fit(frame, task, iterations)
        seconds.append(time.perf_counter() - begin)
    step = (seconds[1] - seconds[0]) / 2
    return Outcome([step], seconds[2], *sides, mean=mean)


def _mllib_fit(frame: DataFrame, task: Task, iterations: int) -> list[Floats]:
    from pyspark.ml.recommendation import ALS  # noqa: PLC0415

    fitted = ALS(
        rank=task.rank,
        maxIter=iterations,
        regParam=EXPLICIT_RIDGE if task.explicit else IMPLICIT_RIDGE,
        implicitPrefs=not task.explicit,
        alpha=1.0,
        userCol="user_id",
        itemCol="item_id",
        ratingCol=task.value,
        numUserBlocks=4,
        numItemBlocks=4,
        seed=0,
    ).fit(frame)
    sides = []
    for side, size in ((fitted.userFactors, task.shape[0]), (fitted.itemFactors, task.shape[1])):
        table = side.toArrow()
        dense = np.zeros((size, task.rank), np.float32)
        features = np.asarray(table["features"].combine_chunks().flatten())
        dense[np.asarray(table["id"])] = features.reshape(-1, task.rank)
        sides.append(dense)
    return sides


def cmfrec(task: Task) -> Outcome:
    """`cmfrec`, explicit: conjugate gradients and, as by default, a last iteration by Cholesky.

    An iteration is the difference of two fits. It is no part of `make install-bench`, since it has
    no wheels: `uv pip install cmfrec` compiles for minutes, where there is a C compiler.
    """
    from cmfrec import CMF  # noqa: PLC0415
    from scipy.sparse import coo_matrix  # noqa: PLC0415

    begin = time.perf_counter()
    matrix = coo_matrix(_matrix(task))
    reading = time.perf_counter() - begin
    seconds = []
    for iterations in (2, task.iterations):
        begin = time.perf_counter()
        model = CMF(
            k=task.rank,
            lambda_=EXPLICIT_RIDGE,
            scale_lam=True,
            niter=iterations,
            nthreads=task.threads,
            precompute_for_predictions=False,
            random_state=0,
        ).fit(matrix)
        seconds.append(time.perf_counter() - begin)
    step = (seconds[1] - seconds[0]) / (task.iterations - 2)
    sides = model.A_, model.B_, model.user_bias_, model.item_bias_
    return Outcome([step], reading + seconds[1], *sides, mean=float(model.glob_mean_))


def libmf(task: Task) -> Outcome:
    """LibMF, explicit: stochastic gradients with its default rates, over factors without biases.

    An iteration is the difference of two fits. Like `cmfrec` it has no wheels, and is no part of
    `make install-bench`: `uv pip install libmf` compiles it.
    """
    from libmf import mf  # noqa: PLC0415

    begin = time.perf_counter()
    table = task.frame.toArrow()
    columns = [np.asarray(table[name]) for name in ("user_id", "item_id", task.value)]
    triples = np.column_stack(columns).astype(np.float32)
    reading = time.perf_counter() - begin
    seconds = []
    for iterations in (2, task.iterations):
        begin = time.perf_counter()
        model = mf.MF(k=task.rank, nr_iters=iterations, nr_threads=task.threads, quiet=True)
        model.fit(triples)
        seconds.append(time.perf_counter() - begin)
    step = (seconds[1] - seconds[0]) / (task.iterations - 2)
    sides = []
    for found, size in zip((model.p_factors(), model.q_factors()), task.shape, strict=True):
        # A row that nothing was seen of is NaN, or missing at the end.
        dense = np.zeros((size, task.rank), np.float32)
        dense[: len(found)] = np.nan_to_num(found)
        sides.append(dense)
    return Outcome([step], reading + seconds[1], *sides)


PEERS: dict[str, Callable[[Task], Outcome]] = {
    "cmfrec": cmfrec,
    "implicit": implicit,
    "irspack": irspack,
    "libmf": libmf,
    "mllib": mllib,
}
