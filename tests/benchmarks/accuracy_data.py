"""Ratings and features that accuracy is measured on, in folds fixed beforehand."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from matchlake.sandbox.movielens import bundled_movielens

AGES = (0, 18, 25, 35, 45, 50, 56, 200)
"""Age groups: those that the later MovieLens sets are published with."""

FOLD = 20_000


@dataclass(frozen=True)
class Ratings:
    """Ratings (user_id, item_id, rating, event_time) with a feature frame a side."""

    name: str
    ratings: pd.DataFrame
    users: pd.DataFrame
    items: pd.DataFrame
    stars: tuple[float, float]

    def parts(self, fold: int) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Training and test rows of fold 1, 2, ..."""
        test = self.test_rows(fold)
        return self.ratings[~test], self.ratings[test]

    def test_rows(self, fold: int) -> npt.NDArray[np.bool_]:
        """Which rows fold `fold` tests on: published u1..u5 are blocks of the file's order."""
        rows = np.arange(len(self.ratings))
        return (rows >= (fold - 1) * FOLD) & (rows < fold * FOLD)

    def validation(self, fold: int, share: float = 0.1, seed: int = 1) -> "Ratings":
        """The training rows of `fold` alone, shuffled so that fold 1 of them is a random part."""
        train, _ = self.parts(fold)
        order = np.random.default_rng(seed).permutation(len(train))
        kept = train.iloc[order].reset_index(drop=True)
        return _Validation(self.name, kept, self.users, self.items, self.stars, share)


@dataclass(frozen=True)
class _Validation(Ratings):
    share: float

    def test_rows(self, fold: int) -> npt.NDArray[np.bool_]:
        size = int(self.share * len(self.ratings))
        rows = np.arange(len(self.ratings))
        return (rows >= (fold - 1) * size) & (rows < fold * size)


def ml_100k() -> Ratings:
    """MovieLens-100K: age group, gender, occupation, zip area; year and genres."""
    source = bundled_movielens()
    users, items = source.read_users(), source.read_items()
    if users is None:
        raise ValueError("the bundled set has no users")
    features = pd.DataFrame(
        {
            "user_id": users["user_id"],
            "age": pd.cut(users["age"], AGES, right=False).astype(str),
            "gender": users["gender"],
            "occupation": users["occupation"],
            "area": users["zip_code"].str[0],
        }
    )
    return Ratings("ml-100k", source.read_ratings(), features, item_features(items), (1.0, 5.0))


def item_features(items: pd.DataFrame) -> pd.DataFrame:
    """Genres, and the year of release: single years from 1990 on, decades before."""
    year = items["year"].astype("Int64")
    period = year.where(year >= 1990, year // 10 * 10).astype("string")
    return pd.DataFrame(
        {"item_id": items["item_id"], "period": period.astype(object), "genres": items["genres"]}
    )
