"""Which registered versions of a model hold a user."""

from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq

from matchlake.errors import ModelError
from matchlake.io.mlflow_tracking import Tracker
from matchlake.io.model_versions import ModelVersion
from matchlake.model_store.mlflow_flavor import EVALUATED, FACTORS


def versions_with(tracker: Tracker, user: str) -> list[ModelVersion]:
    """The registered versions with the user in their files, oldest first.

    Versions that cannot be read are included. Downloads the ids of each version.
    """
    return [each for each in tracker.versions() if _holds(tracker, each, user)]


def _holds(tracker: Tracker, version: ModelVersion, user: str) -> bool:
    try:
        return any(
            _folder_holds(tracker, version, f"artifacts/{name}/users", user)
            for name in (FACTORS, EVALUATED)
        )
    except ModelError:
        return True


def _folder_holds(tracker: Tracker, version: ModelVersion, path: str, user: str) -> bool:
    with tracker.files(version, path) as folder:
        return any(_file_holds(file, user) for file in folder.rglob("*.parquet"))


def _file_holds(file: Path, user: str) -> bool:
    for batch in pq.ParquetFile(file).iter_batches(columns=["user_id"]):
        if pc.any(pc.equal(pc.cast(batch.column(0), "string"), user)).as_py():
            return True
    return False
