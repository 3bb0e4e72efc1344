"""Returns the link weights as a table: the estimated effect of each feature on the rating."""

import numpy as np
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from matchlake.recommender.matchbox.frames import MatchboxFrames
from matchlake.recommender.sides import INDICES, KEYS

SCHEMA = (
    "feature string, source string, category string, idx long, effect float, effect_std float, "
    "effect_heterogeneity float"
)


def side_effects(model: MatchboxFrames, side: int) -> DataFrame:
    """Returns the table of one side; see `MatchboxModel.user_feature_effects`."""
    own, other = model.report.sides[side], model.report.sides[1 - side]
    encoder = model.encoders[side]
    links = own.links.astype(np.float64)
    typical = other.average[:, :-1]
    # effect: what the feature adds to the rating of an average row of the other side, per sample
    effect = links[:, :, -1] + np.einsum("sdk,sk->sd", links[:, :, :-1], typical)
    covariance = np.linalg.inv(other.precisions)[:, :-1, :-1]
    variance = np.einsum("sdk,skl,sdl->sd", links[:, :, :-1], covariance, links[:, :, :-1])
    names: list[tuple[str | None, str, str | None, int | None]] = []
    if encoder is not None:
        names += [(o.name, o.source, o.category, None) for o in encoder.outputs()]
    names += [(None, "history", None, int(idx)) for idx in other.seen]
    heterogeneity = np.sqrt(variance.mean(axis=0))
    figures = zip(effect.mean(axis=0), effect.std(axis=0), heterogeneity, strict=True)
    rows = [(*name, *map(float, figure)) for name, figure in zip(names, figures, strict=True)]
    table = model.user_factors.sparkSession.createDataFrame(rows, SCHEMA)
    index, key = INDICES[1 - side], KEYS[1 - side]
    ids = model.side(1 - side)
    ids = ids.select(F.col(index).alias("idx"), F.col(key).cast("string").alias("_id"))
    named = table.join(ids, "idx", "left").withColumn("category", F.coalesce("category", "_id"))
    feature = F.coalesce("feature", F.concat(F.lit("history_"), "_id"))
    columns = ("source", "category", "effect", "effect_std", "effect_heterogeneity")
    return named.select(feature.alias("feature"), *columns)
