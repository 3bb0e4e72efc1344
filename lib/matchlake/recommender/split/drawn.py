"""Splits that draw pairs, users or items."""

from pyspark.sql import DataFrame

from matchlake.recommender.columns import require_columns
from matchlake.recommender.split.parts import draw, split_where
from matchlake.recommender.split.result import Split, check_fraction
from matchlake.schemas import ITEM_ID, USER_ID


def split_random(interactions: DataFrame, test_fraction: float = 0.2, *, seed: int = 0) -> Split:
    """Draws (user, item) pairs: each is in the test part with probability `test_fraction`."""
    require_columns(interactions, (USER_ID, ITEM_ID), "interactions")
    check_fraction(test_fraction)
    return split_where(interactions, draw(seed, "pair", USER_ID, ITEM_ID) < test_fraction)


def split_cold_users(
    interactions: DataFrame, test_fraction: float = 0.2, *, seed: int = 0
) -> Split:
    """Draws whole users: no user of the test part is in the training part."""
    require_columns(interactions, (USER_ID,), "interactions")
    check_fraction(test_fraction)
    return split_where(interactions, draw(seed, "user", USER_ID) < test_fraction)


def split_cold_items(
    interactions: DataFrame, test_fraction: float = 0.2, *, seed: int = 0
) -> Split:
    """Draws whole items: no item of the test part is in the training part."""
    require_columns(interactions, (ITEM_ID,), "interactions")
    check_fraction(test_fraction)
    return split_where(interactions, draw(seed, "item", ITEM_ID) < test_fraction)
