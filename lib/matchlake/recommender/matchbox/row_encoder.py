"""Encodes one row without Spark, for serving; gives the features of `encoding.encode`."""

import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from pydantic import TypeAdapter

from matchlake.engine.csr import Floats
from matchlake.errors import SchemaError
from matchlake.features.fitted import FittedFeature
from matchlake.features.kinds import Fitted
from matchlake.features.numpy_blocks import Matrix
from matchlake.features.numpy_features import NumpyFeatures

_FITTED: TypeAdapter[tuple[Fitted, ...]] = TypeAdapter(tuple[Fitted, ...])


class RowEncoder:
    """The encoder of one side, from the JSON of its `FeatureModel`."""

    def __init__(self, text: str) -> None:
        self._features = _FITTED.validate_python(json.loads(text)["features"])

    @cached_property
    def names(self) -> list[str]:
        """The columns that the features read."""
        return sorted({fitted.column for fitted in self._features})

    @cached_property
    def _numpy(self) -> NumpyFeatures:
        return NumpyFeatures(self._features)

    def encode(self, row: Mapping[str, Any]) -> Floats:
        """Returns the vector of one row, (1, features); absent columns count as missing.

        Raises SchemaError for an unknown column.
        """
        unknown = sorted(row.keys() - set(self.names))
        if unknown:
            raise SchemaError(
                f"Unknown columns: {', '.join(unknown)}. The features read {', '.join(self.names)}."
            )
        whole = {name: row.get(name) for name in self.names}
        return vectors_of(self._features, self._numpy.transform_row(whole)[None])


def vectors_of(features: Sequence[FittedFeature], values: Matrix) -> Floats:
    """Returns feature vectors from the output columns (rows, columns) of `features`.

    Values that are still missing become zero. The n ones of a list are divided by sqrt(n), so that
    long and short lists have the same weight.
    """
    whole, begin = np.nan_to_num(values), 0
    for fitted in features:
        stop = begin + len(fitted.outputs())
        if fitted.is_list:
            ones = whole[:, begin:stop].sum(axis=1, keepdims=True)
            whole[:, begin:stop] /= np.sqrt(np.maximum(1.0, ones))
        begin = stop
    return np.asarray(whole, np.float32)
