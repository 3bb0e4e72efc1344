"""Runs, models and their aliases in MLflow.

MLflow takes seconds to import, so it is imported on first use and never by importing this module.
"""

import json
import logging
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from matchlake.errors import ModelError, ModelGoneError
from matchlake.io.mlflow_children import ChildRuns
from matchlake.io.mlflow_client import flat, import_mlflow, quietly, unless_gone
from matchlake.io.mlflow_errors import asking, is_gone, no_answer, require_active, unreadable
from matchlake.io.model_versions import (
    CHALLENGER,
    CHAMPION,
    AliasChange,
    Decision,
    Descriptions,
    ModelVersion,
    Recorder,
    number_of,
    unrecorded,
    version_of,
    version_with_alias,
)
from matchlake.io.params import TrackingParams
from matchlake.io.ports import HOST, MLFLOW_PORT

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

_log = logging.getLogger(__name__)

_KIND, _TRAINING = "mlflow.experimentKind", "custom_model_development"
"""The tag of an experiment that opens MLflow's page in its view of training runs."""


class Tracker:
    """Logs runs and registers models; connects on first use.

    `folder` is the local lakehouse folder, None on a platform.
    """

    def __init__(
        self,
        params: TrackingParams,
        folder: str | None = None,
        trained_by: str = "train_recommender",
    ) -> None:
        self.params = params
        self._folder = Path(folder).absolute() if folder else None
        self._trained_by = trained_by

    def for_model(self, name: str, trained_by: str) -> "Tracker":
        """A Tracker for another model, by its registered name and the job that trains it."""
        params = self.params.model_copy(update={"model": name})
        return Tracker(params, str(self._folder) if self._folder else None, trained_by)

    @property
    def store(self) -> Path | None:
        """The sqlite file below `folder`; None if runs are tracked elsewhere."""
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
    def run(self, name: str, description: str | None = None) -> Iterator["Run"]:
        """A run of the experiment; an exception marks it as failed and is raised again.

        Logs the address of the run when it ends. Errors of MLflow, also of what the run logs, are
        raised as ModelError.
        """
        mlflow = self._connect()
        with self._answers():
            self._choose_experiment(mlflow)
        with (
            asking(mlflow, self._where),
            mlflow.start_run(run_name=name, description=description) as active,
        ):
            _log.info("run %s of experiment %s at %s", name, self.params.experiment, self.uri)
            yield Run(mlflow, self.params.model, active.info.run_id)
        _log.info("run %s in MLflow: %s", name, self._page_of(active.info))

    def champion(self) -> ModelVersion | None:
        """The version with the alias champion; None without one."""
        return self.with_alias(CHAMPION)

    def with_alias(self, alias: str) -> ModelVersion | None:
        """The version with an alias; None without one."""
        with self._answers():
            return version_with_alias(self._connect().MlflowClient(), self.params.model, alias)

    def move_alias(self, alias: str, version: str) -> None:
        """Moves an alias to a version, from the version that had it."""
        with self._answers():
            client = self._connect().MlflowClient()
            client.set_registered_model_alias(self.params.model, alias, version)

    def require_champion(self) -> ModelVersion:
        """The champion; raises ModelError without one."""
        champion = self.champion()
        if champion is None:
            raise ModelError(
                f"No version of model {self.params.model!r} has the alias {CHAMPION!r} at "
                f"{self.registry}. Run the job {self._trained_by} first, or give a version the "
                "alias in MLflow."
            )
        return champion

    def versions(self) -> list[ModelVersion]:
        """All registered versions with their aliases, oldest first."""
        name = self.params.model
        with self._answers():
            client = self._connect().MlflowClient()
            numbers = [int(v.version) for v in client.search_model_versions(f"name='{name}'")]
            # The search gives no aliases. A version may be deleted after the search.
            asked = [unless_gone(client.get_model_version, name, str(n)) for n in sorted(numbers)]
        return [version_of(found) for found in asked if found is not None]

    def version(self, number: str) -> ModelVersion | None:
        """A registered version by its number; None if it does not exist."""
        with self._answers():
            client = self._connect().MlflowClient()
            found = unless_gone(client.get_model_version, self.params.model, number)
        return None if found is None else version_of(found)

    def has_files(self, version: ModelVersion) -> bool:
        """Whether the files of a version still exist; downloads one of them."""
        try:
            with self.files(version, "MLmodel"):
                return True
        except ModelGoneError:
            return False

    def delete(self, version: ModelVersion) -> None:
        """Deletes a version and its run, if they still exist; `mlflow gc` removes the files."""
        with self._answers():
            client = self._connect().MlflowClient()
            unless_gone(client.delete_model_version, version.name, version.version)
            unless_gone(client.delete_run, version.run_id)

    def tag(self, version: ModelVersion, key: str, value: str) -> None:
        """Sets a tag of a version, if the version still exists."""
        with self._answers():
            client = self._connect().MlflowClient()
            unless_gone(client.set_model_version_tag, version.name, version.version, key, value)

    def metrics(self, version: ModelVersion) -> dict[str, float]:
        """The metrics of the run of `version`; raises ModelGoneError if the run is gone."""
        return dict(self._run_of(version).data.metrics)

    def input_version(self, version: ModelVersion, table: str) -> int | None:
        """The newest version of a table that the run of `version` read; None if it was not logged.

        Raises ModelGoneError if the run is gone.
        """
        logged = self._run_of(version).data.params.get(f"{table}.version")
        newest = "" if logged is None else str(logged).rpartition(",")[2].strip()
        return int(newest) if newest.isdigit() else None

    def read_text(self, run_id: str, path: str) -> str:
        """The artifact `path` of a run; raises ModelError if the run has none."""
        mlflow = self._connect()
        try:
            return str(mlflow.artifacts.load_text(f"runs:/{run_id}/{path}"))
        except (mlflow.MlflowException, OSError) as error:
            raise ModelError(
                f"Run {run_id} at {self.uri} has no {path}: {error}. Give the id of a run with "
                "this artifact; MLflow shows the ids."
            ) from error

    @contextmanager
    def files(self, version: ModelVersion, path: str) -> Iterator[Path]:
        """The folder `path` of a version's files, until the context ends."""
        mlflow = self._connect()
        with self.scratch() as folder:
            source = f"{version.uri}/{path}"
            try:
                downloaded = mlflow.artifacts.download_artifacts(source, dst_path=str(folder))
            except (mlflow.MlflowException, OSError) as error:
                raise unreadable(error, source, self.registry) from error
            yield Path(downloaded)

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """A new folder for model files, until the context ends; see `staging`."""
        if self.params.staging:
            Path(self.params.staging).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="matchlake-", dir=self.params.staging) as folder:
            yield Path(folder)

    def _page_of(self, run: Any) -> str:
        """How a person opens the page of a run, as text."""
        page = f"#/experiments/{run.experiment_id}/runs/{run.run_id}"
        if self.store:
            return f"http://{HOST}:{MLFLOW_PORT}/{page} once `matchlake mlflow` runs"
        if self.uri.startswith("http"):
            return f"{self.uri.rstrip('/')}/{page}"
        return f"run {run.run_id} of experiment {self.params.experiment} at {self.uri}"

    @property
    def _where(self) -> str:
        same = self.registry == self.uri
        return self.uri if same else f"{self.uri} (registry {self.registry})"

    @contextmanager
    def _answers(self) -> Iterator[None]:
        """Turns every error of a question to MLflow into ModelError."""
        try:
            yield
        except ModelError:
            raise
        except Exception as error:
            raise no_answer(error, self._where) from error

    def _run_of(self, version: ModelVersion) -> Any:
        with self._answers():
            client = self._connect().MlflowClient()
            try:
                return client.get_run(version.run_id)
            except Exception as error:
                if not is_gone(error):
                    raise
                what = f"The run {version.run_id} of version {version.version}"
                raise unreadable(error, what, self.uri) from error

    def _connect(self) -> ModuleType:
        if self.store:
            self.store.parent.mkdir(parents=True, exist_ok=True)
        mlflow = import_mlflow()
        mlflow.set_tracking_uri(self.uri)
        mlflow.set_registry_uri(self.registry)
        return mlflow

    def _choose_experiment(self, mlflow: ModuleType) -> None:
        name = self.params.experiment
        found = mlflow.get_experiment_by_name(name)
        require_active(found, self.uri)
        if self.store and not found:
            mlflow.create_experiment(name, self.store.with_name("mlartifacts").as_uri())
        chosen = mlflow.set_experiment(name)
        if _KIND not in chosen.tags:
            # Without this tag the page asks whether runs are of models or of agents.
            with _optional(mlflow, "the kind of the experiment"):
                mlflow.MlflowClient().set_experiment_tag(chosen.experiment_id, _KIND, _TRAINING)


