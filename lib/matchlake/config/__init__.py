"""The configuration of a job: one class with all params classes, loaded from conf/.

`base.yml` is the lowest layer. Then come the files that `ENV.yml` names under `extends`, then
`ENV.yml` with the differences of an environment. `--set a.b=value` comes last. A later layer
replaces single keys of a mapping; it replaces lists and scalars as a whole. After that,
`${catalog}` in a value becomes the name of the catalog.

The right to start a job includes the choice of its overrides. So outside the environments `local`
and `demo` they change only keys that are marked as `Settable`: no places, identities, tables,
secrets or code.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self

import yaml
from pydantic import Field, ValidationError, field_validator, model_validator

from matchlake.config.layers import (
    EXTENDS,
    Layers,
    read_environment,
    read_layers,
    without_removed,
)
from matchlake.config.problems import explain, nearest, problems_of, wrong_scalars
from matchlake.deploy.params import DeployParams
from matchlake.errors import ConfigError
from matchlake.features.feature_set import FeatureSet
from matchlake.features.params import FeaturesParams
from matchlake.ingest.files.params import LakeParams
from matchlake.ingest.params import (
    EraseParams,
    IngestParams,
    ReconcileParams,
    ReplayParams,
    SilverParams,
    StreamParams,
)
from matchlake.io.conf_folder import find_conf as find_conf
from matchlake.io.databricks import on_databricks
from matchlake.io.params import KafkaParams, MaintainParams, StorageParams, TrackingParams
from matchlake.io.secrets import (
    SecretsParams,
    refuse_foreign_secrets,
    refuse_redirected_secrets,
)
from matchlake.io.storage import check_below, check_place, refuse_keys
from matchlake.io.telemetry.params import TelemetryParams
from matchlake.io.yaml_files import Keys, parse_value
from matchlake.monitoring.params import MonitorParams
from matchlake.params import Params, changed_keys, is_fixed, settable_keys
from matchlake.profiling.params import ProfileParams
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
        unknown = [name for name in self.model_jobs.names or () if name not in self.models]
        if unknown:
            declared = ", ".join(self.models) or "none"
            raise ValueError(f"model_jobs.names: {unknown[0]} is no model; declared: {declared}")
        return self

    def features_of(self, name: str) -> FeatureSet:
        """The feature set of the model `name`."""
        model = self.models[name]
        if isinstance(model.features, str):
            return model.feature_set(name, self.features.table_of(model.features).features)
        return model.feature_set(name)

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
    def warehouse(self) -> str | None:
        """The folder of the tables on a local machine."""
        return f"{self.lakehouse}/warehouse" if self.lakehouse else None


_CATALOG = "${catalog}"
LOCAL = ("local", "demo")
"""The environments of a machine of one's own, where --set may change nearly every key."""
# Mappings to text, such as `spark`: the text after the first dot of a path is one key.
_OPEN = {name for name, each in JobConfig.model_fields.items() if each.annotation == dict[str, str]}


def _check_known(path: str, name: str, label: str, known: Iterable[str]) -> None:
    """Refuses a name that is none of the `known` ones."""
    if name not in known:
        raise ValueError(f"{path}: {name} is no {label}{nearest(name, known, f'{label}s')}")


def _check_plain(name: str, label: str) -> None:
    """Refuses a name that could not stand in a path or a query."""
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,100}", name):
        raise ValueError(f"{name!r} is no name of a {label}: use letters, digits, _ and -")


def load_config(env: str, overrides: Sequence[str] = (), conf_dir: Path | None = None) -> JobConfig:
    """Loads the files of an environment, then the overrides; raises ConfigError."""
    folder = conf_dir or find_conf()
    layers = environment_layers(env, folder)
    merged = layers.merged
    declared = dict(merged)
    changed = tuple(_override(merged, override) for override in overrides)
    if env not in LOCAL or on_databricks():
        _refuse_fixed_keys(declared, merged, env)
    if any(keys[0] == EXTENDS for keys in changed):
        raise ConfigError(f"--set {EXTENDS}: only conf/{env}.yml names the files that it extends.")
    config = _validated(merged, layers._replace(overrides=changed), env, folder)
    refuse_foreign_secrets(declared, merged, config)
    refuse_redirected_secrets(declared, merged, config)
    return config


def _refuse_fixed_keys(declared: dict[str, Any], merged: dict[str, Any], env: str) -> None:
    """Raises ConfigError if the overrides change a key that only conf files may change.

    Unknown keys pass; the validation refuses them. A catalog that the overrides may change also
    changes the values that name it.
    """
    allowed = declared.get("allowed_overrides") or ()
    catalog = (merged if "catalog" in allowed else declared).get("catalog")
    before, after = (
        _with_catalog({**data, "catalog": catalog}) | {"catalog": data.get("catalog")}
        for data in (declared, merged)
    )
    for keys in changed_keys(before, after):
        path = ".".join(map(str, keys))
        if path in allowed or not is_fixed(JobConfig, keys):
            continue
        near = [key for key in settable_keys(JobConfig) if key.startswith(f"{keys[0]}.")]
        raise ConfigError(
            f"--set {path}: --set may change this key only in the environment "
            f"{' or '.join(LOCAL)}, on a machine of your own. In {keys[0]} it may change "
            f"{', '.join(near) or 'no key'}. Change {path} in conf/{env}.yml."
        )


