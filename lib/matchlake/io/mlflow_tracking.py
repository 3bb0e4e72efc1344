"""Runs, models and their aliases in MLflow.

MLflow takes seconds to import, so it is imported on first use and never by importing this module.
"""

import json
import logging
import os
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from pydantic import field_validator

from matchlake.errors import ModelError
from matchlake.params import Params

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

_log = logging.getLogger(__name__)

CHAMPION = "champion"
"""Alias of the version that serves."""

CHALLENGER = "challenger"
"""Alias of the latest version that did not become champion."""

# Read by MLflow: no reports of use, no progress bars in a job's log, half a minute (not four) until
# a server that does not answer is given up.
_ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "4",
}


class TrackingParams(Params):
    """Where runs are tracked and under which names."""

    uri: str | None = None
    """MLflow's server or store. None: sqlite below `lakehouse`; without one, Databricks' own.
    A server's credentials are MLflow's to read (MLFLOW_TRACKING_USERNAME, _PASSWORD, _TOKEN)."""
    registry: str | None = None
    """The model registry. None: Unity Catalog on Databricks, else the same as `uri`."""
    experiment: str = "matchlake"
    """Experiment that holds the runs; on Databricks a workspace path."""
    model: str = "recommender"
    """Registered name of the model; with Unity Catalog `catalog.schema.model`."""
    staging: str | None = None
    """Folder for model files on their way to and from MLflow. None: the driver's own disk, through
    its memory. A volume (`/Volumes/...`) lets the executors write and read them instead."""

    @field_validator("uri", "registry")
    @classmethod
    def _holds_no_password(cls, uri: str | None) -> str | None:
        if uri and urlsplit(uri).password:
            raise ValueError(
                "holds a password, which conf must not: give it to MLflow with "
                "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
            )
        return uri


@dataclass(frozen=True)
class ModelVersion:
    """A registered version of the model."""

    name: str
    version: str
    run_id: str
    tags: Mapping[str, str] = field(default_factory=dict)

    @property
    def uri(self) -> str:
        """How MLflow addresses it."""
        return f"models:/{self.name}/{self.version}"


class Tracker:
    """Logs runs and registers models; connects on first use.

    `folder` is the local lakehouse folder, None on a platform.
    """

    def __init__(self, params: TrackingParams, folder: str | None = None) -> None:
        self.params = params
        self._folder = Path(folder).absolute() if folder else None

    @property
    def store(self) -> Path | None:
        """The sqlite file below `folder`; None where runs are tracked elsewhere."""
        return self._folder / "mlflow.db" if self._folder and not self.params.uri else None

    @property
    def uri(self) -> str:
        """The tracking store's address."""
        return self.params.uri or (f"sqlite:///{self.store}" if self.store else "databricks")

    @property
    def registry(self) -> str:
        """The model registry's address."""
        on_databricks = self.uri.startswith("databricks")
        return self.params.registry or ("databricks-uc" if on_databricks else self.uri)

    @contextmanager
    def run(self, name: str) -> Iterator["Run"]:
        """A run of the experiment; an exception marks it as failed and goes on."""
        mlflow = self._connect()
        try:
            self._choose_experiment(mlflow)
        except Exception as error:
            raise self._no_answer(error) from error
        with mlflow.start_run(run_name=name) as active:
            _log.info("run %s of experiment %s at %s", name, self.params.experiment, self.uri)
            yield Run(mlflow, self.params.model, active.info.run_id)

    def champion(self) -> ModelVersion | None:
        """The version that has the alias champion; None where there is none yet."""
        mlflow = self._connect()
        try:
            client = mlflow.MlflowClient()
            found = client.get_model_version_by_alias(self.params.model, CHAMPION)
        except Exception as error:
            # Stores differ in the code they give for a missing model and a missing alias.
            code = getattr(error, "error_code", "")
            if code == "RESOURCE_DOES_NOT_EXIST" or f"alias {CHAMPION} not found" in str(error):
                return None
            raise self._no_answer(error) from error
        return _version(found)

    def require_champion(self) -> ModelVersion:
        """The champion; raises ModelError where there is none."""
        champion = self.champion()
        if champion is None:
            raise ModelError(
                f"No version of model {self.params.model!r} has the alias {CHAMPION!r} at "
                f"{self.registry}. Run the job train_recommender first, or give a version the "
                "alias on MLflow's page."
            )
        return champion

    def metrics(self, version: ModelVersion) -> dict[str, float]:
        """The metrics of the run that made `version`."""
        run = self._connect().MlflowClient().get_run(version.run_id)
        return dict(run.data.metrics)

    def input_version(self, version: ModelVersion, table: str) -> int | None:
        """Which version of a table its run read last; None where the run does not say."""
        mlflow = self._connect()
        logged = mlflow.MlflowClient().get_run(version.run_id).data.params.get(f"{table}.version")
        return None if logged is None else int(str(logged).rpartition(",")[2])

    def read_text(self, run_id: str, path: str) -> str:
        """The artifact `path` of a run; raises ModelError where there is none."""
        mlflow = self._connect()
        try:
            return str(mlflow.artifacts.load_text(f"runs:/{run_id}/{path}"))
        except (mlflow.MlflowException, OSError) as error:
            raise ModelError(
                f"Run {run_id} at {self.uri} has no {path}: {error}. Give the id of a run that "
                "logged it, as MLflow's page shows it."
            ) from error

    @contextmanager
    def files(self, version: ModelVersion, path: str) -> Iterator[Path]:
        """The folder `path` of a version's files, fetched for as long as the context lasts."""
        mlflow = self._connect()
        with self.scratch() as folder:
            source = f"{version.uri}/{path}"
            try:
                found = mlflow.artifacts.download_artifacts(source, dst_path=str(folder))
            except (mlflow.MlflowException, OSError) as error:
                raise ModelError(
                    f"{source} cannot be fetched from {self.registry}: {error}. "
                    "Train the model again, or give another version the alias champion."
                ) from error
            yield Path(found)

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """A new folder for model files, gone when the context ends; see `staging`."""
        if self.params.staging:
            Path(self.params.staging).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="matchlake-", dir=self.params.staging) as folder:
            yield Path(folder)

    def _no_answer(self, error: Exception) -> ModelError:
        told = (str(error).splitlines() or [type(error).__name__])[0]
        return ModelError(
            f"MLflow at {self.uri} (registry {self.registry}) does not answer: {told}. Check "
            "tracking.uri in conf, that the server runs, and the credentials it asks for."
        )

    def _connect(self) -> ModuleType:
        if self.store:
            self.store.parent.mkdir(parents=True, exist_ok=True)
        mlflow = _import_mlflow()
        mlflow.set_tracking_uri(self.uri)
        mlflow.set_registry_uri(self.registry)
        return mlflow

    def _choose_experiment(self, mlflow: ModuleType) -> None:
        name = self.params.experiment
        if self.store and not mlflow.get_experiment_by_name(name):
            mlflow.create_experiment(name, self.store.with_name("mlartifacts").as_uri())
        mlflow.set_experiment(name)


