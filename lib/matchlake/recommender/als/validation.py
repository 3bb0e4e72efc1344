"""Measures the validation part on Spark during a fit."""

import math

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from matchlake.recommender.als.early_stopping import LIST_LENGTH
from matchlake.recommender.als.model import FactorModel
from matchlake.recommender.als.params import AlsParams
from matchlake.recommender.als.reports import nothing_to_measure, validation_columns
from matchlake.recommender.columns import require_columns
from matchlake.schemas import ITEM_ID, SCORE, USER_ID


def require_measurable(validation: DataFrame, params: AlsParams) -> None:
    """Raises SchemaError or InputError unless `validation` has a pair to measure; one action."""
    needed = validation_columns(params)
    require_columns(validation, needed, "the validation part")
    if validation.select(*needed).dropna().isEmpty():
        raise nothing_to_measure(needed)


def measure(model: FactorModel, validation: DataFrame, seen: DataFrame, params: AlsParams) -> float:
    """Computes the metric of `EarlyStopping`; one or two actions."""
    explicit = params.feedback == "explicit"
    return _rmse(model, validation, params) if explicit else _recall(model, validation, seen)


def _rmse(model: FactorModel, pairs: DataFrame, params: AlsParams) -> float:
    error = F.col(SCORE) - F.col(params.value_column)
    row = model.score(pairs).agg(F.sqrt(F.avg(error * error)).alias("rmse")).collect()[0]
    return math.inf if row["rmse"] is None else float(row["rmse"])


def _recall(model: FactorModel, pairs: DataFrame, seen: DataFrame) -> float:
    pairs = pairs.select(USER_ID, ITEM_ID).distinct()
    lists = model.recommend_items(pairs.select(USER_ID), LIST_LENGTH, exclude_seen=seen)
    hits = pairs.join(
        lists.select(USER_ID, ITEM_ID, F.lit(1).alias("hit")), [USER_ID, ITEM_ID], "left"
    )
    row = hits.agg(F.sum("hit").alias("hits"), F.count(F.lit(1)).alias("all")).collect()[0]
    hit_count, pair_count = int(row["hits"] or 0), int(row["all"])
    return hit_count / max(1, pair_count)
