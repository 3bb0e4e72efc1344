"""The defaults of implicit ALS on five sets, beside a random search and the defaults of peers.

    python tests/benchmarks/bench_defaults.py --json
    python tests/benchmarks/bench_defaults.py --choose --sets planted

A fifth of the pairs is held out at random; NDCG at 10 counts every held-out pair as relevant. The
search draws settings, judges them on a fifth of the training part, and fits the best to the whole
training part. The fits run in memory, on the weights that `fit_als` would fit. `--choose` fits a
grid of the two constants of the rule; for each set it takes those that are best on the others.
"""

import argparse
import json
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from tests.benchmarks.implicit_sets import SETS, Interactions
from tests.benchmarks.marks import with_marks
from tests.benchmarks.runs import pin, versions
from threadpoolctl import threadpool_limits

from matchlake.engine.csr import csr_from_pairs
from matchlake.engine.top_k import lists_of, pack_targets, top_k
from matchlake.recommender.als import defaults
from matchlake.recommender.als.in_memory import fit_rows
from matchlake.recommender.als.params import AlsParams
from matchlake.recommender.interaction_stats import InteractionStats
from matchlake.recommender.scaled_weights import scaled_weights

Floats = npt.NDArray[np.float32]
Sides = tuple[Floats, Floats]
GRID = [(unobserved, penalty) for unobserved in (2.5, 3.5, 5.0) for penalty in (0.55, 0.7, 0.85)]
WEIGHTS: dict[str, Callable[[Floats], Floats]] = {
    "weight": lambda weights: weights,
    "weight * 1000": lambda weights: 1000 * weights,
    "log(1 + weight)": np.log1p,
}


def main() -> None:
    """Runs the benchmark that the command line describes."""
    options = arguments()
    pin(options.threads)
    names = options.sets.split(",")
    with threadpool_limits(1, "blas"):  # As Spark's tasks have it.
        rows = {name: measure(name, options) for name in names}
        result: dict[str, Any] = {
            "bench": "defaults",
            "cores": options.threads,
            "ndcg": rows,
            "ratio": {name: ratios(row) for name, row in rows.items()},
            "units": units(options) if "ml-100k" in names else {},
            "chosen": choose(names, rows, options) if options.choose else {},
            "versions": versions(*(n for n in ("implicit", "lenskit") if n in options.peers)),
        }
    print(json.dumps(with_marks("defaults", result)) if options.json else result)


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sets", default=",".join(SETS), help=f"some of {','.join(SETS)}")
    parser.add_argument("--budget", type=int, default=20, help="draws of the random search")
    parser.add_argument("--peers", default="implicit,lenskit")
    parser.add_argument("--choose", action="store_true", help="fit the grid of constants, too")
    parser.add_argument("--threads", type=int, default=2, help="cores all sides are pinned to")
    parser.add_argument("--json", action="store_true", help="print one JSON object as last line")
    return parser.parse_args()


def measure(name: str, options: argparse.Namespace) -> dict[str, Any]:
    """NDCG at 10 of the default, of the search, of popularity and of the peers on one set."""
    train, test = SETS[name]().parts(0)
    row: dict[str, Any] = {
        "default": ndcg(fit(train, options), train, test),
        "popularity": ndcg(popularity(train), train, test),
    }
    for peer in filter(None, options.peers.split(",")):
        row[peer] = ndcg(PEERS[peer](train), train, test)
    if options.budget:
        row["search"], row["drawn"] = search((train, test), options)
    print(name, row, flush=True)
    return row


def ratios(row: dict[str, Any]) -> dict[str, float]:
    """The default's figure divided by the others'."""
    others = {name: value for name, value in row.items() if isinstance(value, float)}
    return {name: round(row["default"] / v, 4) for name, v in others.items() if name != "default"}


def stats_of(data: Interactions) -> InteractionStats:
    """The size of the interactions, as a fit counts them."""
    weights = data.weights.astype(np.float64)
    users, items = len(np.unique(data.users)), len(np.unique(data.items))
    typical = float(np.exp(np.log(weights).mean()))
    return InteractionStats(
        len(weights), users, items, 0.0, weights.min(), weights.max(), weights.mean(), typical
    )


def fit(data: Interactions, options: argparse.Namespace, **given: Any) -> Sides:
    """The factors of a fit with defaults, or with some parameters given."""
    params = defaults.resolve(AlsParams(threads=options.threads, **given), stats_of(data))
    values = scaled_weights(data.weights, params.weight_scale)
    fitted = fit_rows(csr_from_pairs(data.users, data.items, values, data.shape), params)
    return fitted.users[:, : params.rank], fitted.items[:, : params.rank]


def search(
    parts: tuple[Interactions, Interactions], options: argparse.Namespace
) -> tuple[float, dict[str, Any]]:
    """The test figure of the draw that is best on a part of the training part."""
    train, test = parts
    inner, validation = train.parts(1)
    rng = np.random.default_rng(0)
    draws = [draw(rng) for _ in range(options.budget)]
    found = [ndcg(fit(inner, options, **each), inner, validation) for each in draws]
    best = draws[int(np.argmax(found))]
    return ndcg(fit(train, options, **best), train, test), best


def draw(rng: np.random.Generator) -> dict[str, Any]:
    """One setting: numbers even in the logarithm."""

    def between(low: float, high: float) -> float:
        return float(f"{math.exp(rng.uniform(math.log(low), math.log(high))):.3g}")

    return {
        "rank": int(rng.choice([16, 32, 64, 128])),
        "unobserved_weight": between(0.02, 2.0),
        "regularization": between(3e-4, 0.1),
    }


