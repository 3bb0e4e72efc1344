"""The encoders of side features: declares, fits and applies them on tables, without Spark."""

import re
from collections.abc import Mapping
from itertools import groupby
from typing import NamedTuple

import pyarrow as pa

from matchlake.engine.csr import Floats
from matchlake.errors import SchemaError
from matchlake.features.categories import MultiHot, OneHot
from matchlake.features.feature_set import PLAIN_NAME, FeatureSet
from matchlake.features.fit import fit_features
from matchlake.features.kinds import Feature
from matchlake.features.model import FeatureModel
from matchlake.features.names import Names
from matchlake.features.scalers import MaxAbs
from matchlake.features.table_statistics import spark_types
from matchlake.recommender.matchbox.row_encoder import vectors_of
from matchlake.recommender.matchbox.sampler.link_matrix import Source

_NUMBER = re.compile(r"tinyint|smallint|int|bigint|float|double|decimal.*")


class Encoders(NamedTuple):
    """The encoder of each side: a declared set, a fitted set, or None for the default.

    The default encodes every column except the id. Numbers are divided by their largest absolute
    value, and missing numbers are replaced by the mean. Strings, booleans and dates are categories;
    lists are sets of categories. A missing value is a separate category.
    """

    users: FeatureSet | FeatureModel | None = None
    items: FeatureSet | FeatureModel | None = None


class FittedEncoders(NamedTuple):
    """The fitted encoder of each side; None for a side without features."""

    users: FeatureModel | None
    items: FeatureModel | None


def declare(types: Mapping[str, str], key: str) -> FeatureSet:
    """Returns the default feature set, from the columns' Spark types; see `Encoders`.

    The ids are in the column `key`. A feature has its column's name or, if that is not a valid name
    of a feature, the column's number.
    """
    features: dict[str, Feature] = {}
    names = Names()
    for column in types:
        names.reserve(column)
    for index, (column, kind) in enumerate(types.items()):
        if column == key:
            continue
        plain = re.fullmatch(PLAIN_NAME, column)
        name = column if plain else names.claim("column", str(index))
        if _NUMBER.fullmatch(kind):
            features[name] = MaxAbs(column=column, handle_null="mean")
        elif kind.startswith("array<"):
            features[name] = MultiHot(column=column, handle_null="indicator")
        else:
            features[name] = OneHot(column=column, handle_null="indicator")
    if not features:
        raise SchemaError(
            f"The feature frame has no column besides {key}: add features, or pass None."
        )
    return FeatureSet(name="matchbox", keys=(key,), features=features)


def fit_table_encoder(
    table: pa.Table, key: str, encoders: Encoders | None, side: int
) -> FeatureModel:
    """Fits the encoder of one side from a table."""
    chosen = None if encoders is None else encoders[side]
    if isinstance(chosen, FeatureModel):
        return chosen
    declared = chosen or declare(spark_types(table), key)
    return fit_features(table, declared.model_copy(update={"keys": (key,)}))


def encode_table(table: pa.Table, encoder: FeatureModel) -> Floats:
    """Returns the feature vectors of the rows, as `encoding.encode` does."""
    features = encoder.numpy
    missing = [name for name in features.columns if name not in table.column_names]
    if missing:
        raise SchemaError.missing("the feature table", missing, table.column_names)
    columns = {name: table[name].to_pandas() for name in features.columns}
    return vectors_of(encoder.features, features.transform(columns))


def sources_of(
    encoders: FittedEncoders,
) -> tuple[tuple[Source, ...] | None, tuple[Source, ...] | None]:
    """Returns the sources of each side's vectors, in order; None for a side without features."""
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
