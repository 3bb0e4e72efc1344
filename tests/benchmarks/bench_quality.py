"""Quality of ranked lists on MovieLens-100K, ours and peers', each with the same search budget.

    python tests/benchmarks/bench_quality.py --split user_time --peers implicit,mllib,lenskit
    python tests/benchmarks/bench_quality.py --ours als,ease,slim,blend --peers fastslim,rp3beta

Every side gets as many random draws of its own hyperparameters, judged by NDCG at 10 on a
validation part cut from the training part as the test part was cut. The best draw is then fitted to
the whole training part, with several seeds, and judged on the test part. For factor models a
rating is the strength of an interaction; item-item models count an interaction as 1. Every test
item counts as relevant, and one function judges all sides.
"""

import argparse
import json
import math
import tempfile
import warnings
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from pyspark.sql import SparkSession
from tests.benchmarks.marks import with_marks
from tests.benchmarks.runs import pin, session, versions

from matchlake.dev.sandbox.movielens import bundled_movielens
from matchlake.engine.top_k import select_top_k
from matchlake.recommender.als.fit import fit_als
from matchlake.recommender.als.params import AlsParams
from matchlake.recommender.blend.fit import fit_blend
from matchlake.recommender.blend.params import BlendParams
from matchlake.recommender.linear.ease import fit_ease
from matchlake.recommender.linear.params import EaseParams, SlimParams
from matchlake.recommender.linear.slim import fit_slim
from matchlake.recommender.protocol import NumpyRecommender
from matchlake.recommender.split import SplitParams, split

Floats = npt.NDArray[np.float32]
Drawn = dict[str, Any]
SHAPE = (943, 1682)
ITERATIONS = 15


def main() -> None:
    """Runs the benchmark that the command line describes."""
    options = arguments()
    pin(options.threads)
    warnings.simplefilter("ignore")
    names = [name for name in f"{options.ours},{options.peers}".split(",") if name]
    whole = ratings()
    train, test = cut(whole, options, 0)
    inner, validation = cut(train, options, 1)
    rows = {}
    for name in names:
        fit, ranges = SIDES[name]
        draws = [draw(ranges, seed) for seed in range(options.budget)]
        found = [judge(fit(inner, d, 0), inner, validation) for d in draws]
        best = int(np.argmax([figures["ndcg@10"] for figures in found]))
        tested = [
            judge(fit(train, draws[best], seed), train, test) for seed in range(options.seeds)
        ]
        rows[name] = summary(tested) | {
            "validation_ndcg@10": round(found[best]["ndcg@10"], 4),
            "drawn": draws[best],
        }
        print(f"{name:<14} {rows[name]}", flush=True)
    own, theirs = (
        [name for name in chosen.split(",") if name] for chosen in (options.ours, options.peers)
    )
    picked = max(own, key=lambda name: rows[name]["validation_ndcg@10"])
    result = {
        "bench": "quality",
        "split": options.split,
        "budget": options.budget,
        "seeds": options.seeds,
        "cores": options.threads,
        "quality": rows,
        "picked": picked,
        "ratio": {n: round(rows[picked]["ndcg@10"] / rows[n]["ndcg@10"], 4) for n in theirs},
        "versions": versions(*sorted({PACKAGES[n] for n in theirs if n in PACKAGES})),
    }
    show(result)
    if options.json:
        print(json.dumps(with_marks("quality", result)))


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--split", choices=("user_time", "time", "random"), default="user_time")
    parser.add_argument("--budget", type=int, default=20, help="draws of hyperparameters a side")
    parser.add_argument("--seeds", type=int, default=3, help="fits of the best draw")
    parser.add_argument("--threads", type=int, default=2, help="cores all sides are pinned to")
    parser.add_argument("--driver-memory", default="2g", help="of the session that mllib needs")
    parser.add_argument("--ours", default="als", help="some of als, ease, slim, blend")
    parser.add_argument("--peers", default="", help=f"some of {','.join(SIDES)}")
    parser.add_argument("--json", action="store_true", help="print one JSON object as last line")
    return parser.parse_args()


def ratings() -> pd.DataFrame:
    """MovieLens-100K with dense integers for ids."""
    frame = bundled_movielens().read_ratings()
    users, items = (pd.factorize(frame[key], sort=True)[0] for key in ("user_id", "item_id"))
    return pd.DataFrame(
        {
            "user_id": users.astype(np.int32),
            "item_id": items.astype(np.int32),
            "weight": frame["rating"].astype(np.float64),
            "event_time": frame["event_time"],
        }
    )


