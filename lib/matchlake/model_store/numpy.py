"""A saved model as NumPy arrays, for serving: nothing here needs Spark."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from matchlake.engine.arrow import combined
from matchlake.errors import ModelError
from matchlake.model_store.manifest import Manifest, Side, read_manifest
from matchlake.model_store.matchbox_files import (
    BIASES,
    RESPONSE,
    SAMPLES,
    read_encoders,
    read_report,
)
from matchlake.recommender.als.numpy_model import NumpyFactorModel
from matchlake.recommender.matchbox.numpy_model import NumpyMatchboxModel
from matchlake.recommender.matchbox.row_encoder import RowEncoder


@dataclass(frozen=True)
class _Rows:
    """One side; row `n` of each array belongs to id `n`."""

    table: pa.Table
    ids: list[Any]
    factors: npt.NDArray[np.float32]
    bias: npt.NDArray[np.float32]
    observed: npt.NDArray[np.int64]

    def samples(self) -> npt.NDArray[np.float32]:
        """Of a Matchbox model, rows of all samples: (rows, samples, columns), the bias last."""
        biases = _matrix(self.table, BIASES)
        samples, count = biases.shape[1], len(self.ids)
        factors = _matrix(self.table, SAMPLES).reshape(count, samples, -1)
        # A saved sample is over the root of their number.
        return np.concatenate([factors * np.float32(np.sqrt(samples)), biases[:, :, None]], axis=2)


def load_numpy(path: str | Path) -> NumpyFactorModel | NumpyMatchboxModel:
    """The model saved in folder `path`, in this process; raises ModelError where it is damaged."""
    folder = Path(path)
    manifest = read_manifest(folder)
    users, items = _rows(folder, manifest, "user"), _rows(folder, manifest, "item")
    flat = _factor_model(users, items, manifest)
    if manifest.matchbox is None:
        return flat
    report = read_report(folder)
    users_text, items_text = read_encoders(folder)
    encoders = (_encoder(users_text), _encoder(items_text))
    trained = int(report["sizes"][0])
    response = _matrix(users.table.slice(0, trained), RESPONSE)
    samples = users.samples(), items.samples()
    shaped = response.reshape(trained, samples[0].shape[1], -1)
    return NumpyMatchboxModel(flat, samples, shaped, report, encoders)


def _encoder(text: str | None) -> RowEncoder | None:
    return None if text is None else RowEncoder(text)


def _factor_model(users: _Rows, items: _Rows, manifest: Manifest) -> NumpyFactorModel:
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
    return _Rows(
        table=table,
        ids=table[f"{side}_id"].to_pylist(),
        factors=_matrix(table, "factors").reshape(table.num_rows, manifest.params.rank),
        bias=table["bias"].to_numpy().astype(np.float32, copy=False),
        observed=table["observed"].to_numpy().astype(np.int64, copy=False),
    )


def _matrix(table: pa.Table, column: str) -> npt.NDArray[np.float32]:
    """A column of lists of one length as a matrix."""
    flat = combined(table[column]).flatten().to_numpy(zero_copy_only=False)
    return np.asarray(flat, np.float32).reshape(table.num_rows, -1)
