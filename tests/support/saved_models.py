"""Small factor models with known numbers, saved without Spark, and stores to log them to."""

import functools
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame

from matchlake.io.mlflow_tracking import Tracker
from matchlake.io.model_versions import Decision, ModelVersion
from matchlake.io.params import TrackingParams
from matchlake.model_store.mlflow_flavor import FACTORS, pyfunc_flavor
from matchlake.model_store.spark import save_model
from matchlake.recommender.als.model import FactorModel
from matchlake.recommender.als.params import AlsParams

USERS = ["ann", "bob", "cid"]
ITEMS = ["i0", "i1", "i2", "i3", "i4"]
RANK = 3


@dataclass
class ArrowFrame:
    """What saving asks of a frame on the driver's disk: its rows as Arrow."""

    table: pa.Table

    def toArrow(self) -> pa.Table:  # noqa: N802 - Spark's name
        return self.table


def side(name: str, ids: Sequence[Any], seed: int, rank: int = RANK) -> pa.Table:
    """Rows of one side, in an order that is not that of the indices."""
    random = np.random.default_rng(seed)
    count = len(ids)
    table = pa.table(
        {
            f"{name}_id": pa.array(ids),
            f"{name}_idx": pa.array(range(count), pa.int64()),
            "factors": pa.array(
                random.normal(size=(count, rank)).astype("float32").tolist(), pa.list_(pa.float32())
            ),
            "bias": pa.array(random.normal(size=count).astype("float32")),
            "n_interactions": pa.array(range(1, count + 1), pa.int64()),
        }
    )
    return table.take(list(reversed(range(count))))


def factor_model(
    users: Sequence[Any] = USERS,
    items: Sequence[Any] = ITEMS,
    rank: int = RANK,
    feedback: Literal["explicit", "implicit"] = "explicit",
) -> FactorModel:
    """A model whose frames are Arrow tables: enough to be saved."""
    frames = (ArrowFrame(side("user", users, 1, rank)), ArrowFrame(side("item", items, 2, rank)))
    params = AlsParams(feedback=feedback, rank=rank)
    return FactorModel(*cast("tuple[DataFrame, DataFrame]", frames), mean=3.25, params=params)


def saved(folder: Path, **ids: Any) -> Path:
    """A saved model in a new folder `folder`."""
    save_model(factor_model(**ids), folder)
    return folder


def tracker_in(folder: Path, **params: str) -> Tracker:
    """A tracker whose sqlite store lies in `folder`; the tables of a new one are not made anew."""
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "mlflow.db").exists():
        shutil.copy(_empty_store(), folder / "mlflow.db")
    return Tracker(TrackingParams(**params), str(folder))


@functools.cache
def _empty_store() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="matchlake-store-"))
    tracker = Tracker(TrackingParams(), str(folder))
    assert tracker.champion() is None
    return folder / "mlflow.db"


def register(tracker: Tracker, folder: Path, alias: str = "champion") -> ModelVersion:
    """Logs a saved model from `folder` and registers it with an alias."""
    with tracker.run("train") as run:
        saved(folder / FACTORS)
        now = tracker.champion()
        decision = Decision(alias, "first", now and now.version)
        return run.register(run.log_model(pyfunc_flavor(folder)), decision)


def purge(tracker: Tracker, version: ModelVersion) -> None:
    """Deletes the run of a version for good, as `mlflow gc` does."""
    import mlflow  # noqa: PLC0415 - takes seconds
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore  # noqa: PLC0415

    mlflow.MlflowClient().delete_run(version.run_id)
    store = SqlAlchemyStore(tracker.uri, str(tracker.store))
    store._hard_delete_run(version.run_id)
