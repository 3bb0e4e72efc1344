"""Small planted ratings and features as frames, for fits on Spark."""

from datetime import datetime, timedelta
from typing import NamedTuple

import numpy as np
from pyspark.sql import DataFrame, SparkSession
from tests.support.matchbox_cases import planted

START = datetime(2024, 1, 1)


class Frames(NamedTuple):
    """Ratings, and features of users and items."""

    ratings: DataFrame
    users: DataFrame
    items: DataFrame


def planted_frames(spark: SparkSession) -> Frames:
    """60 users and 50 items; user u60 and item i50 are known by their features only."""
    case = planted(8, users=60, items=50)
    rows = [
        (
            f"u{u:02}",
            f"i{i:02}",
            float(np.clip(np.round(value), 1, 5)),
            START + timedelta(days=int(u)),
        )
        for (u, i), value in zip(case.places, case.values, strict=True)
    ]
    users = [
        (f"u{u:02}", *("ab"[int(v)] for v in x[:2]), float(x[2])) for u, x in enumerate(case.x)
    ]
    users.append(("u60", "a", None, 1.0))
    items = [(f"i{i:02}", ["x", "y"] if i % 2 else ["x"]) for i in range(51)]
    return Frames(
        spark.createDataFrame(
            rows, "user_id string, item_id string, rating double, event_time timestamp"
        ),
        spark.createDataFrame(users, "user_id string, one string, two string, three double"),
        spark.createDataFrame(items, "item_id string, tags array<string>"),
    )
