"""A few input rows, saved with a model to verify its exports.

The rows have only the columns that features read. They have no keys, so no ids of persons.
"""

import datetime as dt
import math
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from matchlake.errors import ModelError
from matchlake.features.model import FeatureModel
from matchlake.features.numpy_values import is_null, listed
from matchlake.params import Params

MOST_ROWS = 200
Columns = Mapping[str, Sequence[Any]]


class HeldOut(Params):
    """Columns as JSON values: numbers, strings, booleans, dates as strings, and lists of these."""

    columns: dict[str, tuple[Any, ...]]

    @classmethod
    def from_json(cls, text: str) -> "HeldOut":
        """Reads saved rows; raises ModelError for any other string."""
        try:
            return cls.model_validate_json(text)
        except ValueError:
            raise ModelError("The held-out rows are damaged. Train the model again.") from None

    @classmethod
    def of(cls, features: FeatureModel, frame: pd.DataFrame) -> "HeldOut":
        """The first rows of `frame` without an infinite number, at most MOST_ROWS."""
        types = column_types(features)
        columns = {
            name: [_plain(value, kind) for value in frame[name]] for name, kind in types.items()
        }
        finite = [
            row
            for row in range(len(frame))
            if not any(_infinite(values[row]) for values in columns.values())
        ][:MOST_ROWS]
        return cls(columns={name: tuple(v[row] for row in finite) for name, v in columns.items()})

    def typed(self, features: FeatureModel) -> dict[str, npt.NDArray[Any]]:
        """Returns the columns in the types that `score_numpy` and `onnx_inputs` need."""
        return {
            name: _objects([typed(value, kind) for value in self.columns[name]])
            for name, kind in column_types(features).items()
        }


def column_types(features: FeatureModel) -> dict[str, str]:
    """The Spark type of each column that the features read."""
    return {fitted.column: fitted.type for fitted in features.features}


def _objects(values: Sequence[Any]) -> npt.NDArray[Any]:
    column = np.empty(len(values), dtype=object)
    column[:] = values
    return column


def _plain(value: Any, kind: str) -> Any:
    """Returns a value as a JSON value."""
    if is_null(value):
        return None
    if kind.startswith("array<"):
        return [_plain(each, kind[6:-1]) for each in listed(value)]
    if kind == "date":
        return pd.Timestamp(value).date().isoformat()
    return _PLAIN.get(kind.partition("(")[0], int)(value)


_PLAIN: dict[str, Callable[[Any], Any]] = {
    **dict.fromkeys(("string", "varchar", "char", "decimal"), str),
    **dict.fromkeys(("float", "double"), float),
    "boolean": bool,
}


def typed(value: Any, kind: str) -> Any:
    """Returns a JSON value as a value of the Spark type."""
    if value is None:
        return None
    if kind.startswith("array<"):
        return [typed(each, kind[6:-1]) for each in value]
    if kind.startswith("decimal"):
        return Decimal(value)
    return dt.date.fromisoformat(value) if kind == "date" else value


def _infinite(value: Any) -> bool:
    return isinstance(value, float) and math.isinf(value)
