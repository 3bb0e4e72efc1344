"""Columns of users and items as feature vectors, by the encoders of `features`."""

import re
from functools import reduce
from itertools import groupby
from operator import add
from typing import NamedTuple

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import ArrayType, NumericType

from matchlake.errors import SchemaError
from matchlake.features.categories import MultiHot, OneHot
from matchlake.features.feature_set import PLAIN_NAME, FeatureSet
from matchlake.features.fit import fit_features
from matchlake.features.kinds import Feature
from matchlake.features.model import FeatureModel
from matchlake.features.names import Names
from matchlake.features.scalers import MaxAbs
from matchlake.recommender.columns import require_columns
from matchlake.recommender.matchbox.sampler.link_matrix import Source

VECTOR = "x"
"""The column of a feature vector: array<float>."""


class Encoders(NamedTuple):
    """How columns become features, per side: declared, fitted before, or None for the default.

    The default takes every column but the id. Numbers are divided by their largest absolute value,
    and the mean replaces missing ones. Strings, booleans and dates are categories, lists are sets
    of categories; a missing value is a category of its own.
    """

    users: FeatureSet | FeatureModel | None = None
    items: FeatureSet | FeatureModel | None = None


class FittedEncoders(NamedTuple):
    """The fitted encoder of each side; None for a side without features."""

    users: FeatureModel | None
    items: FeatureModel | None


def declare_features(frame: DataFrame, key: str) -> FeatureSet:
    """The default feature set of `frame` with ids in `key`; see `Encoders`.

    A feature has its column's name or, if that is no name of a feature, the column's number.
    """
    features: dict[str, Feature] = {}
    names = Names()
    for column in frame.schema.names:
        names.reserve(column)
    for index, field in enumerate(frame.schema):
        column = field.name
        if column == key:
            continue
        plain = re.fullmatch(PLAIN_NAME, column)
        name = column if plain else names.claim("column", str(index))
        if isinstance(field.dataType, NumericType):
            features[name] = MaxAbs(column=column, handle_null="mean")
        elif isinstance(field.dataType, ArrayType):
            features[name] = MultiHot(column=column, handle_null="indicator")
        else:
            features[name] = OneHot(column=column, handle_null="indicator")
    if not features:
        raise SchemaError(
            f"The feature frame has no column beside {key}: add features, or give None instead."
        )
    return FeatureSet(name="matchbox", keys=(key,), features=features)


def fit_encoder(frame: DataFrame, key: str, encoders: Encoders | None, side: int) -> FeatureModel:
    """The fitted encoder of one side; starts a Spark job unless it is fitted already."""
    require_columns(frame, (key,), "the feature frame")
    chosen = None if encoders is None else encoders[side]
    if isinstance(chosen, FeatureModel):
        return chosen
    declared = chosen or declare_features(frame, key)
    return fit_features(frame, declared.model_copy(update={"keys": (key,)}))


def encode(frame: DataFrame, key: str, encoder: FeatureModel) -> DataFrame:
    """`key` and `x`, the feature vector of each row; lazy.

    A value that is still missing becomes zero. The ones of a list are divided by the root of their
    number, so that a long list weighs as much as a short one.
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


def sources_of(
    encoders: FittedEncoders,
) -> tuple[tuple[Source, ...] | None, tuple[Source, ...] | None]:
    """The sources of each side's vectors, in their order; None for a side without features."""
    users, items = (
        None
        if encoder is None
        else tuple(
            Source(name, len(list(outputs)))
            for name, outputs in groupby(encoder.outputs(), key=lambda output: output.feature)
        )
        for encoder in encoders
    )
    return users, items


def _number(name: str) -> Column:
    return F.col(f"`{name}`").cast("double")
