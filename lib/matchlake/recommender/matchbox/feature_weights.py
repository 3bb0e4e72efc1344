"""The link weights as a table: which feature pulls a side's ratings which way."""

from typing import TYPE_CHECKING

import numpy as np
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from matchlake.recommender.matchbox.sampler.ratings import USER
from matchlake.schemas import ITEM_ID, USER_ID

if TYPE_CHECKING:
    from matchlake.recommender.matchbox.model import MatchboxModel

SCHEMA = (
    "feature string, source string, category string, idx long, pull float, deviation float, "
    "taste float"
)


def link_weights(model: "MatchboxModel", side: int) -> DataFrame:
    """The table of one side; see `MatchboxModel.user_weights`."""
    report, encoder = model.report, model.encoders[side]
    links = report[f"links_{side}"].astype(np.float64)
    typical = report[f"average_{1 - side}"][:, :-1]
    # What the feature adds to the rating of a typical row of the other side, in every sample.
    pull = links[:, :, -1] + np.einsum("sdk,sk->sd", links[:, :, :-1], typical)
    spread = np.linalg.inv(report[f"precisions_{1 - side}"])[:, :-1, :-1]
    taste = np.einsum("sdk,skl,sdl->sd", links[:, :, :-1], spread, links[:, :, :-1])
    names: list[tuple[str | None, str, str | None, int | None]] = []
    if encoder is not None:
        names += [(o.name, o.source, o.category, None) for o in encoder.outputs()]
    seen = report["seen_items" if side == USER else "seen_users"]
    names += [(None, "history", None, int(idx)) for idx in seen]
    figures = zip(pull.mean(axis=0), pull.std(axis=0), np.sqrt(taste.mean(axis=0)), strict=True)
    rows = [(*name, *map(float, figure)) for name, figure in zip(names, figures, strict=True)]
    table = model.users.sparkSession.createDataFrame(rows, SCHEMA)
    other, key, index = (
        (model.items, ITEM_ID, "item_idx") if side == USER else (model.users, USER_ID, "user_idx")
    )
    ids = other.select(F.col(index).alias("idx"), F.col(key).cast("string").alias("_id"))
    named = table.join(ids, "idx", "left").withColumn("category", F.coalesce("category", "_id"))
    feature = F.coalesce("feature", F.concat(F.lit("history_"), "_id"))
    return named.select(
        feature.alias("feature"), "source", "category", "pull", "deviation", "taste"
    )
