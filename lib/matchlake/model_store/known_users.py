"""Finds the registered versions of a model that contain a user."""

from collections.abc import Collection
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq

from matchlake.errors import ModelError
from matchlake.io.mlflow_tracking import Tracker
from matchlake.io.model_versions import ModelVersion
from matchlake.model_store.forecast_model import (
    FORECAST_FILE,
    ForecastModel,
    load_forecast_model,
)
from matchlake.model_store.mlflow_flavor import EVALUATED, FACTORS
from matchlake.model_store.scoring_folder import SCORING, load_held_out, load_scoring_model


def versions_with(tracker: Tracker, user: str) -> list[ModelVersion]:
    """Returns the registered versions with the user in their files, oldest first.

    Versions that cannot be read are included. Downloads the ids of each version.
    """
    return [each for each in tracker.versions() if _holds(tracker, each, user)]


def scoring_versions_with(
    tracker: Tracker, user: str, columns: Collection[str] | None
) -> list[ModelVersion]:
    """Returns the versions of a model with the user as a category or in a held-out row.

    Only the source columns `columns` are searched; None: all. Versions that cannot be read are
    included.
    """
    return [each for each in tracker.versions() if _scoring_holds(tracker, each, user, columns)]


def _scoring_holds(
    tracker: Tracker, version: ModelVersion, user: str, columns: Collection[str] | None
) -> bool:
    try:
        with tracker.files(version, f"artifacts/{SCORING}") as folder:
            if (folder / FORECAST_FILE).exists():
                return _forecast_holds(load_forecast_model(folder), user, columns)
            model, held_out = load_scoring_model(folder), load_held_out(folder)
    except ModelError:
        return True
    return any(
        _is_in(user, [each.value for each in getattr(fitted, "categories", ())])
        or _is_in(user, held_out.columns.get(fitted.column, ()))
        for fitted in model.features.features
        if columns is None or fitted.column in columns
    )


def _forecast_holds(model: ForecastModel, user: str, columns: Collection[str] | None) -> bool:
    chosen = [i for i, name in enumerate(model.series) if columns is None or name in columns]
    return any(each.key[i] == user for each in model.fitted for i in chosen)


def _is_in(user: str, values: Any) -> bool:
    """Returns whether a value, or an element of a list, is the user's id."""
    return any(
        _is_in(user, each) if isinstance(each, list | tuple) else str(each) == user
        for each in values
    )


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
