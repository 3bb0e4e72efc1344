"""Fitted features without Spark, by NumPy's own statistics."""

import statistics
from typing import Any

import numpy as np

from matchlake.features.categories import MultiHot, OneHot
from matchlake.features.fitted import Declared
from matchlake.features.fitted_categories import FittedCategories
from matchlake.features.fitted_number import FittedNumber
from matchlake.features.model import FeatureModel
from matchlake.features.names import Names
from matchlake.features.numeric import NumericEncoder
from matchlake.features.scalers import Number
from matchlake.features.vocabulary import Category

X = np.array([0.5, 1.0, 2.0, 2.0, 7.5, 40.0])


def learn(feature: NumericEncoder, found: dict[str, Any]) -> FittedNumber:
    """The feature `f` of column `x`, from the statistics of a fit."""
    return FittedNumber.learn(Declared("f", "x", "double", feature), found, None, Names())


def number_statistics(values: Any, feature: NumericEncoder) -> dict[str, Any]:
    """The statistics that Spark would collect, by NumPy."""
    there = values[np.isfinite(values)]
    positive = np.log(there[there > 0]) if (there > 0).any() else np.array([np.nan])
    needs = {
        "mean": there.mean(),
        "std": there.std(),
        "log_mean": positive.mean(),
        "log_std": positive.std(),
        "mode": statistics.mode(sorted(there)),
    }
    fractions = feature.quantiles()
    quantiles = np.quantile(there, fractions, method="inverted_cdf") if fractions else ()
    return {
        "rows": len(there),
        "missing": int(np.isnan(values).sum()),
        "infinite": int(np.isinf(values).sum()),
        "minimum": there.min(),
        "maximum": there.max(),
        **{need: needs[need] for need in feature.needs()},
        "quantiles": tuple(zip(fractions, quantiles, strict=True)),
    }


def fitted_number(feature: NumericEncoder, values: Any = X) -> FittedNumber:
    """The feature fitted on `values`."""
    return learn(feature, number_statistics(values, feature))


def fitted_categories(
    kind: type[OneHot | MultiHot], type_name: str, **chosen: Any
) -> FittedCategories:
    """The feature `f` of column `x` with the categories 1, 2 and true."""
    return FittedCategories(
        name="f",
        column="x",
        type=type_name,
        feature=kind(**chosen),
        categories=tuple(
            Category(value=value, column=f"f_{value}", rows=1) for value in ("1", "2", "true")
        ),
        null_column="f_null" if chosen.get("handle_null") == "indicator" else None,
        unknown_column="f_unknown" if chosen.get("handle_unknown") == "indicator" else None,
    )


def model_of(*features: FittedNumber | FittedCategories) -> FeatureModel:
    """A model of these features."""
    return FeatureModel(name="t", rows=1, features=features)


def number_features(names: tuple[str, ...]) -> FeatureModel:
    """A feature set of number columns as they are, with the key `id`."""
    encoder = Number()
    found = number_statistics(np.arange(10.0), encoder)
    made = tuple(
        FittedNumber.learn(Declared(name, name, "double", encoder), found, None, Names())
        for name in names
    )
    return FeatureModel(name="t", rows=1, keys=("id",), features=made)
