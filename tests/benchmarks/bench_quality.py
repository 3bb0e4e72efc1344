"""Quality of implicit ALS on MovieLens-100K against its peers, with an equal search budget.

    python -m tests.benchmarks.bench_quality --trials 12 --peers implicit,mllib,lenskit

Each side draws as many configurations from its own space, takes the best by NDCG at 10 of a
validation part, is fitted again on all but the test part, and measured on that. Every rating is an
interaction of strength 1. One split is random, one by time (a user's latest fifth).
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from matchlake.recommender.blocks import csr_from_pairs
from matchlake.recommender.fit import fit_rows
from matchlake.recommender.params import AlsParams
from matchlake.recommender.topk import lists_of, top_k
from matchlake.sandbox.movielens import bundled_movielens

Floats = npt.NDArray[np.float32]
Choice = dict[str, Any]


@dataclass(frozen=True)
class Part:
    """Interactions as dense indices."""

    users: npt.NDArray[np.int32]
    items: npt.NDArray[np.int32]
    shape: tuple[int, int]

    def matrix(self) -> Any:
        from scipy.sparse import csr_matrix  # noqa: PLC0415

        return csr_matrix(
            (np.ones(len(self.users), np.float32), (self.users, self.items)), self.shape
        )


Side = tuple[
    Callable[[np.random.Generator], Choice], Callable[[Part, Choice], tuple[Floats, Floats]]
]


def main() -> None:
    """Searches, measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=12)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--peers", default="implicit,mllib,lenskit")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    ratings = bundled_movielens().read_ratings()
    names = ["matchlake", *filter(None, options.peers.split(","))]
    result: dict[str, Any] = {"bench": "quality", "trials": options.trials, "splits": {}}
    for split in ("random", "time"):
        rows = result["splits"].setdefault(split, {})
        for name in names:
            found = [
                search(ratings, split, name, options.trials, seed) for seed in range(options.seeds)
            ]
            rows[name] = {
                k: round(float(np.mean([f[k] for f in found])), 4)
                for k in found[0]
                if k != "chosen"
            }
            rows[name]["chosen"] = found[0]["chosen"]
            print(f"{split:<8}{name:<11}{rows[name]}", flush=True)
    if options.json:
        print(json.dumps(result))


def search(ratings: pd.DataFrame, split: str, name: str, trials: int, seed: int) -> dict[str, Any]:
    """The test figures of the configuration that validation found best."""
    rest, test = cut(ratings, split, 0.2, seed)
    train, validation = cut(rest, split, 0.2, seed + 100)
    draw, fit = SIDES[name]
    rng = np.random.default_rng(seed)
    begin = time.perf_counter()
    choices = [draw(rng) for _ in range(trials)]
    inner = parts(train, validation)
    scored = [
        (measure(*inner, fit(inner[0], choice))["ndcg@10"], n) for n, choice in enumerate(choices)
    ]
    best = choices[max(scored)[1]]
    outer = parts(rest, test)
    figures: dict[str, Any] = measure(*outer, fit(outer[0], best))
    return figures | {"chosen": best, "seconds": time.perf_counter() - begin}