def cut(
    whole: pd.DataFrame, options: argparse.Namespace, seed: int
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Training and test part; with the seed of the first cut, a second would find nothing."""
    return split(whole, SplitParams(kind=options.split, test_fraction=0.2, seed=seed))


def draw(ranges: Mapping[str, Any], seed: int) -> Drawn:
    """One draw: a list is chosen from, a pair of bounds is drawn evenly in the logarithm."""
    rng = np.random.default_rng(seed)
    drawn: Drawn = {}
    for name, values in ranges.items():
        if isinstance(values, list):
            drawn[name] = values[rng.integers(len(values))]
        else:
            low, high = map(math.log, values)
            drawn[name] = float(f"{math.exp(rng.uniform(low, high)):.3g}")
    return drawn


def judge(found: Floats, train: pd.DataFrame, test: pd.DataFrame) -> dict[str, float]:
    """NDCG at 10 and recall at 20 over users of the test part; items of training left out."""
    users = np.unique(test["user_id"])
    row_of = np.full(SHAPE[0], -1)
    row_of[users] = np.arange(len(users))
    scores = found[users].astype(np.float32)
    seen = row_of[train["user_id"]]
    scores[seen[seen >= 0], train["item_id"].to_numpy()[seen >= 0]] = -np.inf
    best = select_top_k(scores, 20)
    true = np.zeros((len(users), SHAPE[1]), bool)
    true[row_of[test["user_id"]], test["item_id"]] = True
    hits = np.take_along_axis(true, best.places.astype(np.int64), axis=1)
    discounts = 1 / np.log2(np.arange(10) + 2)
    relevant = true.sum(axis=1)
    ideal = np.concatenate([[0], np.cumsum(discounts)])[np.minimum(relevant, 10)]
    return {
        "ndcg@10": float(np.mean(hits[:, :10] @ discounts / ideal)),
        "recall@20": float(np.mean(hits.sum(axis=1) / relevant)),
    }


def summary(tested: list[dict[str, float]]) -> dict[str, float]:
    """Means over seeds, and how far the seeds lie apart."""
    figures = {}
    for name in tested[0]:
        values = [one[name] for one in tested]
        figures[name] = round(float(np.mean(values)), 4)
        figures[f"{name}_spread"] = round(max(values) - min(values), 4)
    return figures


def dense(ids: Any, rows: Floats, size: int) -> Floats:
    """Rows at their ids, zero elsewhere."""
    matrix = np.zeros((size, rows.shape[1]), np.float32)
    matrix[np.asarray(ids)] = rows
    return matrix


def als(train: pd.DataFrame, drawn: Drawn, seed: int) -> Floats:
    """`fit_als` with the peers' objective; a row's penalty grows with its frequency, as MLlib's."""
    model = fit_als(train, AlsParams(iterations=ITERATIONS, seed=seed, **drawn))
    return dense(model.user_ids, model.user_factors, SHAPE[0]) @ (
        dense(model.item_ids, model.item_factors, SHAPE[1]).T
    )


def ease(train: pd.DataFrame, drawn: Drawn, _seed: int) -> Floats:
    """`fit_ease`."""
    return of_lists(fit_ease(train, EaseParams(**drawn)), train)


def slim(train: pd.DataFrame, drawn: Drawn, _seed: int) -> Floats:
    """`fit_slim`."""
    return of_lists(fit_slim(train, SlimParams(**drawn)), train)


def blend(train: pd.DataFrame, drawn: Drawn, seed: int) -> Floats:
    """`fit_blend` of ALS and EASE."""
    linear = {name: drawn[name] for name in ("regularization", "dropout", "max_self_weight")}
    models = {"als": {"rank": drawn["rank"], "seed": seed}, "ease": linear}
    return of_lists(fit_blend(train, BlendParams(models=models, seed=seed)), train)


def of_lists(model: NumpyRecommender, train: pd.DataFrame) -> Floats:
    """The scores of the lists that a model gives, of 20 unseen items."""
    lists = model.recommend_items(train[["user_id"]], 20, exclude_seen=train)
    scores = np.full(SHAPE, -1e30, np.float32)
    scores[lists["user_id"], lists["item_id"]] = 20 - lists["rank"]
    return scores


def binary(train: pd.DataFrame) -> Any:
    """The pairs as a sparse matrix of ones."""
    from scipy.sparse import csr_matrix  # noqa: PLC0415

    return csr_matrix((np.ones(len(train)), (train["user_id"], train["item_id"])), SHAPE)


def fastslim(train: pd.DataFrame, drawn: Drawn, _seed: int) -> Floats:
    """`fastslim`."""
    import fastslim as peer  # noqa: PLC0415

    rows = binary(train)
    return np.asarray((rows @ peer.fit(rows, **drawn)).todense(), np.float32)


def irspack(recommender: str) -> Callable[[pd.DataFrame, Drawn, int], Floats]:
    """One of irspack's recommenders."""

    def fit(train: pd.DataFrame, drawn: Drawn, _seed: int) -> Floats:
        from irspack import recommenders  # noqa: PLC0415

        model = getattr(recommenders, recommender)(binary(train), **drawn)
        return np.asarray(model.learn().get_score(np.arange(SHAPE[0])), np.float32)

    return fit


def implicit(train: pd.DataFrame, drawn: Drawn, seed: int) -> Floats:
    """`implicit`, exact solves: at this size nothing speaks for gradients."""
    from implicit.cpu.als import AlternatingLeastSquares  # noqa: PLC0415
    from scipy.sparse import csr_matrix  # noqa: PLC0415

    pairs = train["user_id"], train["item_id"]
    matrix = csr_matrix((train["weight"].astype(np.float32), pairs), SHAPE)
    model = AlternatingLeastSquares(
        **drawn, iterations=ITERATIONS, use_cg=False, num_threads=2, random_state=seed
    )
    model.fit(matrix, show_progress=False)
    return np.asarray(model.user_factors) @ np.asarray(model.item_factors).T


@cache
def spark_session() -> SparkSession:
    """The session of MLlib, started at its first use."""
    return session(arguments(), Path(tempfile.mkdtemp()))


def mllib(train: pd.DataFrame, drawn: Drawn, seed: int) -> Floats:
    """Spark's own ALS."""
    from pyspark.ml.recommendation import ALS  # noqa: PLC0415

    als = ALS(
        **drawn,
        maxIter=ITERATIONS,
        implicitPrefs=True,
        userCol="user_id",
        itemCol="item_id",
        ratingCol="weight",
        numUserBlocks=2,
        numItemBlocks=2,
        seed=seed,
    )
    model = als.fit(spark_session().createDataFrame(train.drop(columns="event_time")))
    sides = []
    for frame, size in zip((model.userFactors, model.itemFactors), SHAPE, strict=True):
        table = frame.toArrow()
        rows = np.asarray(table["features"].combine_chunks().flatten())
        sides.append(dense(table["id"], rows.reshape(table.num_rows, -1), size))
    return sides[0] @ sides[1].T


def lenskit(train: pd.DataFrame, drawn: Drawn, seed: int) -> Floats:
    """LensKit's implicit ALS."""
    from lenskit.als import ImplicitMFScorer  # noqa: PLC0415
    from lenskit.data import from_interactions_df  # noqa: PLC0415
    from lenskit.training import TrainingOptions  # noqa: PLC0415

    frame = train.rename(columns={"weight": "rating"})[["user_id", "item_id", "rating"]]
    scorer = ImplicitMFScorer(**drawn, epochs=ITERATIONS, use_ratings=True)
    scorer.train(from_interactions_df(frame), TrainingOptions(rng=seed))
    users, items = scorer.users.ids(), scorer.items.ids()
    return dense(users, np.asarray(scorer.user_embeddings), SHAPE[0]) @ (
        dense(items, np.asarray(scorer.item_embeddings), SHAPE[1]).T
    )


RANKS = [8, 16, 32, 64, 128]
EASE = {
    "regularization": (10.0, 2000.0),
    "dropout": [0.0, 0.2, 0.4, 0.6],
    "max_self_weight": [0.0, 0.1, 0.3, 0.5],
}
SIDES: dict[str, tuple[Callable[..., Floats], Mapping[str, Any]]] = {
    "als": (
        als,
        {
            "rank": RANKS,
            "regularization": (1e-3, 1.0),
            "alpha": (0.2, 20.0),
            "nu": [1.0],
            "objective": ["hu_koren"],
        },
    ),
    "ease": (ease, EASE),
    "slim": (slim, {"l1_regularization": (0.2, 20.0), "l2_regularization": (2.0, 500.0)}),
    "blend": (blend, {"rank": RANKS, **EASE}),
    "fastslim": (fastslim, {"lambd": (0.2, 20.0), "beta": (2.0, 500.0)}),
    "irspack-ease": (irspack("DenseSLIMRecommender"), {"reg": (10.0, 2000.0)}),
    "irspack-slim": (
        irspack("SLIMRecommender"),
        {"alpha": (1e-4, 1.0), "l1_ratio": (0.005, 0.5)},
    ),
    "rp3beta": (
        irspack("RP3betaRecommender"),
        {"alpha": (0.5, 1.5), "beta": (0.2, 1.0), "top_k": [50, 100, 200, 400, 800]},
    ),
    "implicit": (
        implicit,
        {"factors": RANKS, "regularization": (0.1, 300.0), "alpha": (0.2, 20.0)},
    ),
    "mllib": (mllib, {"rank": RANKS, "regParam": (1e-3, 1.0), "alpha": (0.2, 20.0)}),
    "lenskit": (
        lenskit,
        {"embedding_size": RANKS, "regularization": (0.1, 300.0), "weight": (0.2, 20.0)},
    ),
}

PACKAGES = {
    **{name: name for name in ("implicit", "lenskit", "fastslim")},
    **dict.fromkeys(("irspack-ease", "irspack-slim", "rp3beta"), "irspack"),
}


def show(result: dict[str, Any]) -> None:
    """The figures as a table."""
    print(f"ml-100k, split {result['split']}, {result['budget']} draws, {result['seeds']} seeds")
    print(f"{'side':<14}{'NDCG@10':>10}{'recall@20':>11}")
    for name, row in result["quality"].items():
        print(f"{name:<14}{row['ndcg@10']:>10}{row['recall@20']:>11}")


if __name__ == "__main__":
    main()
