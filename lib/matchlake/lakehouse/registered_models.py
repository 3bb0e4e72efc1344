"""The registered models of conf: their names, their tables, and the jobs that write these."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from matchlake.config import JobConfig
from matchlake.errors import ConfigError, ModelError
from matchlake.io.mlflow_tracking import Tracker
from matchlake.io.model_versions import CHAMPION, ModelVersion, number_of
from matchlake.schemas import TableSpec
from matchlake.training.model_params import predictions_spec, registered_name
from matchlake.training.scoring import TABLES

RECOMMENDER = "recommender"
"""The name of the model of `train_recommender` on the command line."""


@dataclass(frozen=True)
class RegisteredModel:
    """A model with its registry name, and what its champion writes."""

    name: str
    """Its name in conf and on the command line."""
    tracker: Tracker = field(repr=False)
    tables: Mapping[str, TableSpec] = field(repr=False)
    """The tables of the champion. A table without columns here keeps its existing columns."""
    job: str
    """The command that writes the tables."""

    @property
    def registered_name(self) -> str:
        """The name of the model in the registry."""
        return self.tracker.params.model

    def require_still_champion(self, version: str) -> None:
        """Raises ModelError if another version became champion while tables were written."""
        now = number_of(self.tracker.champion())
        if now != version:
            raise ModelError(
                f"Version {now} became champion of {self.name} while the tables of version "
                f"{version} were written. Run the job again: {self.job}."
            )


def registered_models(config: JobConfig, tracker: Tracker) -> dict[str, RegisteredModel]:
    """The recommender and the models of conf, by name."""
    tables = {spec.name: spec for spec in TABLES.values()}
    recommender = RegisteredModel(RECOMMENDER, tracker, tables, "matchlake run recommend")
    others = {name: _declared(config, tracker, name) for name in config.models}
    return {RECOMMENDER: recommender, **others}


def _declared(config: JobConfig, tracker: Tracker, name: str) -> RegisteredModel:
    spec = predictions_spec(config.models[name])
    own = tracker.for_model(registered_name(config.tracking.model, name), "train_model")
    job = f"matchlake run score_model --model {name}"
    return RegisteredModel(name, own, {spec.name: spec}, job)


def registered_model(config: JobConfig, tracker: Tracker, name: str) -> RegisteredModel:
    """One of `registered_models`; raises ConfigError with their names for another name."""
    models = registered_models(config, tracker)
    if name not in models:
        raise ConfigError(
            f"No model {name!r}: conf declares {', '.join(models)}. Declare it below `models`."
        )
    return models[name]


def tracker_of(config: JobConfig, name: str) -> Tracker:
    """The registry of a model of conf, or of the recommender."""
    if name == RECOMMENDER:
        return Tracker(config.tracking, config.lakehouse)
    own = registered_name(config.tracking.model, name) if name in config.models else name
    return Tracker(config.tracking, config.lakehouse).for_model(own, "train_model")


def chosen_version(tracker: Tracker, name: str, version: str | None) -> ModelVersion:
    """A version of the model, by default the champion, else the newest; raises ModelError."""
    versions = tracker.versions()
    if version is not None:
        chosen = [each for each in versions if each.version == version]
    else:
        chosen = [each for each in versions if CHAMPION in each.aliases] or versions
    if not chosen:
        numbers = ", ".join(each.version for each in versions) or "none"
        which = "" if version is None else f" {version}"
        raise ModelError(
            f"Model {name} has no version{which} at {tracker.registry}; it has {numbers}."
        )
    return chosen[-1]