class Run:
    """A run in progress, and what it logs."""

    def __init__(self, mlflow: ModuleType, model: str, run_id: str) -> None:
        self._mlflow = mlflow
        self._model = model
        self.run_id = run_id

    def log_params(self, params: Mapping[str, Any]) -> None:
        """Logs parameters; those of nested mappings get dotted names."""
        self._mlflow.log_params(dict(flat(params)))

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Logs numbers."""
        self._mlflow.log_metrics(dict(metrics), step=step)

    def log_table(self, rows: "pd.DataFrame", path: str) -> None:
        """Logs a small table as an artifact that MLflow shows; `path` ends in .json."""
        self._mlflow.log_table(rows, path)

    def log_text(self, text: str, path: str) -> None:
        """Logs a text as an artifact."""
        self._mlflow.log_text(text, path)

    def log_figure(self, figure: "Figure", path: str) -> None:
        """Logs a plot; `path` ends in .png."""
        self._mlflow.log_figure(figure, path)

    def log_input(self, table: str, *versions: int) -> None:
        """Logs a Delta table and the versions that the run reads, as data sets and parameter."""
        from mlflow.entities import Dataset, DatasetInput, InputTag  # noqa: PLC0415

        used = []
        for version in versions:
            source = json.dumps({"delta_table_name": table, "delta_table_version": version})
            dataset = Dataset(table, f"v{version}", "delta_table", source)
            used.append(DatasetInput(dataset, [InputTag("mlflow.data.context", "training")]))
        self._mlflow.MlflowClient().log_inputs(self.run_id, used)
        self._mlflow.log_param(f"{table}.version", ", ".join(map(str, versions)))

    @property
    def model(self) -> str:
        """The registered name of the model."""
        return self._model

    def children(self, group: str) -> ChildRuns:
        """The child runs of a group, such as the trials of a search."""
        return ChildRuns(self._mlflow, self.run_id, group)

    def log_model(self, flavor: Mapping[str, Any]) -> str:
        """Logs a pyfunc from the arguments of `mlflow.pyfunc.log_model`; returns its address."""
        # The name of a logged model cannot have dots; only the registry has Unity Catalog's name of
        # three levels.
        name = self._model.rpartition(".")[2]
        with quietly():
            return str(self._mlflow.pyfunc.log_model(name=name, **flavor).model_uri)

    def register(
        self,
        model_uri: str,
        decision: Decision,
        tags: Mapping[str, str] | None = None,
        descriptions: Descriptions | None = None,
        record: Recorder = unrecorded,
    ) -> ModelVersion:
        """Registers a logged model as a version with tags, an alias, and descriptions.

        The alias champion moves only if it still names the version of the decision. Otherwise
        another run or a person has moved it, and the new version becomes challenger. MLflow cannot
        check and move in one step, so there are some milliseconds between the two.

        The alias is set last, within `record`, so that it only names complete versions. If that
        fails, the version is deleted.
        """
        client = self._mlflow.MlflowClient()
        tags = {**(tags or {}), "decision": decision.reason}
        with quietly():
            made = self._mlflow.register_model(model_uri, self._model, tags=tags)
        try:
            alias, reason = self._decided_now(client, decision)
            if reason != decision.reason:
                _log.warning("version %s stays %s: %s", made.version, alias, reason)
                client.set_model_version_tag(self._model, made.version, "decision", reason)
            if descriptions is not None:
                self._describe(client, made.version, descriptions)
            before = number_of(version_with_alias(client, self._model, alias))
            change = AliasChange(alias, str(made.version), before, reason, made.run_id)
            with record(change):
                client.set_registered_model_alias(self._model, alias, made.version)
        except BaseException:
            client.delete_model_version(self._model, made.version)
            raise
        return ModelVersion(
            made.name, str(made.version), made.run_id, {**tags, "decision": reason}, (alias,)
        )

    def _describe(self, client: Any, version: str, descriptions: Descriptions) -> None:
        """Describes a version and, unless a person has done so, the model."""
        with _optional(self._mlflow, "the descriptions of the model"):
            client.update_model_version(self._model, version, descriptions.version)
            if not client.get_registered_model(self._model).description:
                client.update_registered_model(self._model, descriptions.model)

    def _decided_now(self, client: Any, decision: Decision) -> tuple[str, str]:
        """Alias and reason of a decision, unless the champion has changed since."""
        if decision.alias != CHAMPION:
            return decision.alias, decision.reason
        now = version_with_alias(client, self._model, CHAMPION)
        if decision.champion == (now and now.version):
            return decision.alias, decision.reason
        was, is_now = (version or "none" for version in (decision.champion, now and now.version))
        return CHALLENGER, (
            f"the champion was {was} at the comparison, and is {is_now} now, with which the new "
            f"version was not compared. The decision was: {decision.reason}"
        )


@contextmanager
def _optional(mlflow: ModuleType, what: str) -> Iterator[None]:
    """Ignores a refusal of MLflow, for example because only an owner may change the object."""
    try:
        yield
    except mlflow.MlflowException as error:
        _log.info("%s was not set: %s", what, str(error).partition("\n")[0])
