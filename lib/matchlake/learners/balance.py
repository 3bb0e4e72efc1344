"""Balances the classes of a training part before a fit: by synthetic rows, or by weights."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from matchlake.errors import InputError, ParameterError
from matchlake.learners.params import BalanceParams, ClassWeightsParams
from matchlake.learners.protocol import TrainingData, label_text
from matchlake.learners.smote import smote


def balanced(
    data: TrainingData, params: BalanceParams | None, seed: int, categories: Sequence[Sequence[int]]
) -> TrainingData:
    """Returns the training rows, followed by synthetic rows, or with weights.

    `categories` has the columns of each encoded category. Raises InputError for rows that
    cannot be balanced, ParameterError for a class that does not exist.
    """
    if params is None:
        return data
    if data.label is None:
        raise InputError("balance is for classification only: it needs a label.")
    if isinstance(params, ClassWeightsParams):
        return replace(data, weights=class_weights(data.label, params))
    return smote(data, params, seed, categories)


def class_weights(label: Any, params: ClassWeightsParams) -> Any:
    """The weight of each row by its class; raises ParameterError for a class that no row has."""
    codes, values = pd.factorize(label, sort=True)
    counts = np.bincount(codes)
    if params.weights == "balanced":
        return (len(label) / (len(counts) * counts))[codes]
    names = [label_text(value) for value in values]
    for name in params.weights:
        if name not in names:
            raise ParameterError.unknown(
                f"weights: there is no class {name!r}.", name, "Classes", names
            )
    return np.array([params.weights.get(name, 1.0) for name in names])[codes]


def row_counts(before: TrainingData, after: TrainingData) -> Mapping[str, int]:
    """Counts the rows before as `rows/CLASS`, and the new ones as `synthetic_rows/CLASS`."""
    if before.label is None or after.label is None:
        return {}
    counted = {
        "rows": np.unique(before.label, return_counts=True),
        "synthetic_rows": np.unique(after.label[before.rows :], return_counts=True),
    }
    return {
        f"{what}/{label_text(value)}": int(count)
        for what, (values, counts) in counted.items()
        for value, count in zip(values, counts, strict=True)
    }
