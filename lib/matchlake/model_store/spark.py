"""Saves a model to a folder of Parquet files, and loads it.

The path decides who writes the files. All machines of a cluster see folders below `/Volumes` or
`/dbfs`. There the executors write and read, and rows do not pass through the driver. Any other path
is on the driver's disk: the driver collects the rows as Arrow to save them, and sends them to Spark
to load them (100,000 rows at rank 64 are 25 MB). Only `load_numpy` needs all of them in one
process.
"""

import shutil
import uuid
from pathlib import Path
from typing import cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from pyspark.sql import DataFrame, SparkSession

from matchlake.errors import ModelError
from matchlake.model_store.manifest import (
    Manifest,
    Side,
    describe,
    read_manifest,
    write_manifest,
)
from matchlake.model_store.numpy import load_numpy, read_extras, read_side, read_table
from matchlake.recommender.algorithms import algorithm_of
from matchlake.recommender.protocol import ModelParts, Recommender

__all__ = ["load_model", "load_numpy", "save_model"]

_SHARED = ("/Volumes/", "/dbfs/")


def save_model(model: Recommender, path: str | Path) -> None:
    """Saves `model` in the new folder `path`, completely or not at all.

    Runs one Spark job per frame. The files are written beside the folder and moved to it when they
    are complete. Raises ModelError if `path` exists, or if rows were folded in since the fit: save
    the fitted model, and fold in after loading it. Raises it for a model of NumPy, too.
    """
    if not hasattr(model, "to_parts"):
        raise ModelError(
            f"{type(model).__name__} is a model in this process's memory, which is not saved. Fit "
            "from a DataFrame of Spark and save that model; load_numpy then loads it without Spark."
        )
    target = _local(path)
    if target.exists():
        raise ModelError(f"{target} exists already: save to a new folder, or remove it first.")
    staging = target.with_name(f".{target.name}.{uuid.uuid4().hex}")
    staging.mkdir(parents=True)
    try:
        _write(model, staging)
        staging.rename(target)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise


def load_model(path: str | Path, spark: SparkSession | None = None) -> Recommender:
    """Loads the model of folder `path` as frames of `spark`, by default the active session.

    Below `/Volumes` and `/dbfs` the frames read the files when they are used, so the folder must
    stay until then. Raises ModelError if the folder is damaged, or if there is no session.
    """
    session = spark or SparkSession.getActiveSession()
    if session is None:
        raise ModelError("There is no active Spark session: start one, or pass spark=.")
    folder = _local(path)
    manifest = read_manifest(folder)
    users, items = (_read(session, folder, manifest, side) for side in ("user", "item"))
    parts = ModelParts[DataFrame](
        users=users,
        items=items,
        params=manifest.typed_params(),
        values=manifest.values,
        tables={name: _frame(session, read_table(folder, name)) for name in manifest.tables},
        files=read_extras(folder, manifest),
        sizes=(manifest.users, manifest.items),
    )
    algorithm = algorithm_of(manifest.algorithm)
    return cast("Recommender", algorithm.resolve(algorithm.load)(parts))


def _write(model: Recommender, folder: Path) -> None:
    parts = model.to_parts()
    users = _write_side(parts.users, folder, "user")
    items = _write_side(parts.items, folder, "item")
    for name, rows in parts.tables.items():
        pq.write_table(rows.toArrow(), folder / f"{name}.parquet")
    for name, data in parts.files.items():
        (folder / name).write_bytes(data)
    extras = [*(f"{name}.parquet" for name in parts.tables), *parts.files]
    files = [*folder.glob("*s/*.parquet"), *(folder / name for name in extras)]
    manifest = Manifest(
        algorithm=model.algorithm,
        params=parts.params.model_dump(mode="json"),
        values=dict(parts.values),
        users=users,
        items=items,
        tables=tuple(parts.tables),
        extras=tuple(parts.files),
        files={str(file.relative_to(folder)): describe(file) for file in sorted(files)},
    )
    write_manifest(folder, manifest)


def _write_side(frame: DataFrame, folder: Path, side: Side) -> int:
    """Writes one side and returns its number of rows."""
    path = folder / f"{side}s"
    if _is_shared(folder):
        frame.write.parquet(_spark_path(path))
        files = sorted(path.glob("*.parquet"))
        parts = [pq.ParquetFile(file).read([f"{side}_idx"]) for file in files]
        index = pa.concat_tables(parts)[f"{side}_idx"].to_numpy()
        return _refuse_gaps(np.sort(index), side)
    path.mkdir()
    table = frame.toArrow().sort_by(f"{side}_idx")
    pq.write_table(table, path / "part-0.parquet")
    return _refuse_gaps(table[f"{side}_idx"].to_numpy(), side)


def _refuse_gaps(index: npt.NDArray[np.int64], side: Side) -> int:
    """Returns the number of rows; raises ModelError unless the ascending `index` has no gaps."""
    count = len(index)
    strange = int(np.sum(index >= count))
    if strange or not np.array_equal(index, np.arange(count)):
        raise ModelError(
            f"{strange or 'Some'} of {count} {side}s are not rows of the fit: fold_in added or "
            "replaced them, but a saved model has only rows of the fit. Save the fitted model, "
            "and fold "
            "them in again after loading it (model.fold_in)."
        )
    return count


def _read(spark: SparkSession, folder: Path, manifest: Manifest, side: Side) -> DataFrame:
    if _is_shared(folder):
        return spark.read.parquet(*map(_spark_path, manifest.paths(folder, side)))
    return _frame(spark, read_side(folder, manifest, side))


def _frame(spark: SparkSession, table: pa.Table) -> DataFrame:
    # Spark 4.0 cannot read Arrow's string_view and large_string types.
    plain = [pa.field(f.name, _plain(f.type), f.nullable) for f in table.schema]
    return spark.createDataFrame(table.cast(pa.schema(plain)))


def _plain(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_large_string(kind):
        return pa.string()
    if pa.types.is_large_list(kind) or pa.types.is_list(kind):
        return pa.list_(kind.value_type)
    return kind


def _local(path: str | Path) -> Path:
    if "://" in str(path) or str(path).startswith("dbfs:"):
        raise ModelError(
            f"{path} is not a folder of this machine: save models to, and load them from, a local "
            "folder or a mounted one such as /Volumes/catalog/schema/volume/folder."
        )
    return Path(path).absolute()


def _is_shared(folder: Path) -> bool:
    return str(folder).startswith(_SHARED)


def _spark_path(path: Path) -> str:
    return str(path).replace("/dbfs/", "dbfs:/", 1) if path.parts[1] == "dbfs" else str(path)
