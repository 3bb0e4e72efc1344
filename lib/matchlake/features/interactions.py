"""Rating events to interactions: the last rating of each user for each item."""

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from matchlake.schemas import EVENT_TIME, ITEM_ID, RATING, USER_ID

_BROKER_ORDER = ("kafka_timestamp", "topic", "partition", "offset")


def latest_interactions(ratings: DataFrame) -> DataFrame:
    """The last rating of each user for each item. Lazy.

    Reads user_id, item_id, rating, event_time and the broker's kafka_timestamp, topic, partition
    and offset. Gives the columns of `silver.interactions`, one row per user and item. The latest
    event_time wins; ties are broken by kafka_timestamp, then topic, partition and offset. The same
    events therefore give the same rows, in whatever order they are read.
    """
    order = F.struct(EVENT_TIME, *_BROKER_ORDER, RATING)
    last = ratings.groupBy(USER_ID, ITEM_ID).agg(F.max(order).alias("last"))
    return last.select(USER_ID, ITEM_ID, f"last.{RATING}", f"last.{EVENT_TIME}")


def unknown_keys(interactions: DataFrame, entities: DataFrame, key: str) -> DataFrame:
    """Counts the interactions, and the distinct keys, whose `key` is not in `entities`. Lazy.

    One row: interactions, keys.
    """
    missing = interactions.join(entities.select(key).distinct(), key, "left_anti")
    return missing.agg(F.count("*").alias("interactions"), F.count_distinct(key).alias("keys"))