class Run:
    """What can be logged to a run in progress."""

    def __init__(self, mlflow: ModuleType, model: str, run_id: str) -> None:
        self._mlflow = mlflow
        self._model = model
        self.run_id = run_id

    def log_params(self, params: Mapping[str, Any]) -> None:
        """Logs parameters; those of nested mappings under dotted names."""
        self._mlflow.log_params(dict(_flat(params)))

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Logs numbers."""
        self._mlflow.log_metrics(dict(metrics), step=step)

    def log_table(self, rows: "pd.DataFrame", path: str) -> None:
        """Logs a small table as an artifact that the page shows (`path` ends in .json)."""
        self._mlflow.log_table(rows, path)

    def log_text(self, text: str, path: str) -> None:
        """Logs a text as an artifact."""
        self._mlflow.log_text(text, path)

    def log_figure(self, figure: "Figure", path: str) -> None:
        """Logs a plot (`path` ends in .png)."""
        self._mlflow.log_figure(figure, path)

    def log_input(self, table: str, *versions: int) -> None:
        """Logs the Delta table and the versions that the run reads, as data sets and parameter."""
        from mlflow.entities import Dataset, DatasetInput, InputTag  # noqa: PLC0415

        used = []
        for version in versions:
            source = json.dumps({"delta_table_name": table, "delta_table_version": version})
            dataset = Dataset(table, f"v{version}", "delta_table", source)
            used.append(DatasetInput(dataset, [InputTag("mlflow.data.context", "training")]))
        self._mlflow.MlflowClient().log_inputs(self.run_id, used)
        self._mlflow.log_param(f"{table}.version", ", ".join(map(str, versions)))

    def log_model(self, flavor: Mapping[str, Any]) -> str:
        """Logs a pyfunc from the arguments of `mlflow.pyfunc.log_model`; returns its address."""
        # A logged model has no dots in its name; Unity Catalog's names of three levels are the
        # registry's alone.
        name = self._model.rpartition(".")[2]
        with _quiet():
            return str(self._mlflow.pyfunc.log_model(name=name, **flavor).model_uri)

    def register(self, model_uri: str, alias: str, tags: Mapping[str, str]) -> ModelVersion:
        """Makes a logged model a version of the registered model, with its tags and an alias.

        The alias comes last, so that it names complete versions only. Where it cannot be set the
        version is taken back.
        """
        client = self._mlflow.MlflowClient()
        with _quiet():
            made = self._mlflow.register_model(model_uri, self._model, tags=dict(tags))
        try:
            client.set_registered_model_alias(self._model, alias, made.version)
        except BaseException:
            client.delete_model_version(self._model, made.version)
            raise
        return _version(made)


def _import_mlflow() -> ModuleType:
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    import mlflow  # noqa: PLC0415

    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
    return mlflow  # type: ignore[no-any-return]


@contextmanager
def _quiet() -> Iterator[None]:
    """Keeps out of a job's log what MLflow remarks on its own code and on an absent pip."""
    from mlflow.utils import logging_utils  # noqa: PLC0415

    logging_utils.disable_logging()
    logging.getLogger("mlflow").setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    finally:
        logging.getLogger("mlflow").setLevel(logging.WARNING)
        logging_utils.enable_logging()


def _version(found: Any) -> ModelVersion:
    return ModelVersion(found.name, str(found.version), found.run_id, dict(found.tags))


def _flat(params: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in params.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
