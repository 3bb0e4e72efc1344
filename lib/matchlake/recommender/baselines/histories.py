"""Users' histories, one row a user, and how they get to and from compiled code."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from matchlake.engine.arrow import combined, offsets_of
from matchlake.engine.csr import Csr
from matchlake.errors import InputError
from matchlake.recommender.checkpoint import Cut
from matchlake.recommender.columns import require_columns
from matchlake.recommender.ids import dense_ids
from matchlake.schemas import ITEM_ID, USER_ID

ITEM_IDX = "item_idx"
OBSERVED = "observed"
COLUMNS = "columns"
STRENGTHS = "strengths"


@dataclass(frozen=True)
class Histories:
    """`users`: `user_id`, `columns` (array of int, ascending item_idx), `strengths` (of float).

    `items`: `item_id`, `item_idx` (int, 0 to `size` - 1 in the order of the ids), `observed` (long,
    users who met the item).
    """

    users: DataFrame
    items: DataFrame
    size: int


def histories(interactions: DataFrame, value_column: str | None, cut: Cut) -> Histories:
    """Collects each user's items; a pair that comes twice adds up, a null is passed over.

    Without a `value_column` every pair has strength 1. Starts what `cut` starts, for the ids, the
    items and the users, and one job that counts the items.
    """
    needed = (USER_ID, ITEM_ID) if value_column is None else (USER_ID, ITEM_ID, value_column)
    require_columns(interactions, needed, "interactions")
    known = interactions.dropna(subset=list(needed))
    ids, size = dense_ids(known, ITEM_ID, cut)
    if size == 0:
        raise InputError("interactions hold no user with an item: there is nothing to learn from.")
    value = F.lit(1.0) if value_column is None else F.sum(value_column)
    pairs = known.groupBy(USER_ID, ITEM_ID).agg(value.cast("float").alias("value"))
    counts = pairs.groupBy(ITEM_ID).agg(F.count("*").alias(OBSERVED))
    index = F.col("idx").cast("int").alias(ITEM_IDX)
    items = cut(ids.join(counts, ITEM_ID).select(ITEM_ID, index, OBSERVED))
    entry = F.struct(ITEM_IDX, "value")
    rows = (
        pairs.join(items.drop(OBSERVED), ITEM_ID)
        .groupBy(USER_ID)
        .agg(F.sort_array(F.collect_list(entry)).alias("row"))
    )
    users = rows.select(
        USER_ID, F.col("row")[ITEM_IDX].alias(COLUMNS), F.col("row")["value"].alias(STRENGTHS)
    )
    return Histories(cut(users), items, size)


def csr_of(table: pa.Table, columns: str, values: str, width: int) -> Csr:
    """Two columns of arrays, as Arrow has them, as compressed rows."""
    lists = combined(table[columns])
    return Csr(
        offsets_of(lists),
        np.asarray(lists.flatten()).astype(np.int32, copy=False),
        np.asarray(combined(table[values]).flatten()).astype(np.float32, copy=False),
        width,
    )
