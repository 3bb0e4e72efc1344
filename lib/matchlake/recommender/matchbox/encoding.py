"""Encodes columns of users and items as feature vectors on Spark."""

from functools import reduce
from operator import add

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from matchlake.features.feature_set import FeatureSet
from matchlake.features.fit import fit_features
from matchlake.features.model import FeatureModel
from matchlake.recommender.columns import require_columns
from matchlake.recommender.matchbox.encoders import Encoders, declare
from matchlake.recommender.matchbox.single_task import VECTOR


def declare_features(frame: DataFrame, key: str) -> FeatureSet:
    """Returns the default feature set of `frame` with ids in `key`; see `Encoders`."""
    return declare({field.name: field.dataType.simpleString() for field in frame.schema}, key)


def fit_encoder(frame: DataFrame, key: str, encoders: Encoders | None, side: int) -> FeatureModel:
    """Fits the encoder of one side; starts a Spark job unless it is already fitted."""
    require_columns(frame, (key,), "the feature frame")
    chosen = None if encoders is None else encoders[side]
    if isinstance(chosen, FeatureModel):
        return chosen
    declared = chosen or declare_features(frame, key)
    return fit_features(frame, declared.model_copy(update={"keys": (key,)}))


def encode(frame: DataFrame, key: str, encoder: FeatureModel) -> DataFrame:
    """Returns `key` and `x`, the feature vector of each row; lazy.

    Values that are still missing become zero. The n ones of a list are divided by sqrt(n), so that
    long and short lists have the same weight.
    """
    whole = encoder.model_copy(update={"keys": (key,)}).transform(frame)
    lists = {fitted.name: fitted.outputs() for fitted in encoder.features if fitted.is_list}
    values = []
    for output in encoder.outputs():
        value = F.coalesce(_number(output.name), F.lit(0.0))
        if output.feature in lists:
            ones = reduce(add, [_number(part.name) for part in lists[output.feature]])
            value = value / F.sqrt(F.greatest(ones, F.lit(1.0)))
        values.append(F.nanvl(value, F.lit(0.0)).cast("float"))
    return whole.select(key, F.array(*values).alias(VECTOR))


def _number(name: str) -> Column:
    return F.col(f"`{name}`").cast("double")
