"""Loads a saved model as NumPy arrays, for serving without Spark."""

from pathlib import Path
from typing import cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from matchlake.errors import ModelError
from matchlake.model_store.manifest import Manifest, Side, read_manifest
from matchlake.recommender.algorithms import algorithm_of
from matchlake.recommender.protocol import ModelParts, NumpyRecommender


def load_numpy(path: str | Path) -> NumpyRecommender:
    """Loads the model of folder `path` into this process; raises ModelError if it is damaged."""
    folder = Path(path)
    manifest = read_manifest(folder)
    users, items = read_side(folder, manifest, "user"), read_side(folder, manifest, "item")
    parts = ModelParts[pa.Table](
        users=users,
        items=items,
        params=manifest.typed_params(),
        values=manifest.values,
        tables={name: read_table(folder, name) for name in manifest.tables},
        files=read_extras(folder, manifest),
        sizes=(manifest.users, manifest.items),
    )
    algorithm = algorithm_of(manifest.algorithm)
    return cast("NumpyRecommender", algorithm.resolve(algorithm.load_numpy)(parts))


def read_side(folder: Path, manifest: Manifest, side: Side) -> pa.Table:
    """Returns the rows of one side, by index; raises ModelError unless they are 0, 1, 2, ..."""
    parts = [pq.ParquetFile(file).read() for file in manifest.paths(folder, side)]
    table = pa.concat_tables(parts).sort_by(f"{side}_idx")
    index = table[f"{side}_idx"].to_numpy()
    if not np.array_equal(index, np.arange(manifest.count(side))):
        raise ModelError(
            f"{folder}: the {len(index)} {side} rows do not have the indices 0 to "
            f"{manifest.count(side) - 1} of the manifest. Train and save the model again."
        )
    return table


def read_table(folder: Path, name: str) -> pa.Table:
    """Reads one of the further tables."""
    return pq.ParquetFile(folder / f"{name}.parquet").read()


def read_extras(folder: Path, manifest: Manifest) -> dict[str, bytes]:
    """Reads the further files, by name."""
    return {name: (folder / name).read_bytes() for name in manifest.extras}
