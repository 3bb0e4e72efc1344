"""A saved model as NumPy arrays, for serving: nothing here needs Spark."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from matchlake.errors import ModelError
from matchlake.models.manifest import Manifest, Side, read_manifest
from matchlake.recommender.local import NumpyFactorModel


@dataclass(frozen=True)
class _Rows:
    """One side; row `n` of each array belongs to id `n`."""

    ids: list[Any]
    factors: npt.NDArray[np.float32]
    bias: npt.NDArray[np.float32]
    observed: npt.NDArray[np.int64]


def load_numpy(path: str | Path) -> NumpyFactorModel:
    """The model saved in folder `path`, in this process; raises ModelError where it is damaged."""
    folder = Path(path)
    manifest = read_manifest(folder)
    users, items = _rows(folder, manifest, "user"), _rows(folder, manifest, "item")
    return NumpyFactorModel(
        user_ids=users.ids,
        item_ids=items.ids,
        user_factors=users.factors,
        item_factors=items.factors,
        user_bias=users.bias,
        item_bias=items.bias,
        mean=manifest.mean,
        params=manifest.params,
        user_observed=users.observed,
        item_observed=items.observed,
    )


def read_side(folder: Path, manifest: Manifest, side: Side) -> pa.Table:
    """The rows of one side by ascending index; raises ModelError unless it is 0, 1, 2, ..."""
    parts = [pq.ParquetFile(file).read() for file in manifest.paths(folder, side)]
    table = pa.concat_tables(parts).sort_by(f"{side}_idx")
    index = table[f"{side}_idx"].to_numpy()
    if not np.array_equal(index, np.arange(manifest.count(side))):
        raise ModelError(
            f"{folder}: {len(index)} {side} rows, whose indices are not 0 to "
            f"{manifest.count(side) - 1} as the manifest says. Train and save the model again."
        )
    return table


def _rows(folder: Path, manifest: Manifest, side: Side) -> _Rows:
    table = read_side(folder, manifest, side)
    flat = table["factors"].combine_chunks().flatten()
    factors = flat.to_numpy().astype(np.float32, copy=False)
    return _Rows(
        ids=table[f"{side}_id"].to_pylist(),
        factors=factors.reshape(table.num_rows, manifest.params.rank),
        bias=table["bias"].to_numpy().astype(np.float32, copy=False),
        observed=table["observed"].to_numpy().astype(np.int64, copy=False),
    )
