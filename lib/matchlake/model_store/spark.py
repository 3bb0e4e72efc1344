"""Saves a factor or Matchbox model to a folder of Parquet files, and loads it.

Where the files go decides who writes them. Below `/Volumes` or `/dbfs` every machine of a
cluster sees the folder: the executors write and read it, and the factors never pass through the
driver. Any other path is the driver's own disk, whatever the cluster: the factors come to the
driver as Arrow (100,000 rows at rank 64 are 25 MB) and go back from it. Only `load_numpy` needs
all of them in one process either way.
"""

import shutil
import uuid
from pathlib import Path

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
from matchlake.model_store.matchbox import (
    fitted_encoders,
    sampled_rows,
    with_samples,
    write_posterior,
)
from matchlake.model_store.matchbox_files import DAYS, POSTERIOR, read_report
from matchlake.model_store.numpy import load_numpy, read_side
from matchlake.recommender.als.model import FactorModel
from matchlake.recommender.matchbox.model import MatchboxModel

__all__ = ["load_model", "load_numpy", "save_model"]

_SHARED = ("/Volumes/", "/dbfs/")


def save_model(model: FactorModel | MatchboxModel, path: str | Path) -> None:
    """Saves `model` in the new folder `path`: all of it, or nothing.

    Runs one Spark job for each side. The files are made beside the folder and moved to it when
    they are complete. Raises ModelError where something is at `path` already, and where rows were
    folded in since the fit: save the fitted model, and fold in once it is loaded.
    """
    target = _local(path)
    if target.exists():
        raise ModelError(f"{target} is there already: save to a new folder, or remove it first.")
    staging = target.with_name(f".{target.name}.{uuid.uuid4().hex}")
    staging.mkdir(parents=True)
    try:
        _write(model, staging)
        staging.rename(target)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise


def load_model(spark: SparkSession, path: str | Path) -> FactorModel | MatchboxModel:
    """The model saved in folder `path`, as frames; raises ModelError where it is damaged.

    Below `/Volumes` and `/dbfs` the frames read the files when they are used, so the folder must
    stay until then.
    """
    folder = _local(path)
    manifest = read_manifest(folder)
    users, items = (_read(spark, folder, manifest, side) for side in ("user", "item"))
    if manifest.matchbox is None:
        return FactorModel(users, items, mean=manifest.mean, params=manifest.params)
    days = None
    if manifest.matchbox.dates:
        days = _frame(spark, pq.read_table(folder / DAYS))
    return MatchboxModel(
        users=sampled_rows(users),
        items=sampled_rows(items),
        days=days,
        report=read_report(folder),
        params=manifest.matchbox,
        encoders=fitted_encoders(folder),
    )


def _write(model: FactorModel | MatchboxModel, folder: Path) -> None:
    flat = model.factor_model() if isinstance(model, MatchboxModel) else model
    frames = (flat.users, flat.items)
    if isinstance(model, MatchboxModel):
        frames = with_samples(model)
        write_posterior(model, folder)
    users = _write_side(frames[0], folder, "user")
    items = _write_side(frames[1], folder, "item")
    files = sorted([*folder.rglob("*.parquet"), *folder.glob(f"{POSTERIOR}/*")])
    manifest = Manifest(
        kind="matchbox" if isinstance(model, MatchboxModel) else "als",
        matchbox=model.params if isinstance(model, MatchboxModel) else None,
        params=flat.params,
        mean=flat.mean,
        users=users,
        items=items,
        files={str(file.relative_to(folder)): describe(file) for file in dict.fromkeys(files)},
    )
    write_manifest(folder, manifest)


def _write_side(frame: DataFrame, folder: Path, side: Side) -> int:
    """Writes one side and returns its number of rows."""
    place = folder / f"{side}s"
    if _is_shared(folder):
        frame.write.parquet(_spark_path(place))
        files = sorted(place.glob("*.parquet"))
        parts = [pq.ParquetFile(file).read([f"{side}_idx"]) for file in files]
        index = pa.concat_tables(parts)[f"{side}_idx"].to_numpy()
        return _refuse_gaps(np.sort(index), side)
    place.mkdir()
    table = frame.toArrow().sort_by(f"{side}_idx")
    pq.write_table(table, place / "part-0.parquet")
    return _refuse_gaps(table[f"{side}_idx"].to_numpy(), side)


def _refuse_gaps(index: npt.NDArray[np.int64], side: Side) -> int:
    """The number of rows of ascending `index`; raises ModelError unless it is that of a fit."""
    count = len(index)
    strange = int(np.sum(index >= count))
    if strange or not np.array_equal(index, np.arange(count)):
        raise ModelError(
            f"{strange or 'Some'} of {count} {side}s are not rows of the fit: they were added or "
            f"replaced by with_{side}s, and a saved model holds a fit only. Save the model without "
            f"them, and fold them in again once it is loaded (fold_in_{side}s, with_{side}s)."
        )
    return count


def _read(spark: SparkSession, folder: Path, manifest: Manifest, side: Side) -> DataFrame:
    if _is_shared(folder):
        return spark.read.parquet(*map(_spark_path, manifest.paths(folder, side)))
    return _frame(spark, read_side(folder, manifest, side))


def _frame(spark: SparkSession, table: pa.Table) -> DataFrame:
    # Spark 4.0 takes neither views nor large offsets from Arrow.
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
            f"{path} is no folder of this machine: models are saved to and loaded from a local "
            "folder or a mounted one such as /Volumes/catalog/schema/volume/folder."
        )
    return Path(path).absolute()


def _is_shared(folder: Path) -> bool:
    return str(folder).startswith(_SHARED)


def _spark_path(path: Path) -> str:
    return str(path).replace("/dbfs/", "dbfs:/", 1) if path.parts[1] == "dbfs" else str(path)
