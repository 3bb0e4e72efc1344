"""The class with all keys of conf."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from matchlake.deploy.params import DeployParams
from matchlake.features.feature_set import FeatureSet
from matchlake.features.params import FeaturesParams
from matchlake.ingest.files.params import LakeParams
from matchlake.ingest.images.params import ImagesParams
from matchlake.ingest.params import (
    EraseParams,
    IngestParams,
    ReconcileParams,
    ReplayParams,
    SilverParams,
    StreamParams,
)
from matchlake.io.params import KafkaParams, MaintainParams, StorageParams, TrackingParams
from matchlake.io.secrets import (
    SecretsParams,
)
from matchlake.io.storage import check_below, check_place, refuse_keys
from matchlake.io.telemetry.params import TelemetryParams
from matchlake.monitoring.params import MonitorParams
from matchlake.params import Params, nearest
from matchlake.profiling.params import ProfileParams
from matchlake.serve.online.params import OnlineParams
from matchlake.serve.params import ServingParams
from matchlake.serve.stream.params import ServeStreamParams
from matchlake.training.event_params import ScoreEventsParams
from matchlake.training.model_params import ModelJobsParams, ModelName, ModelParams
from matchlake.training.params import RecommendParams, SideTables, TrainParams
from matchlake.training.training_set import TrainingSetTable


class JobConfig(Params):
    """All keys of one environment."""

    env: str = Field(description="the environment; set by --env")
    conf_dir: Path = Field(Path("conf"), description="the folder of base.yml; set by --conf-dir")
    extends: tuple[str, ...] = ()
    """Files of conf/ that the file of an environment builds on, such as `local.yml`. They are read
    in this order, after base.yml."""
    allowed_overrides: tuple[Literal["catalog", "tracking.model", "tracking.experiment"], ...] = ()
    """Names that --set may change in this environment, besides the settable keys: those that differ
    per developer."""
    catalog: str | None = None
    """The catalog that holds the tables; null where tables lie below `lakehouse`."""
    lakehouse: str | None = None
    """The local folder for tables, checkpoints, broker and tracking; null on a platform."""
    checkpoints: str
    """Folder or volume that holds the streams' checkpoints."""
    spark: dict[str, str] = Field(default_factory=dict)
    """Spark settings, added to the product's own."""
    secrets: SecretsParams = SecretsParams()
    """Where secrets come from."""
    kafka: KafkaParams = KafkaParams()
    streams: dict[str, StreamParams] = Field(default_factory=dict)
    """The declared streams by name; the checkpoint has the same name."""
    ingest: IngestParams = IngestParams()
    reconcile: ReconcileParams = ReconcileParams()
    """The scope of the job and the command `reconcile`."""
    replay: ReplayParams = ReplayParams()
    """The records that the job `replay_quarantine` parses again."""
    erase: EraseParams = EraseParams()
    """The user that the job `erase_user` erases."""
    silver: SilverParams = SilverParams()
    """The tables that `build_silver` writes."""
    lake: LakeParams = LakeParams()
    images: ImagesParams = ImagesParams()
    """The images that `embed_images` embeds."""
    features: FeaturesParams = FeaturesParams()
    """The feature tables that `build_features` writes."""
    profile: ProfileParams = ProfileParams()
    """The tables that `profile_tables` profiles."""
    training_sets: dict[str, TrainingSetTable] = Field(default_factory=dict)
    """The training sets that `build_training_sets` writes, by name."""
    storage: StorageParams = StorageParams()
    telemetry: TelemetryParams = TelemetryParams()
    """Where metrics, traces and logs of jobs go."""
    tracking: TrackingParams = TrackingParams()
    deploy: DeployParams = DeployParams()
    """What `matchlake deploy render` writes."""
    train: TrainParams = TrainParams()
    recommend: RecommendParams = RecommendParams()
    models: dict[ModelName, ModelParams] = Field(default_factory=dict)
    """The models that `train_model` fits and `score_model` applies, by name."""
    model_jobs: ModelJobsParams = ModelJobsParams()
    """The models that one run of these jobs works on."""
    monitor: MonitorParams = MonitorParams()
    """The models that `monitor_models` watches."""
    serving: ServingParams = ServingParams()
    """The server of `matchlake serve`."""
    score_events: ScoreEventsParams = ScoreEventsParams()
    """The streams that `score_events` scores."""
    serve_stream: ServeStreamParams = ServeStreamParams()
    """The stream of `matchlake serve-stream`."""
    online: OnlineParams = OnlineParams()
    """The tables that `publish_online` publishes, and their stores."""
    maintain: MaintainParams = MaintainParams()

    @field_validator("catalog")
    @classmethod
    def _validate_catalog_name(cls, catalog: str | None) -> str | None:
        if catalog is not None:
            _check_plain(catalog, "catalog")
        return catalog

    @field_validator("spark")
    @classmethod
    def _refuse_storage_keys(cls, spark: dict[str, str]) -> dict[str, str]:
        return dict(refuse_keys(spark))

    @field_validator("streams")
    @classmethod
    def _validate_stream_names(cls, streams: dict[str, StreamParams]) -> dict[str, StreamParams]:
        for name in streams:
            _check_plain(name, "stream")
        return streams

    @model_validator(mode="after")
    def _validate_paths(self) -> Self:
        folders = (self.lakehouse, self.checkpoints, self.lake.folder, self.features.folder)
        for folder in filter(None, folders):
            check_place(folder)
        for name, source in self.lake.sources.items():
            _check_plain(name, "source")
            check_below(source.path)
        for name in self.images.sources:
            _check_plain(name, "source")
        return self

    @model_validator(mode="after")
    def _validate_silver_rules(self) -> Self:
        for name, table in self.silver.tables.items():
            if table.stream in self.streams:
                try:
                    self.streams[table.stream].rules_over(table.rules).validate()
                except ValueError as error:
                    raise ValueError(f"silver.tables.{name}.{error}") from None
        return self

    @model_validator(mode="after")
    def _validate_silver_sources(self) -> Self:
        for name, table in self.silver.tables.items():
            _check_known(f"silver.tables.{name}.stream", table.stream, "stream", self.streams)
        of_pairs = self.silver.interactions
        for name, source in of_pairs.sources.items() if of_pairs else ():
            columns = self.streams[self.silver.tables[name].stream].columns
            path = f"silver.interactions.sources.{name}"
            named = {"user_id": source.user_id, "item_id": source.item_id}
            if source.rating and source.rating.isidentifier():
                named["rating"] = source.rating
            for key, column in named.items():
                _check_known(f"{path}.{key}", column, "column", columns)
        return self

    @model_validator(mode="after")
    def _validate_feature_sets(self) -> Self:
        for side, name in self.train.features:
            try:
                _ = name and self.features.table_of(name)
            except ValueError as error:
                raise ValueError(f"train.features.{side}: {error}") from None
        return self

    @model_validator(mode="after")
    def _validate_models(self) -> Self:
        for name, model in self.models.items():
            if name == "recommender":
                raise ValueError("models.recommender: this is the model of train_recommender")
            try:
                _ = isinstance(model.features, str) and self.features.table_of(model.features)
            except ValueError as error:
                raise ValueError(f"models.{name}.features: {error}") from None
        for name in self.monitor.models:
            _check_known("monitor.models", name, "model", self.models)
            if self.models[name].task == "forecasting":
                raise ValueError(f"monitor.models.{name}: a forecast reads no features to watch")
        unknown = [name for name in self.model_jobs.names or () if name not in self.models]
        if unknown:
            declared = ", ".join(self.models) or "none"
            raise ValueError(f"model_jobs.names: {unknown[0]} is not a model; declared: {declared}")
        return self

    def features_of(self, name: str) -> FeatureSet:
        """The feature set of the model `name`."""
        model = self.models[name]
        if isinstance(model.features, str):
            return model.feature_set(name, self.features.table_of(model.features).features)
        return model.feature_set(name)

    @property
    def cluster_tables(self) -> list[str]:
        """The tables of predictions of the clustering models."""
        return [each.table for each in self.models.values() if each.task == "clustering"]

    @property
    def chosen_models(self) -> dict[str, ModelParams]:
        """The models of `model_jobs.names`; all without them."""
        names = self.model_jobs.names
        return {n: model for n, model in self.models.items() if names is None or n in names}

    @property
    def side_tables(self) -> SideTables:
        """The feature tables of the sets that `train.features` names; none for a fit without."""
        if not self.train.fit_params.reads_features:
            return SideTables()
        return SideTables(
            **{side: self.features.table_of(name) for side, name in self.train.features if name}
        )

    @property
    def hash_file(self) -> Path | None:
        """The file with the hashes of erased users, for programs without Spark."""
        named = self.erase.hash_file or (self.lakehouse and f"{self.lakehouse}/erased_users.json")
        return Path(named) if named else None

    @property
    def warehouse(self) -> str | None:
        """The folder of the tables on a local machine."""
        return f"{self.lakehouse}/warehouse" if self.lakehouse else None


def _check_known(path: str, name: str, label: str, known: Iterable[str]) -> None:
    """Raises ValueError for a name that is not in `known`."""
    if name not in known:
        raise ValueError(f"{path}: {name} is not a {label}{nearest(name, known, f'{label}s')}")


def _check_plain(name: str, label: str) -> None:
    """Raises ValueError for a name that is not valid in a path or a query."""
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,100}", name):
        raise ValueError(f"{name!r} is not a valid name of a {label}: use letters, digits, _ and -")