def cut(
    ratings: pd.DataFrame, split: str, share: float, seed: int
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """All but the test part, and the test part: a share of each user's rows."""
    order = np.random.default_rng(seed).random(len(ratings))
    key = pd.Series(order, ratings.index)
    if split == "time":
        key = ratings["event_time"].astype("int64") + key
    place = key.groupby(ratings["user_id"]).rank(method="first")
    count = ratings.groupby("user_id")["item_id"].transform("size")
    held = place > count - np.floor(share * count)
    return ratings[~held], ratings[held]


def parts(train: pd.DataFrame, test: pd.DataFrame) -> tuple[Part, Part]:
    """Both parts over the training part's ids; test rows of unknown items stay as item -1."""
    users, items = (pd.Index(sorted(train[c].unique())) for c in ("user_id", "item_id"))
    shape = len(users), len(items)
    made = [
        Part(
            users.get_indexer(frame["user_id"]).astype(np.int32),
            items.get_indexer(frame["item_id"]).astype(np.int32),
            shape,
        )
        for frame in (train, test)
    ]
    return made[0], made[1]


def measure(train: Part, test: Part, factors: tuple[Floats, Floats]) -> dict[str, float]:
    """NDCG at 10 and recall at 20, averaged over the users of the test part; the same for all."""
    users = np.unique(test.users[test.users >= 0])
    seen = lists_of(train.users, train.items, train.shape[0], train.shape[1])
    best = top_k(np.ascontiguousarray(factors[0]), np.ascontiguousarray(factors[1]), 20, seen)
    discounts = 1 / np.log2(np.arange(10) + 2.0)
    gains, recalls = [], []
    for user in users:
        truth = test.items[test.users == user]
        hits = np.isin(best.places[user], truth[truth >= 0])
        gains.append((hits[:10] * discounts).sum() / discounts[: min(10, len(truth))].sum())
        recalls.append(hits.sum() / min(20, len(truth)))
    return {"ndcg@10": float(np.mean(gains)), "recall@20": float(np.mean(recalls))}


def draw_ours(rng: np.random.Generator) -> Choice:
    return {
        "rank": int(rng.choice([16, 32, 64, 128])),
        "regularization": float(10 ** rng.uniform(-3.5, -1.5)),
        "unobserved_weight": float(10 ** rng.uniform(-1.5, 0)),
        "iterations": int(rng.choice([10, 16])),
    }


def fit_ours(part: Part, choice: Choice) -> tuple[Floats, Floats]:
    params = AlsParams(**choice)
    ones = np.ones(len(part.users), np.float32)
    fitted = fit_rows(csr_from_pairs(part.users, part.items, ones, part.shape), params)
    return fitted.users, fitted.items


def draw_peer(rng: np.random.Generator) -> Choice:
    return {
        "rank": int(rng.choice([16, 32, 64, 128])),
        "regularization": float(10 ** rng.uniform(-3, 1.5)),
        "alpha": float(10 ** rng.uniform(0, 2)),
        "iterations": int(rng.choice([10, 16])),
    }


def draw_mllib(rng: np.random.Generator) -> Choice:
    return draw_peer(rng) | {"regularization": float(10 ** rng.uniform(-3, 0))}


def fit_implicit(part: Part, choice: Choice) -> tuple[Floats, Floats]:
    from implicit.cpu.als import AlternatingLeastSquares  # noqa: PLC0415

    model = AlternatingLeastSquares(
        factors=choice["rank"],
        regularization=choice["regularization"],
        alpha=choice["alpha"],
        iterations=choice["iterations"],
        num_threads=1,
        random_state=0,
    )
    model.fit(part.matrix(), show_progress=False)
    return model.user_factors, model.item_factors


def fit_mllib(part: Part, choice: Choice) -> tuple[Floats, Floats]:
    from pyspark.ml.recommendation import ALS  # noqa: PLC0415
    from pyspark.sql import SparkSession  # noqa: PLC0415

    os.environ["PYSPARK_PYTHON"] = sys.executable
    builder = SparkSession.builder.master("local[2]").config("spark.ui.enabled", "false")
    builder = builder.config("spark.ui.showConsoleProgress", "false")
    spark = builder.config("spark.driver.memory", "1g").getOrCreate()
    frame = spark.createDataFrame(pd.DataFrame({"u": part.users, "i": part.items, "r": 1.0}))
    model = ALS(
        rank=choice["rank"],
        maxIter=choice["iterations"],
        regParam=choice["regularization"],
        alpha=choice["alpha"],
        implicitPrefs=True,
        userCol="u",
        itemCol="i",
        ratingCol="r",
        numUserBlocks=2,
        numItemBlocks=2,
        seed=0,
    ).fit(frame)
    sides = []
    for rows, size in ((model.userFactors, part.shape[0]), (model.itemFactors, part.shape[1])):
        table = rows.toPandas()
        dense = np.zeros((size, choice["rank"]), np.float32)
        dense[table["id"].to_numpy()] = np.stack(table["features"].tolist())
        sides.append(dense)
    return sides[0], sides[1]


def fit_lenskit(part: Part, choice: Choice) -> tuple[Floats, Floats]:
    from lenskit.als import ImplicitMFScorer  # noqa: PLC0415
    from lenskit.data import from_interactions_df  # noqa: PLC0415

    frame = pd.DataFrame({"user_id": part.users, "item_id": part.items})
    model = ImplicitMFScorer(
        embedding_size=choice["rank"],
        epochs=choice["iterations"],
        regularization=choice["regularization"],
        weight=choice["alpha"],
    )
    data = from_interactions_df(frame)
    model.train(data)
    sides = []
    for matrix, vocabulary, size in (
        (model.user_embeddings, data.users, part.shape[0]),
        (model.item_embeddings, data.items, part.shape[1]),
    ):
        dense = np.zeros((size, choice["rank"]), np.float32)
        dense[np.asarray(vocabulary.ids())] = np.asarray(matrix)
        sides.append(dense)
    return sides[0], sides[1]


SIDES: dict[str, Side] = {
    "matchlake": (draw_ours, fit_ours),
    "implicit": (draw_peer, fit_implicit),
    "mllib": (draw_mllib, fit_mllib),
    "lenskit": (draw_peer, fit_lenskit),
}

if __name__ == "__main__":
    main()
