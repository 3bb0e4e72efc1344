"""The two sides of a recommender by number, and the id column of each."""

from matchlake.schemas import ITEM_ID, USER_ID

USER, ITEM = 0, 1

KEYS = (USER_ID, ITEM_ID)
"""The id columns of users and of items, by side."""

INDICES = ("user_idx", "item_idx")
"""The columns of dense indices of users and of items, by side."""
