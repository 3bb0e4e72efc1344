"""What other libraries predict on the same folds, from the same features where they take any.

Each is set as its authors' own examples set it; see the docstrings.
"""

import importlib.metadata
import sys
import types
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import sparse

Scores = npt.NDArray[np.float64]
Peer = Callable[["Given"], Scores]


class Given(NamedTuple):
    """A fold as pandas frames; `sweeps` and `burn_in` are those of the product's own fit."""

    train: pd.DataFrame
    test: pd.DataFrame
    users: pd.DataFrame | None
    items: pd.DataFrame | None
    sweeps: int
    burn_in: int
    seed: int


class Block(NamedTuple):
    """One side in a factorization machine: a feature row for each id, and the groups' widths."""

    ids: pd.Index
    rows: sparse.csr_matrix
    groups: list[int]

    def places(self, ids: pd.Series) -> npt.NDArray[np.int64]:
        return np.asarray(self.ids.get_indexer(ids), np.int64)


def myfm(given: Given, *, ordered: bool = False, history: bool = True) -> Scores:
    """myFM (Ohtsuka), a Bayesian factorization machine: rank 10, as in its MovieLens notebook.

    One-hot ids, features, and history both ways, as relation blocks with a group each; as many
    sweeps as ours, all of them after the burn-in kept.
    """
    module = _import_myfm()
    blocks = [block_of(given, "user_id", history), block_of(given, "item_id", history)]
    parts = (given.train, given.test)
    relations = [
        [
            module.RelationBlock(b.places(part[key]), b.rows)
            for b, key in zip(blocks, KEYS, strict=True)
        ]
        for part in parts
    ]
    groups = [width for block in blocks for width in block.groups]
    levels, codes = np.unique(given.train["rating"], return_inverse=True)
    kind = module.MyFMOrderedProbit if ordered else module.MyFMRegressor
    model = kind(rank=10, random_seed=given.seed + 42)
    model.fit(
        None,
        codes if ordered else given.train["rating"].to_numpy(),
        X_rel=relations[0],
        n_iter=given.sweeps,
        n_kept_samples=given.sweeps - given.burn_in,
        group_shapes=groups,
    )
    if ordered:
        return np.asarray(model.predict_proba(None, relations[1])) @ levels
    return np.asarray(model.predict(None, relations[1]))


def surprise_svdpp(given: Given) -> Scores:
    """SVD++ of Surprise with its defaults, those of its published table."""
    from surprise import Dataset, Reader, SVDpp  # noqa: PLC0415

    low, high = given.train["rating"].min(), given.train["rating"].max()
    columns = ["user_id", "item_id", "rating"]
    data = Dataset.load_from_df(given.train[columns], Reader(rating_scale=(low, high)))
    model = SVDpp(random_state=given.seed, cache_ratings=True)
    model.fit(data.build_full_trainset())
    pairs = zip(given.test["user_id"], given.test["item_id"], strict=True)
    return np.array([model.predict(user, item).est for user, item in pairs])


def lenskit_als(given: Given) -> Scores:
    """LensKit's biased matrix factorization with its defaults; its bias model where it has none."""
    import lenskit.als  # noqa: PLC0415
    from lenskit import batch, data  # noqa: PLC0415
    from lenskit.basic import BiasScorer, FallbackScorer  # noqa: PLC0415
    from lenskit.pipeline import RecPipelineBuilder  # noqa: PLC0415

    builder = RecPipelineBuilder()
    builder.scorer(lenskit.als.BiasedMFScorer())
    builder.predicts_ratings(fallback=BiasScorer())
    _ = FallbackScorer
    pipeline = builder.build()
    columns = ["user_id", "item_id", "rating"]
    pipeline.train(data.from_interactions_df(given.train[columns]))
    asked = given.test[columns[:2]].reset_index(drop=True)
    found = batch.predict(pipeline, data.ItemListCollection.from_df(asked), n_jobs=1)
    scores = found.to_df()[["user_id", "item_id", "score"]]
    scores[["user_id", "item_id"]] = scores[["user_id", "item_id"]].astype(str)
    joined = asked.astype(str).merge(scores, "left", ["user_id", "item_id"])
    return joined["score"].fillna(given.train["rating"].mean()).to_numpy()


