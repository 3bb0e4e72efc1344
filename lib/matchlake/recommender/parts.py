"""Converts the parts of a model to Arrow tables and NumPy arrays; does not need Spark."""

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from matchlake.engine.arrow import combined
from matchlake.recommender.protocol import ModelParts
from matchlake.recommender.sides import INDICES, ITEM, USER

if TYPE_CHECKING:
    from pyspark.sql import DataFrame


def to_arrow(parts: "ModelParts[DataFrame]") -> ModelParts[pa.Table]:
    """Collects the parts of a model, users and items by ascending index.

    One Spark job per frame.
    """
    users, items = (
        rows.toArrow().sort_by(INDICES[side])
        for side, rows in ((USER, parts.users), (ITEM, parts.items))
    )
    tables: Mapping[str, pa.Table] = {name: rows.toArrow() for name, rows in parts.tables.items()}
    whole: Any = replace(parts, users=users, items=items, tables=tables)
    return cast("ModelParts[pa.Table]", whole)


def matrix_of(table: pa.Table, column: str, width: int | None = None) -> npt.NDArray[np.float32]:
    """Returns a column of equally long lists as a matrix; lists of length 0 need `width`."""
    flat = combined(table[column]).flatten().to_numpy(zero_copy_only=False)
    columns = len(flat) // max(1, table.num_rows) if width is None else width
    return np.asarray(flat, np.float32).reshape(table.num_rows, columns)


def array_of(table: pa.Table, column: str, kind: npt.DTypeLike) -> npt.NDArray[Any]:
    """Returns a column of numbers as an array."""
    values: npt.NDArray[Any] = table[column].to_numpy().astype(kind, copy=False)
    return values