def popularity(train: Interactions) -> Sides:
    """Every user's score of an item is its number of users."""
    users, items = (np.zeros((size, 16), np.float32) for size in train.shape)
    users[:, 0] = 1.0
    items[:, 0] = np.bincount(train.items, minlength=train.shape[1])
    return users, items


def implicit(train: Interactions) -> Sides:
    """`implicit` with its defaults."""
    from implicit.cpu.als import AlternatingLeastSquares  # noqa: PLC0415
    from scipy.sparse import csr_matrix  # noqa: PLC0415

    matrix = csr_matrix((train.weights, (train.users, train.items)), train.shape)
    model = AlternatingLeastSquares(random_state=0, num_threads=2)
    model.fit(matrix, show_progress=False)
    return np.asarray(model.user_factors), np.asarray(model.item_factors)


def lenskit(train: Interactions) -> Sides:
    """LensKit's implicit ALS with its defaults."""
    import pandas as pd  # noqa: PLC0415
    from lenskit.als import ImplicitMFScorer  # noqa: PLC0415
    from lenskit.data import from_interactions_df  # noqa: PLC0415
    from lenskit.training import TrainingOptions  # noqa: PLC0415

    frame = pd.DataFrame({"user_id": train.users, "item_id": train.items, "rating": train.weights})
    scorer = ImplicitMFScorer()
    scorer.train(from_interactions_df(frame), TrainingOptions(rng=0))
    sides = []
    for ids, rows, size in (
        (scorer.users.ids(), scorer.user_embeddings, train.shape[0]),
        (scorer.items.ids(), scorer.item_embeddings, train.shape[1]),
    ):
        dense = np.zeros((size, np.asarray(rows).shape[1]), np.float32)
        dense[np.asarray(ids)] = np.asarray(rows)
        sides.append(dense)
    return sides[0], sides[1]


PEERS: dict[str, Callable[[Interactions], Sides]] = {"implicit": implicit, "lenskit": lenskit}


def best_items(found: Sides, train: Interactions) -> npt.NDArray[np.int64]:
    """The ten best items of each user, those of training left out."""
    seen = lists_of(train.users, train.items, *train.shape)
    users, items = (np.ascontiguousarray(side, dtype=np.float32) for side in found)
    return top_k(users, pack_targets(items), 10, seen).places.astype(np.int64)


def ndcg(found: Sides, train: Interactions, test: Interactions) -> float:
    """NDCG at 10 over the users with training and test pairs."""
    users = np.intersect1d(test.users, train.users)
    lists = best_items(found, train)[users]
    true = np.sort(test.users.astype(np.int64) * test.shape[1] + test.items)
    asked = users[:, None] * test.shape[1] + lists
    near = true[np.minimum(np.searchsorted(true, asked), len(true) - 1)]
    discounts = 1 / np.log2(np.arange(10) + 2)
    relevant = np.bincount(test.users, minlength=test.shape[0])[users]
    ideal = np.cumsum(discounts)[np.minimum(relevant, 10) - 1]
    return round(float(np.mean(((near == asked) & (lists >= 0)) @ discounts / ideal)), 4)


def units(options: argparse.Namespace) -> dict[str, dict[str, float]]:
    """MovieLens-100K in other units: the share of equal items in the lists, and NDCG's ratio."""
    train, test = SETS["ml-100k"]().parts(0)
    found = {}
    for name, unit in WEIGHTS.items():
        changed = Interactions(train.users, train.items, unit(train.weights), train.shape)
        sides = fit(changed, options)
        found[name] = best_items(sides, train), ndcg(sides, train, test)
    lists, figure = found.pop("weight")
    return {
        name: {"overlap": round(overlap(lists, theirs), 4), "ndcg_ratio": round(value / figure, 4)}
        for name, (theirs, value) in found.items()
    }


def overlap(ours: npt.NDArray[np.int64], theirs: npt.NDArray[np.int64]) -> float:
    """The share of items that both lists of a user have."""
    return float(np.mean((ours[:, :, None] == theirs[:, None, :]).any(axis=2)))


def choose(
    names: list[str], rows: dict[str, Any], options: argparse.Namespace
) -> dict[str, dict[str, Any]]:
    """For each set: the constants that are best on the other sets, and their figure on it."""
    figures = {name: [with_constants(name, pair, options) for pair in GRID] for name in names}
    chosen = {}
    for left_out in names:
        shares = [
            np.array(figures[n]) / max(rows[n].get("search", 0), *figures[n])
            for n in names
            if n != left_out
        ]
        best = int(np.argmax(np.min(shares, axis=0))) if shares else 0
        figure = figures[left_out][best]
        chosen[left_out] = {"constants": GRID[best], "default": figure}
        if "search" in rows[left_out]:
            chosen[left_out]["ratio"] = round(figure / rows[left_out]["search"], 4)
        print(left_out, chosen[left_out], figures[left_out], flush=True)
    return chosen


def with_constants(name: str, pair: tuple[float, float], options: argparse.Namespace) -> float:
    """The default's figure with other constants of the rule."""
    train, test = SETS[name]().parts(0)
    kept = defaults.UNOBSERVED, defaults.PENALTY
    try:
        defaults.UNOBSERVED, defaults.PENALTY = pair
        return ndcg(fit(train, options), train, test)
    finally:
        defaults.UNOBSERVED, defaults.PENALTY = kept


if __name__ == "__main__":
    main()