def _validated(merged: Mapping[str, Any], layers: Layers, env: str, folder: Path) -> JobConfig:
    data = without_removed(_with_catalog(merged), JobConfig)
    source, problems = f"{folder}, --env {env}", dict(wrong_scalars(data, JobConfig))
    try:
        config = JobConfig.model_validate({**data, "env": env, "conf_dir": folder})
    except ValidationError as error:
        problems |= problems_of(error, JobConfig)
    if problems:
        raise ConfigError(explain(list(problems.items()), source, layers))
    return config


def load_feature_set(path: Path) -> FeatureSet:
    """A feature set declared in a YAML file of its own; raises ConfigError."""
    layers = read_layers(path)
    try:
        return FeatureSet.model_validate(layers.merged)
    except ValidationError as error:
        problems = problems_of(error, FeatureSet)
        raise ConfigError(explain(problems, str(path), layers)) from None


def environments(folder: Path) -> list[str]:
    """The environments of a conf folder, in order of their names."""
    return sorted(path.stem for path in folder.glob("*.yml") if path.stem != "base")


def environment(env: str, folder: Path) -> dict[str, Any]:
    """The merged keys of the files of an environment, not yet validated."""
    return environment_layers(env, folder).merged | {EXTENDS: []}


def environment_layers(env: str, folder: Path) -> Layers:
    """The files of an environment; raises ConfigError."""
    known = environments(folder)
    if env not in known:
        raise ConfigError(f"No environment {env!r} in {folder}{nearest(env, known, 'there is')}")
    return read_environment(folder, env)


def project_conf(script: Path, given: Path | None) -> Path | None:
    """The conf folder of a job: `given`, or None for the nearest one.

    On Databricks it is always `conf` in the project of the job's script. Otherwise the starter of
    a job could bring a conf of their own. Raises ConfigError for another one.
    """
    if not on_databricks():
        return given
    # Databricks runs a script in its folder. The text of a script may have another path there.
    folders = [start.resolve().parent / "conf" for start in (script.parent, Path.cwd())]
    own = next((each for each in folders if (each / "base.yml").is_file()), folders[0])
    if given is not None and given.resolve() != own.resolve():
        raise ConfigError(
            f"--conf-dir {given}: on Databricks a job reads the conf of its own project, {own}. "
            "Leave the option out, or deploy the other conf with the job."
        )
    return own


def _override(data: dict[str, Any], text: str) -> Keys:
    """Changes one key of the data; returns its path."""
    path, equals, value = text.partition("=")
    keys = path.strip().split(".")
    if not equals or not all(keys):
        raise ConfigError(f"--set {text!r} is not of the form a.b=value.")
    if keys[0] in _OPEN:
        keys = [keys[0], ".".join(keys[1:])] if keys[1:] else keys
    for key in keys[:-1]:
        child = data.get(key)
        if child is not None and not isinstance(child, dict):
            raise ConfigError(f"--set {path}: {key} is a single value, it has no keys below it.")
        data[key] = dict(child or {})
        data = data[key]
    try:
        data[keys[-1]] = _value_of(value)
    except yaml.YAMLError:
        data[keys[-1]] = value
    if keys[0] in _OPEN and isinstance(data[keys[-1]], int | float):
        data[keys[-1]] = value.strip()
    return tuple(keys)


def _value_of(value: str) -> Any:
    """The value as YAML reads it; a plain text that YAML would shorten, such as `|`, stays.

    Aliases are refused: a short text with nested ones becomes gigabytes.
    """
    if "&" in value and any(isinstance(each, yaml.AliasEvent) for each in yaml.parse(value)):
        raise ConfigError("--set takes no YAML aliases such as *name: write the value out.")
    parsed, text = parse_value(value), value.strip()
    lost = parsed is None and text not in ("", "~", "null", "Null", "NULL")
    shortened = isinstance(parsed, str) and parsed != text and text[0] not in "'\""
    return text if lost or shortened else parsed


def _with_catalog(data: Mapping[str, Any]) -> dict[str, Any]:
    """The same data with `${catalog}` replaced in every value but the catalog itself."""
    catalog = data.get("catalog")

    def filled(value: Any, path: str) -> Any:
        if isinstance(value, dict):
            return {key: filled(below, f"{path}.{key}") for key, below in value.items()}
        if isinstance(value, list):
            return [filled(below, path) for below in value]
        if not isinstance(value, str) or _CATALOG not in value:
            return value
        if not isinstance(catalog, str) or _CATALOG in catalog:
            raise ConfigError(f"{path[1:]} uses {_CATALOG}, but `catalog` is not set in conf.")
        return value.replace(_CATALOG, catalog)

    return {key: filled(value, f".{key}") for key, value in data.items()}