def feature_means(given: Given) -> Scores:
    """Ridge regression of the rating on the features of both sides, without ids."""
    from sklearn.linear_model import Ridge  # noqa: PLC0415

    blocks = [block_of(given, key, history_features=False, ids=False) for key in KEYS]
    train, test = (
        sparse.hstack(
            [b.rows[b.places(part[key])] for b, key in zip(blocks, KEYS, strict=True)]
        ).tocsr()
        for part in (given.train, given.test)
    )
    model = Ridge(alpha=1.0).fit(train, given.train["rating"])
    return np.asarray(model.predict(test))


KEYS = ("user_id", "item_id")

PEERS: dict[str, Peer] = {
    "myFM": myfm,
    "myFM, ordered probit": lambda given: myfm(given, ordered=True),
    "Surprise SVD++": surprise_svdpp,
    "LensKit BiasedMF": lenskit_als,
    "feature means": feature_means,
}


def block_of(given: Given, key: str, history: bool, *, ids: bool = True) -> Block:  # noqa: FBT001
    """Ids (those of training), features and history of one side."""
    side, other = (0, 1) if key == KEYS[0] else (1, 0)
    known = pd.Index(sorted({*given.train[key], *given.test[key]}))
    trained = pd.Index(sorted(set(given.train[key])))
    parts = [_one_hot(known, trained)] if ids else []
    features = (given.users, given.items)[side]
    if features is not None:
        by_id = features.set_index(key).reindex(known)
        parts += [_encoded(by_id[column]) for column in by_id.columns]
    if history:
        others = pd.Index(sorted(set(given.train[KEYS[other]])))
        parts.append(_history(given.train, (known, key), (others, KEYS[other])))
    parts = parts or [sparse.csr_matrix((len(known), 1))]
    rows = sparse.hstack(parts).tocsr().astype(np.float64)
    return Block(known, rows, [part.shape[1] for part in parts])


def _one_hot(known: pd.Index, trained: pd.Index) -> sparse.csr_matrix:
    """A column for each trained id; an id known by its features only has none."""
    places = trained.get_indexer(known)
    rows = np.flatnonzero(places >= 0)
    shape = (len(known), len(trained))
    return sparse.csr_matrix((np.ones(len(rows)), (rows, places[rows])), shape)


def _encoded(column: pd.Series) -> sparse.csr_matrix:
    """One-hot categories; of lists all, over the root of their number."""
    lists = column.map(lambda value: list(value) if np.ndim(value) else [str(value)])
    flat = lists.explode().fillna("none")
    codes, names = pd.factorize(flat, sort=True)
    counts = np.maximum(lists.map(len).to_numpy(), 1)
    rows = np.repeat(np.arange(len(lists)), counts)
    shape = (len(lists), len(names))
    return sparse.csr_matrix((1.0 / np.sqrt(counts[rows]), (rows, codes)), shape)


def _history(
    train: pd.DataFrame, mine: tuple[pd.Index, str], others: tuple[pd.Index, str]
) -> sparse.csr_matrix:
    rows, columns = mine[0].get_indexer(train[mine[1]]), others[0].get_indexer(train[others[1]])
    counts = np.bincount(rows, minlength=len(mine[0]))
    shape = (len(mine[0]), len(others[0]))
    return sparse.csr_matrix((1.0 / np.sqrt(counts[rows]), (rows, columns)), shape)


def _import_myfm() -> types.ModuleType:
    """MyFM asks for its version through pkg_resources, which setuptools no longer brings."""
    stub = types.ModuleType("pkg_resources")
    stub.get_distribution = importlib.metadata.distribution  # type: ignore[attr-defined]
    stub.DistributionNotFound = importlib.metadata.PackageNotFoundError  # type: ignore[attr-defined]
    sys.modules.setdefault("pkg_resources", stub)
    import myfm  # noqa: PLC0415

    return myfm  # type: ignore[no-any-return]
